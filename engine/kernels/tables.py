"""Hash tables of pairs (hash, value) by open addressing, for whoever tells equal hashes apart.

A table is int64 ``(capacity, 2)``, the capacity a power of two; a value is above 0, and 0 marks an
empty place. An entry stands at its hash's low bits or behind, with no empty place between; several
may have one hash. Callers keep at least one place empty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel

__all__ = ["HASH", "VALUE", "erase1", "holds1", "insert1", "locate1", "move_entries"]

Ints = NDArray[np.int64]
Table = NDArray[np.int64]

HASH, VALUE = 0, 1


@inline
def holds1(table: Table, key: int) -> bool:
    """Whether some entry has the hash."""
    mask = len(table) - 1
    at = key & mask
    while table[at, VALUE] != 0:
        if table[at, HASH] == key:
            return True
        at = (at + 1) & mask
    return False


@inline
def locate1(table: Table, key: int, value: int) -> int:
    """Return the place of an entry that is there."""
    mask = len(table) - 1
    at = key & mask
    while table[at, VALUE] != value or table[at, HASH] != key:
        at = (at + 1) & mask
    return at


@inline
def insert1(table: Table, key: int, value: int) -> None:
    """Writes: table. Adds an entry."""
    mask = len(table) - 1
    at = key & mask
    while table[at, VALUE] != 0:
        at = (at + 1) & mask
    table[at, HASH] = key
    table[at, VALUE] = value


@inline
def erase1(table: Table, key: int, value: int) -> None:
    """Writes: table. Takes an entry out that is there; those behind it move up."""
    mask = len(table) - 1
    hole = locate1(table, key, value)
    at = (hole + 1) & mask
    while table[at, VALUE] != 0:
        home = table[at, HASH] & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            table[hole, HASH] = table[at, HASH]
            table[hole, VALUE] = table[at, VALUE]
            hole = at
        at = (at + 1) & mask
    table[hole, VALUE] = 0


@kernel("i8(i8[:,::1], i8[:,::1], i8)")
def move_entries(source: Table, target: Table, above: int) -> int:
    """Writes: target. Adds the entries of a table whose values are above a bound; how many."""
    moved = 0
    for at in range(len(source)):
        if source[at, VALUE] > above:
            insert1(target, source[at, HASH], source[at, VALUE])
            moved += 1
    return moved
