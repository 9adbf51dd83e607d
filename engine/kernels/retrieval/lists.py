"""Lists of rows by nearest centroid: entries are added, moved and taken out in O(1).

An entry is a row's number and a copy of its vector, so that a list is read from one end to the
other: rows fetched from a slab of 64 MB, one here and one there, took ten times as long. A list is
a chain of blocks of `BLOCK` entries, of one pool that all lists share; the block at its
head is filled, the others are full. An entry taken out gives its place to the last of its list,
and a block that becomes empty goes back to the pool. ``where[row]`` is one more than the place of a
row's entry in the pool, 0 when it has none; ``owner[block]`` is the list of a block.

``spare`` is: first free block or -1, first block never used, entries in all lists.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.memory import copy1, prefetch1
from engine.kernels.retrieval.nearest import BATCH, nearest1

__all__ = ["BLOCK", "LINE", "TOTAL", "place_rows"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Bytes = NDArray[np.uint8]

BLOCK = 64  # entries
LINE = 16  # numbers
FREE, UNUSED, TOTAL = range(3)  # of spare


@inline_uncounted
def take1(
    row: int, heads: Shorts, sizes: Shorts, entries: Shorts, chain: Shorts, owner: Shorts,
    spare: Ints, where: Shorts, copies: Singles, width: int,
) -> None:  # fmt: skip
    """Writes: all but row and width. Takes the entry of a row out, if it has one."""
    place = np.int64(where[row]) - 1
    if place < 0:
        return
    each = np.int64(owner[place // BLOCK])
    head = np.int64(heads[each])
    last = head * BLOCK + (np.int64(sizes[each]) - 1) % BLOCK
    moved = entries[last]
    entries[place], where[moved] = moved, place + 1
    copy1(copies, place * width, copies, last * width, width if place != last else 0)
    where[row] = 0
    sizes[each] -= 1
    spare[TOTAL] -= 1
    if last == head * BLOCK:
        heads[each] = chain[head]
        chain[head], spare[FREE] = spare[FREE], head


@inline_uncounted
def put1(
    row: int, each: int, heads: Shorts, sizes: Shorts, entries: Shorts, chain: Shorts,
    owner: Shorts, spare: Ints, where: Shorts,
) -> None:  # fmt: skip
    """Writes: all but row and each. Adds a row that has no entry to a list, without a vector."""
    fill = np.int64(sizes[each]) % BLOCK
    if fill == 0:
        block = spare[FREE]
        if block >= 0:
            spare[FREE] = chain[block]
        else:
            block = spare[UNUSED]
            spare[UNUSED] += 1
        chain[block], heads[each], owner[block] = heads[each], block, each
    place = np.int64(heads[each]) * BLOCK + fill
    entries[place], where[row] = row, place + 1
    sizes[each] += 1
    spare[TOTAL] += 1


@inline_uncounted
def copy_row1(flat: Singles, at: int, size: int, bias: int, vector: Singles, to: int) -> None:
    """Writes: vector. A row's vector, and its bias behind it unless ``bias`` is -1."""
    for j in range(size):
        vector[to + j] = flat[at + j]
    if bias >= 0:
        vector[to + size] = flat[bias]


@kernel(
    "void(f4[::1], i8, i8, i8, i8, u1[::1], i8[::1], b1, f4[::1], f4[::1], i8[::1], i8,"
    " f4[::1], f4[::1], i8[::1], f4[::1], i4[::1], i4[::1], i4[::1], i4[::1], i4[::1], i8[::1],"
    " i4[::1], f4[::1])",
    counted=False,
)
def place_rows(
    flat: Singles, words: int, start: int, size: int, bias: int,
    live: Bytes, rows: Ints, only_old: bool,
    centroids: Singles, halves: Singles, numbers: Ints, first: int,
    vectors: Singles, values: Singles, found: Ints, best: Singles,
    heads: Shorts, sizes: Shorts, entries: Shorts, chain: Shorts, owner: Shorts, spare: Ints,
    where: Shorts, copies: Singles,
) -> None:  # fmt: skip
    """Writes: what follows first. Each row into the list of its nearest centroid, in order.

    Nearest is by Euclidean distance, of equals the lowest, as `nearest1`; vectors have their bias
    behind them. A row that is not live is taken out. Lists below ``first`` are of an earlier
    version and get no more entries; with ``only_old`` a row that is not in one stays as it is.
    centroids are flat, halves ``-|c|² / 2``; numbers are ``0, 1, …`` of the centroids; the four
    arrays after first are scratch. The pool must have room for a block for every entry and list.
    """
    width = size + (1 if bias >= 0 else 0)
    for begin in range(0, len(rows), BATCH):
        m = min(BATCH, len(rows) - begin)
        for at in range(begin + m, min(begin + 2 * BATCH, len(rows))):
            prefetch1(where, rows[at])
            for word in range(start, start + size, LINE):
                prefetch1(flat, rows[at] * words + word)
            prefetch1(flat, rows[at] * words + start + size - 1)
        for s in range(m):
            row = rows[begin + s]
            after = bias + row * words if bias >= 0 else -1
            copy_row1(flat, row * words + start, size, after, vectors, s * width)
            if where[row] > 0:
                for word in range(0, width, LINE):
                    prefetch1(copies, (np.int64(where[row]) - 1) * width + word)
        nearest1(centroids, halves, numbers, width, vectors, 0, m, values, found, best, 0)
        for s in range(m):
            row, place = rows[begin + s], np.int64(where[rows[begin + s]]) - 1
            old = np.int64(owner[place // BLOCK]) if place >= 0 else -1
            if only_old and (old < 0 or old >= first):
                continue
            gone = len(live) > 0 and live[row] == 0
            new = -1 if gone else first + found[s]
            if new != old:
                take1(row, heads, sizes, entries, chain, owner, spare, where, copies, width)
                if new >= 0:
                    put1(row, new, heads, sizes, entries, chain, owner, spare, where)
            if new >= 0:
                copy1(copies, (np.int64(where[row]) - 1) * width, vectors, s * width, width)
