"""Many vectors at a time, while a writer may be writing: sixteen misses of the cache overlap."""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.embeddings.index import find1, mixed1, prefetch_bucket1
from engine.kernels.embeddings.layout import (
    DIMENSION,
    FEATURE_MASK,
    FREE,
    HEADER,
    KEY_HIGH,
    KEY_LOW,
    KIND,
    LAYOUT,
    MOVES,
    TABLE,
    TOUCHED,
    TTL,
    VERSION,
    WATERMARK,
    Bytes,
    Floats,
    Ints,
    Keys,
    Settings,
    Table,
    Words,
)
from engine.kernels.memory import fence1, prefetch1

__all__ = ["BUSY", "OWN", "SHARED", "lookup_keys"]

SHARED, OWN, BUSY = 0, 1, 2
BATCH = 16
RETRIES = 64
HALF = np.uint64(32)
ONE = np.uint32(1)


@inline_uncounted
def copy_record1(t: Table, row: int, key: np.uint64, any_key: bool, out: Floats, i: int) -> int:
    """Writes: out. Copies a record's vector if it is whole and the key's: `OWN`.

    `SHARED` when its time to live has passed, `BUSY` when it is being written or another's.
    """
    words = t.words
    version = words[row, VERSION]
    fence1()
    kind = words[row, KIND]
    held = np.uint64(words[row, KEY_LOW]) | (np.uint64(words[row, KEY_HIGH]) << HALF)
    touched = np.int64(words[row, TOUCHED])
    feature = min(int(np.int64(kind & FEATURE_MASK)), len(t.settings) - 1)
    for j in range(np.int64(t.settings[feature, DIMENSION])):
        out[i, j] = t.floats[row, HEADER + j]
    fence1()
    if (version & ONE) or words[row, VERSION] != version:
        return BUSY
    if any_key:
        return OWN
    if held != key or (kind & FREE):
        return BUSY
    ttl = np.int64(t.settings[feature, TTL])
    return SHARED if ttl > 0 and touched + ttl < t.head[WATERMARK] else OWN


@inline_uncounted
def read1(t: Table, key: np.uint64, feature: int, out: Floats, i: int, layout: int) -> int:
    """Writes: out. Copies the vector of a key, or its feature's shared one; which it was."""
    head = t.head
    mixed = mixed1(head, key)
    found = BUSY
    for _ in range(RETRIES):
        moves = head[MOVES]
        fence1()
        row = find1(head, t.cells, t.old, mixed)
        fence1()
        if row >= 0:
            found = copy_record1(t, row, key, False, out, i)
        elif head[LAYOUT] != layout:
            return BUSY  # the index is another one by now
        elif head[MOVES] == moves:
            found = SHARED
        if found != BUSY:
            break
    if found == SHARED:
        for _ in range(RETRIES):
            if copy_record1(t, feature, key, True, out, i) == OWN:
                return SHARED
        return BUSY
    return found


@kernel(f"void({TABLE}, i8, u8[::1], i8[::1], f4[:,::1], u1[::1])", counted=False)
def lookup_keys(
    head: Ints,
    cells: Keys,
    old: Keys,
    words: Words,
    floats: Floats,
    sketch: Keys,
    row_marks: Bytes,
    rows: Ints,
    line_marks: Bytes,
    lines: Ints,
    held: Ints,
    scratch: Ints,
    settings: Settings,
    layout: int,
    keys: Keys,
    features: Ints,
    out: Floats,
    found: Bytes,
) -> None:
    """Writes: out, found. The vector of every key, or the shared one of its feature.

    ``out`` is ``(n, d)`` with d the largest dimension. ``found`` ``(n,)`` tells `OWN`, `SHARED`, or
    `BUSY`: then the table must be taken anew, or the record is written all the time; ask again.
    """
    t = Table(
        head, cells, old, words, floats, sketch, row_marks, rows, line_marks, lines, held, scratch,
        settings,
    )  # fmt: skip
    n = len(keys)
    flat = floats.reshape(floats.size)
    width = floats.shape[1]
    for start in range(0, n, BATCH):
        stop = min(start + BATCH, n)
        for i in range(start, stop):
            prefetch_bucket1(cells, mixed1(head, keys[i]))
        for i in range(start, stop):
            row = find1(head, cells, old, mixed1(head, keys[i]))
            if row >= 0:
                for line in range(0, width, 16):
                    prefetch1(flat, row * width + line)
        for i in range(start, stop):
            found[i] = read1(t, keys[i], features[i], out, i, layout)
