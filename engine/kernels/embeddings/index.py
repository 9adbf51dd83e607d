"""The index: keys to records, by cuckoo hashing with two choices of four cells a cache line.

A bucket is one line of 64 bytes: four keys, then their four records. A key lies in one of two
buckets, or out of band when it mixes to 0, which marks an empty cell; so fresh zero pages are a
valid index and taking a key out clears one cell. Keys are stored mixed with a seed: whoever does
not know it cannot choose keys that fall together.

Room is made along the shortest chain of moves (Li et al. 2014, "Algorithmic improvements for fast
concurrent cuckoo hashing"), last move first, so no key is ever absent. Growing goes on beside the
work: a table twice as large takes new keys, and each insertion carries some buckets over. Keys that
find no room, which takes keys chosen by who knows the seed, go to a stash of 128 that is looked
through; the owner then chooses another seed.

Readers may look up while one writer writes. A cell's key and record are not read at once; whoever
reads compares the key that stands in the record itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import called_uncounted, inline_uncounted, kernel
from engine.kernels.embeddings.layout import (
    MOVES,
    OLD_HAND,
    SEED,
    STASH,
    STASHED,
    STORED,
    ZERO_ROW,
)
from engine.kernels.memory import fence1, prefetch1
from engine.kernels.random import mix1

__all__ = [
    "carry1",
    "erase1",
    "find1",
    "insert1",
    "locate_keys",
    "mixed1",
    "move_cells",
    "prefetch_bucket1",
    "put_keys",
]

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

EMPTY = np.uint64(0)
HALF = np.uint64(32)
CARRIED = 4  # buckets moved with every insertion while growing
NODES = 512  # buckets looked at for a way to make room


@inline_uncounted
def mixed1(head: Ints, key: np.uint64) -> np.uint64:
    """Return the key as the index stores it: a bijection."""
    return mix1(np.uint64(key ^ np.uint64(head[SEED])))


@inline_uncounted
def first1(mixed: np.uint64, mask: int) -> int:
    """Return the first bucket of a key."""
    return int(np.int64(mixed & np.uint64(mask)))


@inline_uncounted
def second1(mixed: np.uint64, mask: int) -> int:
    """Return the second bucket of a key."""
    return int(np.int64((mixed >> HALF) & np.uint64(mask)))


@inline_uncounted
def mask1(cells: Keys) -> int:
    """Return the buckets, the stash left out, less one: of the array, which readers keep whole."""
    return (len(cells) >> 3) - STASH - 1


@inline_uncounted
def prefetch_bucket1(cells: Keys, mixed: np.uint64) -> None:
    """Ask for the memory where a key may be."""
    prefetch1(cells, first1(mixed, mask1(cells)) << 3)
    prefetch1(cells, second1(mixed, mask1(cells)) << 3)


@inline_uncounted
def probe1(cells: Keys, bucket: int, mixed: np.uint64) -> int:
    """Return the place of a key's cell in a bucket, -1 when it is not there."""
    at = bucket << 3
    found = -1
    for s in range(4):
        if cells[at + s] == mixed:
            found = at + s
    return found


@called_uncounted
def stashed1(cells: Keys, mixed: np.uint64) -> int:
    """Return the place of a key's cell in the stash, -1 when it is not there."""
    found, bucket = -1, mask1(cells) + 1
    while found < 0 and bucket < (len(cells) >> 3):
        found = probe1(cells, bucket, mixed)
        bucket += 1
    return found


@inline_uncounted
def place1(head: Ints, cells: Keys, mixed: np.uint64) -> int:
    """Return the place of a key's cell, -1 when it is not there."""
    mask = mask1(cells)
    found = probe1(cells, first1(mixed, mask), mixed)
    if found < 0:
        found = probe1(cells, second1(mixed, mask), mixed)
    if found < 0 and head[STASHED] > 0:
        found = stashed1(cells, mixed)
    return found


@inline_uncounted
def find1(head: Ints, cells: Keys, old: Keys, mixed: np.uint64) -> int:
    """Return the record of a key, -1 when it has none."""
    if mixed == EMPTY:
        return int(head[ZERO_ROW] - 1)
    place = place1(head, cells, mixed)
    if place >= 0:
        return int(np.int64(cells[place + 4]))
    if len(old):
        place = place1(head, old, mixed)
        if place >= 0:
            return int(np.int64(old[place + 4]))
    return -1


@inline_uncounted
def put1(cells: Keys, place: int, mixed: np.uint64, row: int) -> None:
    """Writes: cells. Fills an empty cell, so that whoever sees the key sees its record."""
    cells[place + 4] = np.uint64(row)
    fence1()
    cells[place] = mixed


@inline_uncounted
def vacancy1(cells: Keys, bucket: int) -> int:
    """Return the place of an empty cell of a bucket, -1 when it is full."""
    return probe1(cells, bucket, EMPTY)


