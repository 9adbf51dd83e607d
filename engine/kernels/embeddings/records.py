"""Records of the slab: written so that readers beside the writer notice, begun, given back.

A record's version is odd while it is written. A reader copies it between two looks at the version
and compares the key; what changed meanwhile it reads again. So no reader takes half of a record, or
that of another key (Lameter 2005, "Effective synchronization on Linux/NUMA systems": seqlocks).
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import called_uncounted, inline_uncounted, kernel
from engine.kernels.embeddings.before import keep_row1
from engine.kernels.embeddings.layout import (
    BIAS,
    CHANGED_ROWS,
    CHECK,
    COUNT,
    DIMENSION,
    FEATURE_MASK,
    FREE,
    FREE_FIRST,
    FREE_LAST,
    FREE_LENGTH,
    FRESH,
    HEADER,
    KEY_HIGH,
    KEY_LOW,
    KIND,
    SCALE,
    STEP,
    TABLE,
    TABLE_SEED,
    TOUCHED,
    VERSION,
    Table,
)
from engine.kernels.embeddings.optimizers import prepare1
from engine.kernels.memory import fence1
from engine.kernels.random import combine1, mix1, normal1

__all__ = [
    "begin1",
    "begin_rows",
    "begin_write1",
    "end_write1",
    "feature1",
    "free1",
    "key1",
    "mark_row1",
    "take1",
]

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
ONE = np.uint32(1)


@inline_uncounted
def mark_row1(t: Table, row: int) -> None:
    """Writes: t. Lists a record as changed since the last save; to be called before it is."""
    if len(t.before):
        keep_row1(t, row)
    if t.row_marks[row] == 0:
        t.row_marks[row] = 1
        t.rows[t.head[CHANGED_ROWS]] = row
        t.head[CHANGED_ROWS] += 1


@inline_uncounted
def begin_write1(t: Table, row: int) -> None:
    """Writes: t. From here on readers do not take the record."""
    mark_row1(t, row)
    t.words[row, VERSION] = np.uint32(t.words[row, VERSION] + ONE)
    fence1()


@inline_uncounted
def end_write1(t: Table, row: int) -> None:
    """Writes: t. The record is whole again."""
    fence1()
    t.words[row, VERSION] = np.uint32(t.words[row, VERSION] + ONE)


@inline_uncounted
def key1(t: Table, row: int) -> np.uint64:
    """Return the key of a record."""
    return np.uint64(t.words[row, KEY_LOW]) | (np.uint64(t.words[row, KEY_HIGH]) << HALF)


@inline_uncounted
def feature1(t: Table, row: int) -> int:
    """Return the number of a record's feature."""
    return int(np.int64(t.words[row, KIND] & FEATURE_MASK))


@called_uncounted
def begin1(t: Table, row: int, key: np.uint64, check: int, feature: int, touched: int) -> None:
    """Writes: t. Makes a record a key's, with the initial vector of (seed, feature, key)."""
    begin_write1(t, row)
    words, floats = t.words, t.floats
    words[row, TOUCHED] = np.uint32(touched)
    words[row, KEY_LOW] = np.uint32(key & LOW)
    words[row, KEY_HIGH] = np.uint32(key >> HALF)
    words[row, COUNT] = np.uint32(0)
    words[row, KIND] = np.uint32(feature)
    words[row, CHECK] = np.uint32(check)
    words[row, STEP] = np.uint32(0)
    d, scale = np.int64(t.settings[feature, DIMENSION]), t.settings[feature, SCALE]
    seed = combine1(mix1(np.uint64(t.head[TABLE_SEED])), key)
    for j in range(d):
        floats[row, HEADER + j] = np.float32(scale * normal1(combine1(seed, np.uint64(j))))
    if t.settings[feature, BIAS] > 0.0:
        floats[row, HEADER] = np.float32(0.0)
    for j in range(HEADER + d, floats.shape[1]):
        floats[row, j] = np.float32(0.0)
    prepare1(t, row, feature)
    end_write1(t, row)


@called_uncounted
def free1(t: Table, row: int) -> None:
    """Writes: t. Gives a record back, to the end of the queue of free ones."""
    begin_write1(t, row)
    for j in range(1, HEADER):
        t.words[row, j] = np.uint32(0)
    t.words[row, KIND] = FREE
    for j in range(HEADER, t.floats.shape[1]):
        t.floats[row, j] = np.float32(0.0)
    end_write1(t, row)
    head = t.head
    if head[FREE_LENGTH]:
        last = head[FREE_LAST] - 1
        begin_write1(t, last)
        t.words[last, STEP] = np.uint32(row + 1)
        end_write1(t, last)
    else:
        head[FREE_FIRST] = row + 1
    head[FREE_LAST] = row + 1
    head[FREE_LENGTH] += 1


@inline_uncounted
def take1(t: Table, grace: int, capacity: int) -> int:
    """Writes: t. Takes a free record: one that waited, or a fresh one; -1 when there is none."""
    head = t.head
    if head[FREE_LENGTH] > grace:
        row = int(head[FREE_FIRST] - 1)
        head[FREE_FIRST] = np.int64(t.words[row, STEP])
        head[FREE_LENGTH] -= 1
        return row
    if head[FRESH] < capacity:
        head[FRESH] += 1
        return int(head[FRESH] - 1)
    return -1


@kernel("void(i8)", first=TABLE, counted=False)
def begin_rows(
    t: Table,
    n: int,
) -> None:
    """Writes: the table. Begins the first n records: those that features share."""
    for row in range(n):
        begin1(t, row, mix1(np.uint64(row)), 0, row, 0)
