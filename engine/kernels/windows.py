"""What becomes of one window: feedback judged, activated, slots learned, closed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.agenda import push_deadline1, unlink1
from engine.kernels.blocks import (
    ARRIVAL,
    ARRIVALS,
    DEADLINE,
    DEFERRED,
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
from engine.kernels.compile import inline, inline_here
from engine.kernels.ledger import (
    AGGREGATION,
    APPLIED,
    AT_ONCE,
    BY_OFFSET,
    CLOCK,
    CLOSING,
    DUPLICATE,
    EARLIEST,
    ENDS,
    ENTRIES,
    FEEDBACK,
    FILTERED,
    FIRST,
    HELD,
    IMPRESSIONS,
    LAST_SLOT,
    LATEST,
    LEARNED_SLOTS,
    NOT_SHOWN,
    OF_POLICY,
    OF_WINDOW,
    OPENED,
    OUTCOMES,
    PENDING,
    POLICY,
    SIZE,
    SUM,
    TIME_MS,
    WINDOW_MS,
    remember1,
    settle1,
)
from engine.kernels.memory import equal1
from engine.kernels.seen import forget_events1
from engine.kernels.tables import erase1

__all__ = ["activate1", "close1", "react1", "release_closed1"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.int64]


@inline_here
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


@inline_here
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


@inline_here
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


@inline_here
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


@inline_here
def react1(
    arena: Ints,
    numbers: Floats,
    texts: Bytes,
    rules: Table,
    rates: Floats,
    counts: Table,
    state: Ints,
    outcomes: Table,
    slots: Ints,
    rewards: Floats,
    window: int,
    named: int,
    item_hash: int,
    source: Bytes,
    start: int,
    length: int,
    reaction: int,
    amount: float,
    offset: int,
) -> int:
    """Writes: arena, numbers, counts, state, outcomes, slots, rewards. Fate of a new feedback.

    It is about the slot ``named`` (-1 for none) and the item ``source[start : start + length]``;
    it is pending when it is learned at the close.
    """
    slot = find_slot1(arena, texts, window, named, item_hash, source, start, length)
    fate = judge1(arena, numbers, rules, rates, window, slot, reaction, amount)
    if fate != APPLIED:
        return fate
    if arena[window + SHOWN] < 0 or not rules[arena[window + RULE], AT_ONCE]:
        arena[window + UNLEARNED] += 1
        return PENDING
    first = state[LEARNED_SLOTS]
    learn_slot1(arena, numbers, rates, state, slots, rewards, window, slot)
    finish_outcome1(arena, rules, counts, state, outcomes, window, first, offset, state[CLOCK])
    return APPLIED


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


@inline_here
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
