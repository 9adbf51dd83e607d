"""The joiner's fold over a batch of decoded records, and the rows of what it learned.

What the fold means is told in `streams.join`; the layout of what it holds in
`engine.kernels.blocks`. The caller makes room: tables are at most half full after the batch, and
the arena holds all that the batch can add.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.agenda import (
    is_due1,
    link_last1,
    pop_deadline1,
    push_deadline1,
    replace1,
    unlink1,
)
from engine.kernels.blocks import (
    AMOUNT,
    ARRIVAL,
    ARRIVALS,
    DEADLINE,
    DEFERRED,
    EARLY_ACTIVATION,
    EARLY_FEEDBACK,
    EARLY_WORDS,
    EVENT_COUNT,
    EVENT_HASH,
    EVENT_LENGTH,
    EVENT_START,
    EVENTS,
    FORGET,
    IS_SHOWN,
    ITEM_HASH,
    ITEM_LENGTH,
    ITEM_START,
    KIND,
    LAST,
    LEARNED,
    NEXT,
    OFFSET,
    ORIGIN_CLOCK,
    ORIGIN_OFFSET,
    PREVIOUS,
    PROPENSITY,
    REACTION,
    REPLIES,
    REQUEST_HASH,
    REQUEST_LENGTH,
    REQUEST_START,
    RULE,
    SEEN,
    SEEN_SLOTS,
    SEEN_START,
    SEEN_WORDS,
    SETTLED,
    SHOWN,
    SLOT_WORDS,
    SLOTS,
    SPARE,
    STARTED,
    STATUS,
    TAIL,
    TARGET_HASH,
    TARGET_LENGTH,
    TARGET_SLOT,
    TARGET_START,
    UNLEARNED,
    VALUE_LENGTH,
    VALUE_START,
    WEIGHT,
    WINDOW,
    WINDOW_WORDS,
    X_START,
    give_back1,
    keep_text1,
    take_block1,
)
from engine.kernels.compile import inline, kernel
from engine.kernels.memory import borrow1, copy1, equal1, prefetch1
from engine.kernels.tables import HASH, VALUE, erase1, holds1, insert1, locate1
from engine.kernels.windows import (
    ACTIVATIONS,
    APPLIED,
    AT,
    AT_ONCE,
    CHANGED,
    CLOCK,
    CONSUMED,
    DEAD,
    DUPLICATE,
    ENDS,
    ENTRIES,
    FEEDBACK,
    FILTERED,
    HELD,
    IMPRESSIONS,
    LATE,
    LEARNED_SLOTS,
    LONGEST,
    MEMORY,
    NEXT_OFFSET,
    ORPHAN,
    OUTCOMES,
    PENDING,
    TOLD,
    USED,
    WINDOW_MS,
    X_WIDTH,
    Z_WIDTH,
    activate1,
    close1,
    find_slot1,
    finish_outcome1,
    judge1,
    learn_slot1,
    recall1,
    release_closed1,
    remember1,
    saw1,
    see1,
    settle1,
)

__all__ = ["join_events"]

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.int64]

CONTROL, TICK = 3, 4  # kinds of records beyond those that are joined
MAX_SLATE = 1000
AHEAD = 16
SKIPPED = -1  # fate of a record whose request a commit holds as closed


@inline
def find_request1(
    arena: Ints, texts: Bytes, requests: Table, key: int, source: Bytes, start: int, length: int
) -> int:
    """Return the window, or the first early record, of a request; 0 when it has none."""
    mask = len(requests) - 1
    at = key & mask
    while requests[at, VALUE] != 0:
        b = requests[at, VALUE]
        if (
            requests[at, HASH] == key
            and arena[b + REQUEST_LENGTH] == length
            and equal1(texts, arena[b + REQUEST_START], source, start, length)
        ):
            return int(b)
        at = (at + 1) & mask
    return 0


@inline
def hold1(arena: Ints, state: Ints, b: int, offset: int, key: int, deadline: int) -> None:
    """Writes: arena. What all that is held has in common."""
    arena[b + OFFSET] = arena[b + ORIGIN_OFFSET] = offset
    arena[b + STARTED] = arena[b + ORIGIN_CLOCK] = state[CLOCK]
    arena[b + DEADLINE] = deadline
    arena[b + REQUEST_HASH] = key


@inline
def drop_early1(
    arena: Ints, free: Ints, requests: Table, counts: Table, state: Ints, b: int
) -> None:
    """Writes: all. An early record waited in vain."""
    before, after = arena[b + PREVIOUS], arena[b + NEXT]
    key = arena[b + REQUEST_HASH]
    if before:
        arena[before + NEXT] = after
    elif after:
        requests[locate1(requests, key, b), VALUE] = after
        arena[after + TAIL] = arena[b + TAIL]
    else:
        erase1(requests, key, b)
    if after:
        arena[after + PREVIOUS] = before
    elif before:
        first = before
        while arena[first + PREVIOUS]:
            first = arena[first + PREVIOUS]
        arena[first + TAIL] = before
    unlink1(arena, state, ENDS, b)
    state[HELD] -= 1
    kind = FEEDBACK if arena[b + KIND] == EARLY_FEEDBACK else ACTIVATIONS
    settle1(counts, kind, ORPHAN, 1, True)
    give_back1(arena, free, b)


@kernel(
    "i8(i8[::1], f8[::1], u1[::1], i8[::1], i8[:,::1], i8[:,::1], i8[:,::1], i8[:,::1], i8[:,::1],"
    " i8[:,::1], f8[:,::1], i8[:,::1], i8[::1],"
    " u1[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1],"
    " b1[::1], f8[::1], i8[::1], i8[::1], i8[::1], b1[::1], i8[::1], i8[::1], i8[::1], i8[::1],"
    " i8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1],"
    " i8[::1], f8[::1], f8[::1], i8[:,::1], i8[::1], f8[::1], i8[:,::1], i8[::1])"
)
def join_events(
    arena: Ints,
    numbers: Floats,
    texts: Bytes,
    free: Ints,
    requests: Table,
    seen: Table,
    closed: Table,
    skipped: Table,
    heap: Table,
    rules: Table,
    rates: Floats,
    counts: Table,
    state: Ints,
    data: Bytes,
    offset: Ints,
    stamp: Ints,
    kind: Ints,
    value_start: Ints,
    value_length: Ints,
    request_hash: Ints,
    request_start: Ints,
    request_length: Ints,
    recommender: Ints,
    deferred: Flags,
    weight: Floats,
    first_slot: Ints,
    slot_count: Ints,
    x_start: Ints,
    encodable: Flags,
    event_hash: Ints,
    event_start: Ints,
    event_length: Ints,
    target_hash: Ints,
    target_start: Ints,
    target_length: Ints,
    target_slot: Ints,
    reaction: Ints,
    amount: Floats,
    item_hash: Ints,
    item_start: Ints,
    item_length: Ints,
    propensity: Floats,
    z_start: Ints,
    activated: Ints,
    x: Floats,
    z: Floats,
    outcomes: Table,
    slots: Ints,
    rewards: Floats,
    changed: Table,
    fate: Ints,
) -> int:
    """Writes: all before ``rules``, counts, state, and all from ``outcomes`` on.

    Takes in records from ``state[AT]`` on. Returns how many of the batch are done: all, unless
    there is no more room for what is learned; then take that away and call again. ``fate`` is a
    column of ``counts``, ``SKIPPED``, or 0 for a control record.
    """
    # Not counted: a helper would count each of them twice at every call.
    arena = borrow1(arena)
    numbers = borrow1(numbers)
    texts = borrow1(texts)
    free = borrow1(free)
    requests = borrow1(requests)
    seen = borrow1(seen)
    closed = borrow1(closed)
    skipped = borrow1(skipped)
    heap = borrow1(heap)
    rules = borrow1(rules)
    rates = borrow1(rates)
    counts = borrow1(counts)
    state = borrow1(state)
    data = borrow1(data)
    outcomes = borrow1(outcomes)
    slots = borrow1(slots)
    rewards = borrow1(rewards)
    changed = borrow1(changed)
    activated = borrow1(activated)
    state[CHANGED] = state[LEARNED_SLOTS] = state[OUTCOMES] = 0
    release_closed1(arena, free, state)
    n = len(offset)
    flat_requests, flat_closed = requests.reshape(-1), closed.reshape(-1)
    while state[AT] < n:
        i = state[AT]
        j = min(i + AHEAD, n - 1)
        at = request_hash[j] & (len(requests) - 1)
        prefetch1(flat_requests, 2 * at)
        prefetch1(flat_closed, 2 * (request_hash[j] & (len(closed) - 1)))
        j = min(i + AHEAD // 2, n - 1)
        b = requests[request_hash[j] & (len(requests) - 1), VALUE]
        for line in range(6):
            prefetch1(arena, b + 8 * line)
        state[CLOCK] = clock = max(state[CLOCK], stamp[i])
        while state[ENTRIES] > 0 and heap[0, 0] <= clock:
            b = heap[0, 2]
            if is_due1(arena, heap):
                if state[LEARNED_SLOTS] + MAX_SLATE > len(slots):
                    return int(i)
                if state[CHANGED] + 1 > len(changed):
                    return int(i)
                if arena[b + KIND] == WINDOW:
                    close1(
                        arena,
                        numbers,
                        free,
                        requests,
                        seen,
                        closed,
                        rules,
                        rates,
                        counts,
                        state,
                        outcomes,
                        slots,
                        rewards,
                        changed,
                        b,
                        offset[i],
                    )
                else:
                    drop_early1(arena, free, requests, counts, state, b)
            pop_deadline1(heap, state, ENTRIES)
            if state[ENTRIES] > 2:
                key = arena[heap[0, 2] + REQUEST_HASH]
                prefetch1(flat_requests, 2 * (key & (len(requests) - 1)))
                prefetch1(flat_closed, 2 * (key & (len(closed) - 1)))
                for line in range(6):
                    prefetch1(arena, heap[1, 2] + 8 * line)
                    prefetch1(arena, heap[2, 2] + 8 * line)
        if state[LEARNED_SLOTS] + MAX_SLATE > len(slots) or state[CHANGED] + 1 > len(changed):
            return int(i)
        state[AT] = i + 1
        state[NEXT_OFFSET] = offset[i] + 1
        of = kind[i]
        if of > FEEDBACK:
            counts[of, CONSUMED] += 1
            counts[of, TOLD] = 1
            fate[i] = 0
            if of != CONTROL:
                fate[i] = APPLIED if of == TICK else DEAD
                counts[of, fate[i]] += 1
            continue
        key = request_hash[i]
        if holds1(skipped, key):
            fate[i] = SKIPPED
            continue
        counts[of, CONSUMED] += 1
        counts[of, TOLD] = 1
        at, length = request_start[i], request_length[i]
        found = find_request1(arena, texts, requests, key, data, at, length)
        if found and arena[found + KIND] == WINDOW:
            arena[found + FORGET] = max(arena[found + FORGET], clock + state[MEMORY])
            if of == IMPRESSIONS:
                fate[i] = DUPLICATE
                settle1(counts, of, DUPLICATE, 1, False)
                continue
            if of == ACTIVATIONS:
                fate[i] = activate1(
                    arena,
                    numbers,
                    rules,
                    rates,
                    heap,
                    counts,
                    state,
                    outcomes,
                    slots,
                    rewards,
                    found,
                    activated,
                    first_slot[i],
                    slot_count[i],
                    offset[i],
                )
                settle1(counts, of, fate[i], 1, False)
                continue
            start, size = event_start[i], event_length[i]
            if saw1(arena, texts, seen, found, event_hash[i], data, start, size):
                fate[i] = DUPLICATE
                settle1(counts, of, DUPLICATE, 1, False)
                continue
            b = take_block1(arena, free, state, USED, SEEN_WORDS + (size + 7) // 8, SEEN)
            arena[b + EVENT_HASH], arena[b + EVENT_LENGTH] = event_hash[i], size
            arena[b + EVENT_START] = 8 * (b + SEEN_WORDS)
            copy1(texts, 8 * (b + SEEN_WORDS), data, start, size)
            see1(arena, seen, state, found, b)
            slot = find_slot1(
                arena,
                texts,
                found,
                target_slot[i],
                target_hash[i],
                data,
                target_start[i],
                target_length[i],
            )
            became = judge1(arena, numbers, rules, rates, found, slot, reaction[i], amount[i])
            fate[i] = became
            if became == APPLIED:
                if rules[arena[found + RULE], AT_ONCE] and arena[found + SHOWN] >= 0:
                    begin = state[LEARNED_SLOTS]
                    learn_slot1(arena, numbers, rates, state, slots, rewards, found, slot)
                    finish_outcome1(
                        arena, rules, counts, state, outcomes, found, begin, offset[i], clock
                    )
                else:
                    arena[found + UNLEARNED] += 1
                    counts[of, PENDING] += 1
                    fate[i] = PENDING
                    continue
            settle1(counts, of, became, 1, False)
        elif recall1(closed, key, clock):
            remember1(closed, changed, state, key, clock + state[MEMORY])
            fate[i] = DUPLICATE if of == IMPRESSIONS else LATE
            settle1(counts, of, fate[i], 1, False)
        elif of == IMPRESSIONS:
            if not encodable[i]:
                fate[i] = DEAD
                settle1(counts, of, DEAD, 1, False)
                continue
            rule, k, first = recommender[i], slot_count[i], first_slot[i]
            dx = rules[rule, X_WIDTH] if rule >= 0 else 0
            dz = rules[rule, Z_WIDTH] if rule >= 0 else 0
            start, size = value_start[i], value_length[i]
            apart = 0  # bytes of texts that are not spans of the value
            if at < start or at + length > start + size:
                apart += length
            for j in range(first, first + k):
                if item_start[j] < start or item_start[j] + item_length[j] > start + size:
                    apart += item_length[j]
            rows = WINDOW_WORDS + SLOT_WORDS * k
            words = rows + dx + k * dz + (size + apart + 7) // 8
            b = take_block1(arena, free, state, USED, words, WINDOW)
            wait = rules[rule, WINDOW_MS] if rule >= 0 else state[LONGEST]
            hold1(arena, state, b, offset[i], key, clock + wait)
            arena[b + EVENTS] = arena[b + EVENT_COUNT] = arena[b + SPARE] = arena[b + UNLEARNED] = 0
            arena[b + LEARNED] = arena[b + ARRIVALS] = 0
            arena[b + LAST] = -1
            arena[b + SLOTS] = k
            arena[b + DEFERRED] = deferred[i]
            arena[b + SHOWN] = -1 if deferred[i] else k
            arena[b + RULE] = rule
            arena[b + FORGET] = clock + state[MEMORY]
            numbers[b + WEIGHT] = weight[i]
            arena[b + X_START] = b + rows
            copy1(numbers, b + rows, x, x_start[i], dx)
            whole = 8 * (b + rows + dx + k * dz)
            copy1(texts, whole, data, start, size)
            arena[b + VALUE_START], arena[b + VALUE_LENGTH] = whole, size
            kept, end = keep_text1(texts, whole, whole + size, data, start, size, at, length)
            arena[b + REQUEST_START], arena[b + REQUEST_LENGTH] = kept, length
            for j in range(k):
                s, to = b + WINDOW_WORDS + SLOT_WORDS * j, b + rows + dx + j * dz
                kept, end = keep_text1(
                    texts,
                    whole,
                    end,
                    data,
                    start,
                    size,
                    item_start[first + j],
                    item_length[first + j],
                )
                arena[s + ITEM_HASH] = item_hash[first + j]
                arena[s + ITEM_START], arena[s + ITEM_LENGTH] = kept, item_length[first + j]
                numbers[s + PROPENSITY] = propensity[first + j]
                arena[s + REPLIES] = arena[s + ARRIVAL] = 0
                arena[s + STATUS] = 0 if deferred[i] else IS_SHOWN
                copy1(numbers, to, z, z_start[first + j], dz)
            if rule < 0:
                arena[b + SETTLED] = 1
                fate[i] = FILTERED
                settle1(counts, of, FILTERED, 1, False)
            else:
                arena[b + SETTLED] = 0
                fate[i] = PENDING
                counts[of, PENDING] += 1
            early = found
            if early:
                requests[locate1(requests, key, early), VALUE] = b
                arena[b + ORIGIN_OFFSET] = arena[early + ORIGIN_OFFSET]
                arena[b + ORIGIN_CLOCK] = arena[early + ORIGIN_CLOCK]
                replace1(arena, state, ENDS, early, b)
            else:
                insert1(requests, key, b)
                link_last1(arena, state, ENDS, b)
                state[HELD] += 1
            push_deadline1(heap, state, ENTRIES, arena[b + DEADLINE], offset[i], b)
            while early:
                following = arena[early + NEXT]
                if early != found:
                    unlink1(arena, state, ENDS, early)
                    state[HELD] -= 1
                if arena[early + KIND] == EARLY_ACTIVATION:
                    became = activate1(
                        arena,
                        numbers,
                        rules,
                        rates,
                        heap,
                        counts,
                        state,
                        outcomes,
                        slots,
                        rewards,
                        b,
                        arena,
                        arena[early + SEEN_START],
                        arena[early + SEEN_SLOTS],
                        offset[i],
                    )
                    settle1(counts, ACTIVATIONS, became, 1, True)
                    give_back1(arena, free, early)
                    early = following
                    continue
                start, size = arena[early + EVENT_START], arena[early + EVENT_LENGTH]
                if saw1(arena, texts, seen, b, arena[early + EVENT_HASH], texts, start, size):
                    settle1(counts, FEEDBACK, DUPLICATE, 1, True)
                    give_back1(arena, free, early)
                    early = following
                    continue
                arena[early + KIND] = SEEN
                see1(arena, seen, state, b, early)
                slot = find_slot1(
                    arena,
                    texts,
                    b,
                    arena[early + TARGET_SLOT],
                    arena[early + TARGET_HASH],
                    texts,
                    arena[early + TARGET_START],
                    arena[early + TARGET_LENGTH],
                )
                became = judge1(
                    arena,
                    numbers,
                    rules,
                    rates,
                    b,
                    slot,
                    arena[early + REACTION],
                    numbers[early + AMOUNT],
                )
                early = following
                if became == APPLIED:
                    if not rules[rule, AT_ONCE] or arena[b + SHOWN] < 0:
                        arena[b + UNLEARNED] += 1
                        continue
                    begin = state[LEARNED_SLOTS]
                    learn_slot1(arena, numbers, rates, state, slots, rewards, b, slot)
                    finish_outcome1(
                        arena, rules, counts, state, outcomes, b, begin, offset[i], clock
                    )
                settle1(counts, FEEDBACK, became, 1, True)
        else:
            start, size = value_start[i], value_length[i]
            named = max(slot_count[i], 0) if of == ACTIVATIONS else 0
            words = EARLY_WORDS + named
            # Not more than the value and its three ids once more.
            room = size + length + event_length[i] + target_length[i]
            what = EARLY_FEEDBACK if of == FEEDBACK else EARLY_ACTIVATION
            b = take_block1(arena, free, state, USED, words + (room + 7) // 8, what)
            hold1(arena, state, b, offset[i], key, clock + state[LONGEST])
            whole = 8 * (b + words)
            copy1(texts, whole, data, start, size)
            arena[b + VALUE_START], arena[b + VALUE_LENGTH] = whole, size
            kept, end = keep_text1(texts, whole, whole + size, data, start, size, at, length)
            arena[b + REQUEST_START], arena[b + REQUEST_LENGTH] = kept, length
            if of == FEEDBACK:
                kept, end = keep_text1(
                    texts, whole, end, data, start, size, event_start[i], event_length[i]
                )
                arena[b + EVENT_HASH] = event_hash[i]
                arena[b + EVENT_START], arena[b + EVENT_LENGTH] = kept, event_length[i]
                kept, end = keep_text1(
                    texts, whole, end, data, start, size, target_start[i], target_length[i]
                )
                arena[b + TARGET_HASH] = target_hash[i]
                arena[b + TARGET_START], arena[b + TARGET_LENGTH] = kept, target_length[i]
                arena[b + TARGET_SLOT], arena[b + REACTION] = target_slot[i], reaction[i]
                numbers[b + AMOUNT] = amount[i]
            else:
                arena[b + SEEN_START], arena[b + SEEN_SLOTS] = b + EARLY_WORDS, slot_count[i]
                for j in range(named):
                    arena[b + EARLY_WORDS + j] = activated[first_slot[i] + j]
            arena[b + PREVIOUS] = 0
            if found:
                last = arena[found + TAIL]
                arena[last + NEXT], arena[b + PREVIOUS] = b, last
                arena[found + TAIL] = b
            else:
                arena[b + TAIL] = b
                insert1(requests, key, b)
            link_last1(arena, state, ENDS, b)
            state[HELD] += 1
            push_deadline1(heap, state, ENTRIES, arena[b + DEADLINE], offset[i], b)
            fate[i] = PENDING
            counts[of, PENDING] += 1
    return n
