"""Many vectors at a time, while a writer may be writing: misses of the cache overlap."""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import called_uncounted, inline_uncounted, kernel
from engine.kernels.embeddings.index import (
    buckets1,
    find1,
    mixed1,
    prefetch_first1,
    prefetch_second1,
    probe_first1,
    probe_second1,
)
from engine.kernels.embeddings.layout import (
    DIMENSION,
    FEATURE_MASK,
    FREE,
    HEADER,
    KEY_HIGH,
    KEY_LOW,
    KIND,
    LEFT,
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
    Table,
)
from engine.kernels.memory import copy_eight1, fence1, prefetch1

__all__ = ["BATCH", "BUSY", "OWN", "SHARED", "lookup_keys"]

SHARED, OWN, BUSY = 0, 1, 2
BATCH = 32
RETRIES = 64
HALF = np.uint64(32)
ONE = np.uint32(1)


@inline_uncounted
def copy_vector1(t: Table, row: int, d: int, out: Floats, i: int) -> None:
    """Writes: out. Copies d numbers by eights, and zeros behind."""
    whole = d & ~7
    for j in range(0, whole, 8):
        copy_eight1(out, i, j, t.floats, row, HEADER + j)
    for j in range(whole, d):
        out[i, j] = t.floats[row, HEADER + j]
    for j in range(d, out.shape[1]):
        out[i, j] = np.float32(0.0)


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
    copy_vector1(t, row, int(np.int64(t.settings[feature, DIMENSION])), out, i)
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
def share1(t: Table, feature: int, out: Floats, i: int) -> int:
    """Writes: out. Copies a feature's shared vector: `SHARED`, or `BUSY`."""
    for _ in range(RETRIES):
        if copy_record1(t, feature, np.uint64(0), True, out, i) == OWN:
            return SHARED
    return BUSY


@called_uncounted
def read1(t: Table, key: np.uint64, feature: int, out: Floats, i: int) -> int:
    """Writes: out. Copies the vector of a key, or its feature's shared one; which it was."""
    head = t.head
    mixed = mixed1(head, key)
    found = BUSY
    for _ in range(RETRIES):
        moves = head[MOVES]
        fence1()
        row = find1(head, t.cells, mixed)
        fence1()
        if row >= 0:
            found = copy_record1(t, row, key, False, out, i)
        elif head[MOVES] == moves:
            found = SHARED
        if head[LEFT]:
            return BUSY  # the index is another one by now
        if found != BUSY:
            break
    return share1(t, feature, out, i) if found == SHARED else found


@kernel(
    "i8(u8[::1], i8[::1], f4[:,::1], u1[::1], i8[::1], u8[::1])",
    first=TABLE,
    counted=False,
)
def lookup_keys(
    t: Table,
    keys: Keys,
    features: Ints,
    out: Floats,
    found: Bytes,
    places: Ints,
    mixes: Keys,
) -> int:
    """Writes: out, found, places, mixes. The vector of every key that is `BUSY` in ``found``.

    Or the shared one of its feature. ``out`` is ``(n, d)`` with d the largest dimension. ``found``
    ``(n,)`` tells `OWN`, `SHARED`, or `BUSY`: then the table must be taken anew, or the record is
    written all the time; ask again. ``places`` and ``mixes`` ``(BATCH,)`` are the caller's, to work
    in. Returns how many are busy.
    """
    n, busy = len(keys), 0
    width, told_words = t.floats.shape[1], HEADER + out.shape[1]
    for start in range(0, n, BATCH):
        count = min(BATCH, n - start)
        moves = t.head[MOVES]
        fence1()
        buckets = buckets1(t.cells)  # when it grows meanwhile, who misses looks again
        for b in range(count):
            mixes[b] = mixed1(t.head, keys[start + b])
            prefetch_first1(t.cells, mixes[b], buckets)
        for b in range(count):
            row = probe_first1(t.cells, mixes[b], buckets)
            places[b] = row
            if row >= 0:
                for line in range(0, told_words, 16):
                    prefetch1(t.floats, row * width + line)
            else:
                prefetch_second1(t.cells, mixes[b], buckets)
        for b in range(count):
            if places[b] < 0:
                row = probe_second1(t.head, t.cells, mixes[b], buckets)
                places[b] = row
                if row >= 0:
                    for line in range(0, told_words, 16):
                        prefetch1(t.floats, row * width + line)
        fence1()
        for b in range(count):
            i = start + b
            if found[i] != BUSY:
                continue
            told = BUSY
            if places[b] >= 0:
                told = copy_record1(t, places[b], keys[i], False, out, i)
            elif t.head[MOVES] == moves and not t.head[LEFT]:
                told = SHARED
            if told == SHARED:
                told = share1(t, features[i], out, i)
            if told == BUSY:
                told = read1(t, keys[i], features[i], out, i)
            found[i] = told
            busy += told == BUSY
    return busy
