"""What a joiner must come back to: a heap of deadlines, and a list by oldest record.

The heap has entries (deadline, offset, block) and keeps those that no longer hold: whoever takes
one compares it with the block. The list links blocks that are held, oldest record first: a new one
comes last, one that absorbs others takes the place of the oldest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.blocks import DEADLINE, NEWER, OFFSET, OLDER
from engine.kernels.compile import inline, kernel

__all__ = [
    "first_deadline",
    "is_due1",
    "link_last1",
    "list_held",
    "pop_deadline1",
    "push_deadline1",
    "replace1",
    "unlink1",
]

Ints = NDArray[np.int64]
Heap = NDArray[np.int64]


@inline
def push_deadline1(heap: Heap, state: Ints, size: int, deadline: int, offset: int, b: int) -> None:
    """Writes: heap, state[size]. Adds an entry for block b."""
    at = state[size]
    state[size] += 1
    while at > 0:
        above = (at - 1) >> 1
        if heap[above, 0] < deadline or (heap[above, 0] == deadline and heap[above, 1] <= offset):
            break
        for column in range(3):
            heap[at, column] = heap[above, column]
        at = above
    heap[at, 0], heap[at, 1], heap[at, 2] = deadline, offset, b


@inline
def pop_deadline1(heap: Heap, state: Ints, size: int) -> None:
    """Writes: heap, state[size]. Takes the first entry out."""
    state[size] -= 1
    n, at = state[size], 0
    deadline, offset, b = heap[n, 0], heap[n, 1], heap[n, 2]
    # The hole sinks to the bottom, where the last entry mostly belongs, and rises from there.
    while 2 * at + 2 < n:
        below = 2 * at + 1
        if heap[below + 1, 0] < heap[below, 0] or (
            heap[below + 1, 0] == heap[below, 0] and heap[below + 1, 1] < heap[below, 1]
        ):
            below += 1
        for column in range(3):
            heap[at, column] = heap[below, column]
        at = below
    if 2 * at + 1 < n:
        for column in range(3):
            heap[at, column] = heap[2 * at + 1, column]
        at = 2 * at + 1
    while at > 0:
        above = (at - 1) >> 1
        if heap[above, 0] < deadline or (heap[above, 0] == deadline and heap[above, 1] <= offset):
            break
        for column in range(3):
            heap[at, column] = heap[above, column]
        at = above
    heap[at, 0], heap[at, 1], heap[at, 2] = deadline, offset, b


@inline
def is_due1(arena: Ints, heap: Heap) -> bool:
    """Whether the first entry still holds."""
    b = heap[0, 2]
    return bool(arena[b + OFFSET] == heap[0, 1] and arena[b + DEADLINE] == heap[0, 0])


@kernel("i8(i8[::1], i8[:,::1], i8[::1], i8)")
def first_deadline(arena: Ints, heap: Heap, state: Ints, size: int) -> int:
    """Writes: heap, state[size]. The first deadline that holds, -1 for none.

    Entries before it are taken out.
    """
    while state[size] > 0:
        if is_due1(arena, heap):
            return int(heap[0, 0])
        pop_deadline1(heap, state, size)
    return -1


@inline
def link_last1(arena: Ints, state: Ints, ends: int, b: int) -> None:
    """Writes: arena, state[ends] and the next, the oldest and the newest. Adds block b."""
    newest = state[ends + 1]
    arena[b + OLDER], arena[b + NEWER] = newest, 0
    if newest:
        arena[newest + NEWER] = b
    else:
        state[ends] = b
    state[ends + 1] = b


@inline
def unlink1(arena: Ints, state: Ints, ends: int, b: int) -> None:
    """Writes: arena, state[ends] and the next. Takes block b out."""
    older, newer = arena[b + OLDER], arena[b + NEWER]
    if older:
        arena[older + NEWER] = newer
    else:
        state[ends] = newer
    if newer:
        arena[newer + OLDER] = older
    else:
        state[ends + 1] = older


@inline
def replace1(arena: Ints, state: Ints, ends: int, b: int, new: int) -> None:
    """Writes: arena, state[ends] and the next. Puts a block in the place of block b."""
    older, newer = arena[b + OLDER], arena[b + NEWER]
    arena[new + OLDER], arena[new + NEWER] = older, newer
    if older:
        arena[older + NEWER] = new
    else:
        state[ends] = new
    if newer:
        arena[newer + OLDER] = new
    else:
        state[ends + 1] = new


@kernel("i8(i8[::1], i8, i8[::1])")
def list_held(arena: Ints, first: int, out: Ints) -> int:
    """Writes: out. The blocks of a list from its first on; returns how many there are."""
    n, b = 0, first
    while b:
        out[n] = b
        n += 1
        b = arena[b + NEWER]
    return n
