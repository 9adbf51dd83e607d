"""The index: keys to records, by cuckoo hashing with two choices of four cells a cache line.

A bucket is one line of 64 bytes: four keys, then their four records. A key lies in one of two
buckets, or out of band when it mixes to 0, which marks an empty cell; so fresh zero pages are a
valid index and taking a key out clears one cell. Keys are stored mixed with a seed: whoever does
not know it cannot choose keys that fall together.

Room is made along the shortest chain of moves (Li et al. 2014, "Algorithmic improvements for fast
concurrent cuckoo hashing"), last move first, so no key is ever absent. The index doubles in place,
a few buckets with every insertion: bucket b's keys are dealt out to b and b + n/2, as in linear
hashing (Litwin 1980), so memory is touched in order, nothing is left behind and nothing stops. Keys
that find no room, which takes keys chosen by who knows the seed, go to a stash of 128 that is
looked through; the owner then chooses another seed.

Readers may look up while one writer writes. A cell's key and record are not read at once; whoever
reads compares the key that stands in the record itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import called_uncounted, inline_uncounted, kernel
from engine.kernels.embeddings.layout import MOVES, SEED, STASH, STASHED, STORED, ZERO_ROW
from engine.kernels.memory import fence1, prefetch1
from engine.kernels.random import mix1
from engine.kernels.words import leading_zeros1

__all__ = [
    "buckets1",
    "erase1",
    "find1",
    "insert1",
    "limit1",
    "locate_keys",
    "mixed1",
    "prefetch_bucket1",
    "prefetch_first1",
    "prefetch_second1",
    "probe_first1",
    "probe_second1",
    "put_keys",
]

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

EMPTY = np.uint64(0)
HALF = np.uint64(32)
SPLIT = 4  # buckets dealt out with every insertion while growing
NODES = 512  # buckets looked at for a way to make room
FIRST = 1 + STASH  # line of the first bucket


@inline_uncounted
def mixed1(head: Ints, key: np.uint64) -> np.uint64:
    """Return the key as the index stores it: a bijection."""
    return mix1(np.uint64(key ^ np.uint64(head[SEED])))


@inline_uncounted
def buckets1(cells: Keys) -> int:
    """Return how many buckets there are, the stash left out."""
    return int(np.int64(cells[0]))


@inline_uncounted
def limit1(buckets: int) -> int:
    """Return how many keys make an index of so many buckets grow."""
    return (buckets << 2) * 9 // 10


@inline_uncounted
def bucket1(bits: np.uint64, buckets: int) -> int:
    """Return the bucket of a hash: by as many bits as there are buckets for."""
    mask = (1 << (64 - leading_zeros1(np.uint64(buckets)))) - 1
    bucket = int(np.int64(bits & np.uint64(mask)))
    return bucket if bucket < buckets else bucket & (mask >> 1)


@inline_uncounted
def first1(mixed: np.uint64, buckets: int) -> int:
    """Return the first bucket of a key."""
    return bucket1(mixed, buckets)


@inline_uncounted
def second1(mixed: np.uint64, buckets: int) -> int:
    """Return the second bucket of a key."""
    return bucket1(mixed >> HALF, buckets)


@inline_uncounted
def place1(bucket: int) -> int:
    """Return the place of a bucket's first cell."""
    return (bucket + FIRST) << 3


@inline_uncounted
def prefetch_first1(cells: Keys, mixed: np.uint64, buckets: int) -> None:
    """Ask for the memory where a key most likely is."""
    prefetch1(cells, place1(first1(mixed, buckets)))


@inline_uncounted
def prefetch_second1(cells: Keys, mixed: np.uint64, buckets: int) -> None:
    """Ask for the memory where a key is otherwise."""
    prefetch1(cells, place1(second1(mixed, buckets)))


@inline_uncounted
def prefetch_bucket1(cells: Keys, mixed: np.uint64) -> None:
    """Ask for the memory where a key may be."""
    prefetch_first1(cells, mixed, buckets1(cells))
    prefetch_second1(cells, mixed, buckets1(cells))


