"""What becomes of one window: feedback judged, activated, slots learned, closed.

``state`` is the joiner's own int64 array, whose places are named here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.agenda import push_deadline1, unlink1
from engine.kernels.blocks import (
    ARRIVAL,
    ARRIVALS,
    DEADLINE,
    DEFERRED,
    EVENT_COUNT,
    EVENT_HASH,
    EVENT_LENGTH,
    EVENT_START,
    EVENTS,
    FORGET,
    IS_LEARNED,
    IS_SHOWN,
    ITEM_HASH,
    ITEM_LENGTH,
    ITEM_START,
    LAST,
    LEARNED,
    NEXT,
    OFFSET,
    OWNER,
    REPLIES,
    REQUEST_HASH,
    REWARD,
    RULE,
    SETTLED,
    SHOWN,
    SLOT_WORDS,
    SLOTS,
    SPARE,
    STATUS,
    UNLEARNED,
    WINDOW_WORDS,
    give_back1,
)
from engine.kernels.compile import inline
from engine.kernels.memory import equal1
from engine.kernels.random import mix1
from engine.kernels.tables import HASH, VALUE, erase1, insert1

__all__ = ["activate1", "close1", "judge1", "remember1", "see1", "settle1"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
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

FEW = 8  # event ids of a window that are only a list; more stand in a table, too

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


@inline
def seen_key1(window: int, event_hash: int) -> int:
    """Where an event id of a window stands in the table of those seen."""
    return int(np.int64(mix1(np.uint64(event_hash) ^ mix1(np.uint64(window)))))


@inline
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


@inline
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


@inline
def find_slot1(
    arena: Ints,
    texts: Bytes,
    window: int,
    named: int,
    item_hash: int,
    source: Bytes,
    start: int,
    length: int,
) -> int:
    """Slot that shows an item, the one named if any is, or -1."""
    first, last = 0, arena[window + SLOTS]
    if named >= 0:
        first, last = named, min(named + 1, last)
    for slot in range(first, last):
        at = window + WINDOW_WORDS + SLOT_WORDS * slot
        if (
            arena[at + ITEM_HASH] == item_hash
            and arena[at + ITEM_LENGTH] == length
            and equal1(texts, arena[at + ITEM_START], source, start, length)
        ):
            return slot
    return -1


@inline
def judge1(
    arena: Ints,
    numbers: Floats,
    rules: Table,
    rates: Floats,
    window: int,
    slot: int,
    reaction: int,
    amount: float,
) -> int:
    """Writes: arena, numbers. Fate of a feedback on a slot; when applied, it is in the reward."""
    at = window + WINDOW_WORDS + SLOT_WORDS * slot
    if slot < 0 or (arena[window + SHOWN] >= 0 and not arena[at + STATUS] & IS_SHOWN):
        return NOT_SHOWN
    rule = arena[window + RULE]
    if rule < 0 or reaction < 0 or np.isnan(rates[rule, 1 + reaction]):
        return FILTERED
    value = rates[rule, 1 + reaction] * amount
    if arena[at + REPLIES] == 0:
        numbers[at + REWARD] = value
        arena[at + ARRIVAL] = arena[window + ARRIVALS]
        arena[window + ARRIVALS] += 1
        arena[window + LAST] = max(arena[window + LAST], slot)
    else:
        how = rules[rule, AGGREGATION]
        if how == EARLIEST:
            return FILTERED
        if how == SUM:
            numbers[at + REWARD] = numbers[at + REWARD] + value
        elif how == LATEST or value > numbers[at + REWARD]:
            numbers[at + REWARD] = value
    arena[at + REPLIES] += 1
    return APPLIED


@inline
def learn_slot1(
    arena: Ints,
    numbers: Floats,
    rates: Floats,
    state: Ints,
    slots: Ints,
    rewards: Floats,
    window: int,
    slot: int,
) -> None:
    """Writes: arena, state, slots, rewards. Adds a slot to the outcome that is being made."""
    at = window + WINDOW_WORDS + SLOT_WORDS * slot
    arena[at + STATUS] |= IS_LEARNED
    arena[window + LEARNED] += 1
    n = state[LEARNED_SLOTS]
    slots[n] = slot
    told = arena[at + REPLIES] > 0
    rewards[n] = numbers[at + REWARD] if told else rates[arena[window + RULE], 0]
    state[LEARNED_SLOTS] += 1


@inline
def finish_outcome1(
    arena: Ints,
    rules: Table,
    counts: Table,
    state: Ints,
    outcomes: Table,
    window: int,
    first: int,
    offset: int,
    time_ms: int,
) -> None:
    """Writes: arena, counts, state, outcomes. An outcome of the slots from ``first`` on."""
    if state[LEARNED_SLOTS] > first:
        n = state[OUTCOMES]
        outcomes[n, OF_WINDOW] = window
        outcomes[n, OF_POLICY] = rules[arena[window + RULE], POLICY]
        outcomes[n, BY_OFFSET] = offset
        outcomes[n, OPENED] = arena[window + OFFSET]
        outcomes[n, TIME_MS] = time_ms
        outcomes[n, LAST_SLOT] = arena[window + LAST]
        outcomes[n, FIRST] = first
        outcomes[n, SIZE] = state[LEARNED_SLOTS] - first
        state[OUTCOMES] += 1
    settle1(counts, FEEDBACK, APPLIED, arena[window + UNLEARNED], True)
    arena[window + UNLEARNED] = 0
    if not arena[window + SETTLED] and arena[window + SHOWN] == arena[window + LEARNED]:
        arena[window + SETTLED] = 1
        settle1(counts, IMPRESSIONS, APPLIED, 1, True)


@inline
def activate1(
    arena: Ints,
    numbers: Floats,
    rules: Table,
    rates: Floats,
    heap: Table,
    counts: Table,
    state: Ints,
    outcomes: Table,
    slots: Ints,
    rewards: Floats,
    window: int,
    named: Ints,
    start: int,
    size: int,
    offset: int,
) -> int:
    """Writes: all but rules, rates and named. Fate of an activation of ``size`` slots, -1 for all.

    They are ``named[start : start + size]``.
    """
    rule, shown = arena[window + RULE], arena[window + SLOTS]
    if rule < 0 or not arena[window + DEFERRED]:
        return FILTERED
    if arena[window + SHOWN] >= 0:
        return DUPLICATE
    first = window + WINDOW_WORDS
    for slot in range(shown if size < 0 else 0):
        arena[first + SLOT_WORDS * slot + STATUS] |= IS_SHOWN
    for i in range(start, start + size):
        if named[i] < shown:
            arena[first + SLOT_WORDS * named[i] + STATUS] |= IS_SHOWN
    seen, dropped, last = 0, 0, -1
    for slot in range(shown):
        at = first + SLOT_WORDS * slot
        if arena[at + STATUS] & IS_SHOWN:
            seen += 1
            last = slot if arena[at + REPLIES] > 0 else last
        else:
            dropped += arena[at + REPLIES]
    if seen == 0:
        return NOT_SHOWN
    for slot in range(shown):
        at = first + SLOT_WORDS * slot
        if not arena[at + STATUS] & IS_SHOWN:
            arena[at + REPLIES] = 0
    arena[window + SHOWN], arena[window + LAST] = seen, last
    arena[window + UNLEARNED] -= dropped
    settle1(counts, FEEDBACK, NOT_SHOWN, dropped, True)
    arena[window + DEADLINE] = state[CLOCK] + rules[rule, WINDOW_MS]
    push_deadline1(heap, state, ENTRIES, arena[window + DEADLINE], arena[window + OFFSET], window)
    if rules[rule, AT_ONCE]:
        begin, before = state[LEARNED_SLOTS], -1
        while True:  # slots in the order of their first feedback
            following = -1
            for slot in range(shown):
                at = first + SLOT_WORDS * slot
                if arena[at + REPLIES] > 0 and arena[at + ARRIVAL] > before:
                    best = first + SLOT_WORDS * following
                    if following < 0 or arena[at + ARRIVAL] < arena[best + ARRIVAL]:
                        following = slot
            if following < 0:
                break
            before = arena[first + SLOT_WORDS * following + ARRIVAL]
            learn_slot1(arena, numbers, rates, state, slots, rewards, window, following)
        finish_outcome1(arena, rules, counts, state, outcomes, window, begin, offset, state[CLOCK])
    return APPLIED


@inline
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


@inline
def close1(
    arena: Ints,
    numbers: Floats,
    free: Ints,
    requests: Table,
    seen: Table,
    closed: Table,
    rules: Table,
    rates: Floats,
    counts: Table,
    state: Ints,
    outcomes: Table,
    slots: Ints,
    rewards: Floats,
    changed: Table,
    window: int,
    offset: int,
) -> None:
    """Writes: all but rules and rates. A window's time is over, at the record at ``offset``."""
    erase1(requests, arena[window + REQUEST_HASH], window)
    unlink1(arena, state, ENDS, window)
    state[HELD] -= 1
    forget_events1(arena, free, seen, state, window)
    if arena[window + FORGET] > state[CLOCK]:
        remember1(closed, changed, state, arena[window + REQUEST_HASH], arena[window + FORGET])
    if arena[window + SHOWN] < 0:
        if not arena[window + SETTLED]:
            settle1(counts, IMPRESSIONS, FILTERED, 1, True)
        settle1(counts, FEEDBACK, FILTERED, arena[window + UNLEARNED], True)
    elif arena[window + RULE] >= 0:
        begin = state[LEARNED_SLOTS]
        for slot in range(arena[window + SLOTS]):
            status = arena[window + WINDOW_WORDS + SLOT_WORDS * slot + STATUS]
            if status & (IS_SHOWN | IS_LEARNED) == IS_SHOWN:
                learn_slot1(arena, numbers, rates, state, slots, rewards, window, slot)
        when = arena[window + DEADLINE]
        finish_outcome1(arena, rules, counts, state, outcomes, window, begin, offset, when)
    arena[window + OFFSET] = -1
    arena[window + NEXT] = state[CLOSING]
    state[CLOSING] = window


@inline
def release_closed1(arena: Ints, free: Ints, state: Ints) -> None:
    """Writes: arena, free, state. Gives back the windows closed in the last call."""
    window = state[CLOSING]
    while window:
        following = arena[window + NEXT]
        if arena[window + SPARE]:
            give_back1(arena, free, arena[window + SPARE])
        give_back1(arena, free, window)
        window = following
    state[CLOSING] = 0
