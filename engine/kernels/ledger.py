"""The joiner's own numbers: places of its arrays, fates counted, requests remembered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline
from engine.kernels.tables import HASH, VALUE

__all__ = ["recall1", "remember1", "settle1"]

Ints = NDArray[np.int64]
Table = NDArray[np.int64]

# Places of ``state``.
CLOCK = 0  # ms
NEXT_OFFSET = 1
AT = 2  # record of the batch to go on with
USED = 3  # words of the arena
ENTRIES = 4  # of the heap of deadlines
ENDS = 5  # oldest and newest block held
HELD = 7  # how many there are
SEEN_IDS = 8  # event ids that open windows saw
CLOSED = 9  # entries of the table of closed requests
CHANGED = 10  # rows of ``changed``
OUTCOMES = 11  # rows of ``outcomes``
LEARNED_SLOTS = 12  # entries of ``slots`` and ``rewards``
CLOSING = 13  # list of windows closed in this call, kept for what is learned of them
LONGEST = 14  # the longest reward window, ms
MEMORY = 15  # how long a request is remembered after a record that touches it, ms
STATE_WORDS = 16

# Columns of ``counts``, rows being types of event: consumed, then what became of them.
CONSUMED, PENDING, APPLIED, DUPLICATE, LATE, ORPHAN, NOT_SHOWN, FILTERED, DEAD = range(9)
TOLD = 9  # whether the type was ever counted
ACTIVATIONS, FEEDBACK, IMPRESSIONS = 1, 2, 0

# Columns of ``rules``; ``rates`` have the default reward, then the weight of every kind or NaN.
WINDOW_MS, AGGREGATION, AT_ONCE, POLICY, X_WIDTH, Z_WIDTH = range(6)
EARLIEST, LATEST, LARGEST, SUM = range(4)  # aggregations

# Columns of ``outcomes``.
OF_WINDOW, OF_POLICY, BY_OFFSET, OPENED, TIME_MS, LAST_SLOT, FIRST, SIZE = range(8)


@inline
def settle1(counts: Table, kind: int, fate: int, n: int, held: bool) -> None:
    """Writes: counts. The fate of ``n`` records; ``held`` when they were pending before."""
    counts[kind, fate] += n
    if held:
        counts[kind, PENDING] -= n
    counts[kind, TOLD] = 1


@inline
def remember1(closed: Table, changed: Table, state: Ints, key: int, until: int) -> None:
    """Writes: closed, changed, state. A request is remembered at least until then."""
    mask = len(closed) - 1
    at = key & mask
    while closed[at, VALUE] != 0 and closed[at, HASH] != key:
        at = (at + 1) & mask
    if closed[at, VALUE] == 0:
        state[CLOSED] += 1
        closed[at, HASH] = key
    until = max(until, closed[at, VALUE])
    closed[at, VALUE] = until
    changed[state[CHANGED], HASH], changed[state[CHANGED], VALUE] = key, until
    state[CHANGED] += 1


@inline
def recall1(closed: Table, key: int, clock: int) -> bool:
    """Whether a closed request is still remembered."""
    mask = len(closed) - 1
    at = key & mask
    while closed[at, VALUE] != 0:
        if closed[at, HASH] == key:
            return bool(closed[at, VALUE] > clock)
        at = (at + 1) & mask
    return False