@inline_uncounted
def probe1(cells: Keys, at: int, mixed: np.uint64) -> int:
    """Return the place of a key's cell in the bucket at a place, -1 when it is not there."""
    found = -1
    for s in range(4):
        if cells[at + s] == mixed:
            found = at + s
    return found


@inline_uncounted
def probe_first1(cells: Keys, mixed: np.uint64, buckets: int) -> int:
    """Return the record of a key that lies in its first bucket, -1 otherwise."""
    place = probe1(cells, place1(first1(mixed, buckets)), mixed)
    return int(np.int64(cells[place + 4])) if place >= 0 else -1


@inline_uncounted
def probe_second1(head: Ints, cells: Keys, mixed: np.uint64, buckets: int) -> int:
    """Return the record of a key that lies anywhere but in its first bucket, -1 otherwise."""
    if mixed == EMPTY:
        return int(head[ZERO_ROW] - 1)
    place = probe1(cells, place1(second1(mixed, buckets)), mixed)
    if place < 0 and head[STASHED] > 0:
        place = stashed1(cells, mixed)
    return int(np.int64(cells[place + 4])) if place >= 0 else -1


@called_uncounted
def stashed1(cells: Keys, mixed: np.uint64) -> int:
    """Return the place of a key's cell in the stash, -1 when it is not there."""
    found, line = -1, 1
    while found < 0 and line <= STASH:
        found = probe1(cells, line << 3, mixed)
        line += 1
    return found


@inline_uncounted
def cell1(head: Ints, cells: Keys, mixed: np.uint64) -> int:
    """Return the place of a key's cell, -1 when it is not there."""
    buckets = buckets1(cells)
    found = probe1(cells, place1(first1(mixed, buckets)), mixed)
    if found < 0:
        found = probe1(cells, place1(second1(mixed, buckets)), mixed)
    if found < 0 and head[STASHED] > 0:
        found = stashed1(cells, mixed)
    return found


@inline_uncounted
def find1(head: Ints, cells: Keys, mixed: np.uint64) -> int:
    """Return the record of a key, -1 when it has none."""
    if mixed == EMPTY:
        return int(head[ZERO_ROW] - 1)
    place = cell1(head, cells, mixed)
    return int(np.int64(cells[place + 4])) if place >= 0 else -1


@inline_uncounted
def put1(cells: Keys, place: int, mixed: np.uint64, row: int) -> None:
    """Writes: cells. Fills an empty cell, so that whoever sees the key sees its record."""
    cells[place + 4] = np.uint64(row)
    fence1()
    cells[place] = mixed


@inline_uncounted
def moved1(head: Ints) -> None:
    """Writes: head. Tells readers that a key moved, or goes: before its cell is cleared."""
    fence1()
    head[MOVES] += 1
    fence1()


@called_uncounted
def make_room1(head: Ints, cells: Keys, scratch: Ints, mixed: np.uint64) -> int:
    """Writes: head, cells, scratch. Empties a cell for a key by moving others; its place, or -1.

    Breadth first over the buckets that the keys of full buckets could go to instead. A node of the
    search is its bucket, and where it was come from: 4 times the node before, plus the cell.
    """
    buckets = buckets1(cells)
    scratch[0], scratch[1] = first1(mixed, buckets), -1
    scratch[2], scratch[3] = second1(mixed, buckets), -1
    count, node = 2, 0
    while node < count:
        bucket = int(scratch[2 * node])
        empty = probe1(cells, place1(bucket), EMPTY)
        if empty >= 0:
            while scratch[2 * node + 1] >= 0:
                before = int(scratch[2 * node + 1] >> 2)
                source = place1(int(scratch[2 * before])) + int(scratch[2 * node + 1] & 3)
                put1(cells, empty, cells[source], int(np.int64(cells[source + 4])))
                moved1(head)
                cells[source] = EMPTY
                empty, node = source, before
            return empty
        for s in range(4):
            if count == NODES:
                break
            key = cells[place1(bucket) + s]
            one, two = first1(key, buckets), second1(key, buckets)
            scratch[2 * count] = two if one == bucket else one
            scratch[2 * count + 1] = 4 * node + s
            count += 1
        node += 1
    return -1