@called_uncounted
def make_room1(head: Ints, cells: Keys, scratch: Ints, mixed: np.uint64) -> int:
    """Writes: head, cells, scratch. Empties a cell for a key by moving others; its place, or -1.

    Breadth first over the buckets that the keys of full buckets could go to instead. A node of the
    search is its bucket, and where it was come from: 4 times the node before, plus the cell.
    """
    mask = mask1(cells)
    scratch[0], scratch[1] = first1(mixed, mask), -1
    scratch[2], scratch[3] = second1(mixed, mask), -1
    count, node = 2, 0
    while node < count:
        bucket = scratch[2 * node]
        empty = vacancy1(cells, bucket)
        if empty >= 0:
            while scratch[2 * node + 1] >= 0:
                before = scratch[2 * node + 1] >> 2
                source = (scratch[2 * before] << 3) + (scratch[2 * node + 1] & 3)
                put1(cells, empty, cells[source], int(np.int64(cells[source + 4])))
                fence1()
                head[MOVES] += 1
                fence1()
                cells[source] = EMPTY
                empty, node = source, before
            return empty
        for s in range(4):
            if count == NODES:
                break
            key = cells[(bucket << 3) + s]
            one, two = first1(key, mask), second1(key, mask)
            scratch[2 * count] = two if one == bucket else one
            scratch[2 * count + 1] = 4 * node + s
            count += 1
        node += 1
    return -1


@inline_uncounted
def enter1(head: Ints, cells: Keys, scratch: Ints, mixed: np.uint64, row: int) -> None:
    """Writes: head, cells, scratch. Adds a key that the index lacks; the stash is not full."""
    place = vacancy1(cells, first1(mixed, mask1(cells)))
    if place < 0:
        place = vacancy1(cells, second1(mixed, mask1(cells)))
    if place < 0:
        place = make_room1(head, cells, scratch, mixed)
    if place < 0:
        place = stashed1(cells, EMPTY)
        head[STASHED] += 1
    put1(cells, place, mixed, row)


@inline_uncounted
def insert1(head: Ints, cells: Keys, scratch: Ints, mixed: np.uint64, row: int) -> None:
    """Writes: head, cells, scratch. Adds a key that the index lacks; the stash is not full."""
    head[STORED] += 1
    if mixed == EMPTY:
        head[ZERO_ROW] = row + 1
    else:
        enter1(head, cells, scratch, mixed, row)


@inline_uncounted
def clear1(head: Ints, cells: Keys, mixed: np.uint64) -> None:
    """Writes: head, cells. Takes a key out, if it is there."""
    place = place1(head, cells, mixed)
    if place >= 0:
        cells[place] = EMPTY
        if place >> 3 > mask1(cells):
            head[STASHED] -= 1


@inline_uncounted
def erase1(head: Ints, cells: Keys, old: Keys, mixed: np.uint64) -> None:
    """Writes: head, cells, old. Takes a key out that is there."""
    head[STORED] -= 1
    head[MOVES] += 1
    fence1()
    if mixed == EMPTY:
        head[ZERO_ROW] = 0
        return
    clear1(head, cells, mixed)
    if len(old):
        clear1(head, old, mixed)


@called_uncounted
def carry1(head: Ints, cells: Keys, old: Keys, scratch: Ints, buckets: int) -> None:
    """Writes: head, cells, old, scratch. Moves some buckets of the index that is being left."""
    stop = min(head[OLD_HAND] + buckets, len(old) >> 3)
    while head[OLD_HAND] < stop:
        at = head[OLD_HAND] << 3
        for s in range(4):
            mixed = old[at + s]
            if mixed != EMPTY:
                enter1(head, cells, scratch, mixed, int(np.int64(old[at + s + 4])))
                fence1()
                head[MOVES] += 1
                fence1()
                old[at + s] = EMPTY
        head[OLD_HAND] += 1


@kernel("void(i8[::1], u8[::1], u8[::1], i8[::1], i8)", counted=False)
def move_cells(head: Ints, cells: Keys, old: Keys, scratch: Ints, buckets: int) -> None:
    """Writes: head, cells, old, scratch. Moves buckets, as `carry1`."""
    carry1(head, cells, old, scratch, buckets)


@kernel("i8(i8[::1], u8[::1], i8[::1], u8[::1], i8[::1])", counted=False)
def put_keys(head: Ints, cells: Keys, scratch: Ints, keys: Keys, rows: Ints) -> int:
    """Writes: head, cells, scratch. Adds keys that the index lacks; returns how many.

    Fewer than ``len(keys)`` when the stash is filling: the seed is a bad one for these keys.
    """
    for i in range(len(keys)):
        if head[STASHED] >= 2 * STASH:
            return i
        insert1(head, cells, scratch, mixed1(head, keys[i]), rows[i])
    return len(keys)


@kernel("void(i8[::1], u8[::1], u8[::1], u8[::1], i8[::1])", counted=False)
def locate_keys(head: Ints, cells: Keys, old: Keys, keys: Keys, rows: Ints) -> None:
    """Writes: rows. The record of every key, -1 where it has none; both ``(n,)``."""
    n = len(keys)
    for start in range(0, n, 16):
        stop = min(start + 16, n)
        for i in range(start, stop):
            prefetch_bucket1(cells, mixed1(head, keys[i]))
        for i in range(start, stop):
            rows[i] = find1(head, cells, old, mixed1(head, keys[i]))
