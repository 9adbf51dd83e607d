"""Event ids that open windows saw: a list by window, and a table of those of busy windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.blocks import (
    EVENT_COUNT,
    EVENT_HASH,
    EVENT_LENGTH,
    EVENT_START,
    EVENTS,
    NEXT,
    OFFSET,
    OWNER,
    give_back1,
)
from engine.kernels.compile import inline, inline_here
from engine.kernels.ledger import SEEN_IDS
from engine.kernels.memory import equal1
from engine.kernels.random import mix1
from engine.kernels.tables import HASH, VALUE, erase1, insert1

__all__ = ["forget_events1", "saw1", "see1"]

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Table = NDArray[np.int64]

FEW = 8  # event ids of a window that are only a list; more stand in the table, too


@inline
def seen_key1(window: int, event_hash: int) -> int:
    """Where an event id of a window stands in the table of those seen."""
    return int(np.int64(mix1(np.uint64(event_hash) ^ mix1(np.uint64(window)))))


@inline_here
def saw1(
    arena: Ints,
    texts: Bytes,
    seen: Table,
    window: int,
    event_hash: int,
    source: Bytes,
    start: int,
    length: int,
) -> bool:
    """Whether a window saw an event id, a span of ``source``."""
    if arena[window + EVENT_COUNT] <= FEW:
        b = arena[window + EVENTS]
        while b:
            if (
                arena[b + EVENT_HASH] == event_hash
                and arena[b + EVENT_LENGTH] == length
                and equal1(texts, arena[b + EVENT_START], source, start, length)
            ):
                return True
            b = arena[b + NEXT]
        return False
    key, mask = seen_key1(window, event_hash), len(seen) - 1
    at = key & mask
    while seen[at, VALUE] != 0:
        b = seen[at, VALUE]
        if (
            seen[at, HASH] == key
            and arena[b + OWNER] == window
            and arena[b + EVENT_LENGTH] == length
            and equal1(texts, arena[b + EVENT_START], source, start, length)
        ):
            return True
        at = (at + 1) & mask
    return False


@inline_here
def see1(arena: Ints, seen: Table, state: Ints, window: int, b: int) -> None:
    """Writes: arena, seen, state. Block b holds an event id that the window saw."""
    arena[b + OFFSET] = -1
    arena[b + OWNER] = window
    arena[b + NEXT] = arena[window + EVENTS]
    arena[window + EVENTS] = b
    arena[window + EVENT_COUNT] += 1
    state[SEEN_IDS] += 1
    if arena[window + EVENT_COUNT] > FEW:  # all of them when there are one too many for a list
        last = 0 if arena[window + EVENT_COUNT] == FEW + 1 else arena[b + NEXT]
        while b != last:
            insert1(seen, seen_key1(window, arena[b + EVENT_HASH]), b)
            b = arena[b + NEXT]


@inline_here
def forget_events1(arena: Ints, free: Ints, seen: Table, state: Ints, window: int) -> None:
    """Writes: arena, free, seen, state. Gives back the event ids a window saw."""
    b, many = arena[window + EVENTS], arena[window + EVENT_COUNT] > FEW
    while b:
        following = arena[b + NEXT]
        if many:
            erase1(seen, seen_key1(window, arena[b + EVENT_HASH]), b)
        give_back1(arena, free, b)
        b = following
    state[SEEN_IDS] -= arena[window + EVENT_COUNT]