@inline_uncounted
def enter1(head: Ints, cells: Keys, scratch: Ints, mixed: np.uint64, row: int) -> None:
    """Writes: head, cells, scratch. Adds a key that the index lacks; the stash is not full."""
    buckets = buckets1(cells)
    place = probe1(cells, place1(first1(mixed, buckets)), EMPTY)
    if place < 0:
        place = probe1(cells, place1(second1(mixed, buckets)), EMPTY)
    if place < 0:
        place = make_room1(head, cells, scratch, mixed)
    if place < 0:
        place = stashed1(cells, EMPTY)
        head[STASHED] += 1
    put1(cells, place, mixed, row)


@called_uncounted
def split1(head: Ints, cells: Keys) -> None:
    """Writes: head, cells. Adds a bucket, and deals the keys out of the one that it halves."""
    buckets = buckets1(cells)
    halved = buckets - (1 << (63 - leading_zeros1(np.uint64(buckets))))
    source, target = place1(halved), place1(buckets)
    goes = 0
    for s in range(4):
        mixed = cells[source + s]
        if mixed != EMPTY:
            one = first1(mixed, buckets) == halved and first1(mixed, buckets + 1) == halved
            two = second1(mixed, buckets) == halved and second1(mixed, buckets + 1) == halved
            if not (one or two):
                put1(cells, target + s, mixed, int(np.int64(cells[source + s + 4])))
                goes |= 1 << s
    fence1()
    cells[0] = np.uint64(buckets + 1)
    moved1(head)
    for s in range(4):
        if goes & (1 << s):
            cells[source + s] = EMPTY


@called_uncounted
def unstash1(head: Ints, cells: Keys, scratch: Ints) -> None:
    """Writes: head, cells, scratch. Enters the stash's keys again, where there may be room now."""
    for line in range(1, STASH + 1):
        for place in range(line << 3, (line << 3) + 4):
            if cells[place] != EMPTY and head[STASHED] < 4 * STASH:
                enter1(head, cells, scratch, cells[place], int(np.int64(cells[place + 4])))
                moved1(head)
                cells[place] = EMPTY
                head[STASHED] -= 1


@inline_uncounted
def grow1(head: Ints, cells: Keys, scratch: Ints) -> None:
    """Writes: head, cells, scratch. Splits some buckets, when it is time, until they doubled."""
    buckets = buckets1(cells)
    growing = (buckets & (buckets - 1)) != 0
    if growing or head[STORED] >= limit1(buckets):
        for _ in range(SPLIT):
            if buckets < (len(cells) >> 3) - FIRST:
                split1(head, cells)
                buckets += 1
        if head[STASHED] and buckets & (buckets - 1) == 0:
            unstash1(head, cells, scratch)


@inline_uncounted
def insert1(head: Ints, cells: Keys, scratch: Ints, mixed: np.uint64, row: int) -> None:
    """Writes: head, cells, scratch. Adds a key that the index lacks; the stash is not full."""
    grow1(head, cells, scratch)
    head[STORED] += 1
    if mixed == EMPTY:
        head[ZERO_ROW] = row + 1
    else:
        enter1(head, cells, scratch, mixed, row)


@inline_uncounted
def erase1(head: Ints, cells: Keys, mixed: np.uint64) -> None:
    """Writes: head, cells. Takes a key out that is there."""
    head[STORED] -= 1
    moved1(head)
    if mixed == EMPTY:
        head[ZERO_ROW] = 0
        return
    place = cell1(head, cells, mixed)
    cells[place] = EMPTY
    if place >> 3 <= STASH:
        head[STASHED] -= 1


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


@kernel("void(i8[::1], u8[::1], u8[::1], i8[::1])", counted=False)
def locate_keys(head: Ints, cells: Keys, keys: Keys, rows: Ints) -> None:
    """Writes: rows. The record of every key, -1 where it has none; both ``(n,)``."""
    n = len(keys)
    for start in range(0, n, 16):
        stop = min(start + 16, n)
        for i in range(start, stop):
            prefetch_bucket1(cells, mixed1(head, keys[i]))
        for i in range(start, stop):
            rows[i] = find1(head, cells, mixed1(head, keys[i]))
