"""Records and sketch lines as they were when a snapshot began: kept before they are first written.

By blocks: what was written a moment ago lies near, so few blocks are kept. `Table.before` is empty
while no snapshot is taken; that costs one comparison a write.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import called_uncounted
from engine.kernels.embeddings.layout import Table

__all__ = [
    "BLOCK",
    "KEPT",
    "LINE_BLOCKS",
    "LINE_IMAGES",
    "ROW_BLOCKS",
    "ROW_IMAGES",
    "SHIFT",
    "STATES",
    "WANTED",
    "keep_line1",
    "keep_row1",
]

SHIFT = 12
BLOCK = 1 << SHIFT  # records, or lines, of a block
# Of `Table.before`: how many blocks there are, where their images lie, and how each stands.
ROW_BLOCKS, LINE_BLOCKS, ROW_IMAGES, LINE_IMAGES = range(4)
STATES = 4
WANTED, KEPT = np.uint64(1), np.uint64(2)  # 0: told already
HALF = np.uint64(32)


@called_uncounted
def keep_row1(t: Table, row: int) -> None:
    """Writes: t. Keeps the block of a record that is about to be written, if it is wanted."""
    before, block = t.before, row >> SHIFT
    if block >= np.int64(before[ROW_BLOCKS]) or before[STATES + block] != WANTED:
        return
    half = t.words.shape[1] >> 1
    at = np.int64(before[ROW_IMAGES]) + (block << SHIFT) * half
    first = block << SHIFT
    for i in range(first, min(first + BLOCK, t.words.shape[0])):
        for j in range(half):
            low, high = np.uint64(t.words[i, 2 * j]), np.uint64(t.words[i, 2 * j + 1])
            before[at + (i - first) * half + j] = low | (high << HALF)
    before[STATES + block] = KEPT


@called_uncounted
def keep_line1(t: Table, line: int) -> None:
    """Writes: t. Keeps the block of a sketch's line that is about to be written, if wanted."""
    before, block = t.before, line >> SHIFT
    state = STATES + np.int64(before[ROW_BLOCKS]) + block
    if before[state] != WANTED:
        return
    first = block << (SHIFT + 3)
    at = np.int64(before[LINE_IMAGES]) + first
    for j in range(min(BLOCK << 3, len(t.sketch) - first)):
        before[at + j] = t.sketch[first + j]
    before[state] = KEPT
