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
    DEADLINE,
    EARLY_ACTIVATION,
    EARLY_FEEDBACK,
    EARLY_WORDS,
    EVENT_HASH,
    EVENT_LENGTH,
    EVENT_START,
    FORGET,
    KIND,
    NEXT,
    ORIGIN_CLOCK,
    ORIGIN_OFFSET,
    PREVIOUS,
    REACTION,
    REQUEST_HASH,
    REQUEST_LENGTH,
    REQUEST_START,
    SEEN,
    SEEN_SLOTS,
    SEEN_START,
    SEEN_WORDS,
    TAIL,
    TARGET_HASH,
    TARGET_LENGTH,
    TARGET_SLOT,
    TARGET_START,
    WINDOW,
    give_back1,
    take_block1,
)
from engine.kernels.compile import inline, kernel
from engine.kernels.ledger import (
    ACTIVATIONS,
    APPLIED,
    AT,
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
    recall1,
    remember1,
    settle1,
)
from engine.kernels.memory import borrow1, copy1, equal1, prefetch1
from engine.kernels.openings import hold1, keep_ids1, keep_value1, open_window1
from engine.kernels.seen import saw1, see1
from engine.kernels.tables import HASH, VALUE, erase1, holds1, insert1, locate1
from engine.kernels.windows import activate1, close1, react1, release_closed1

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
            became = react1(
                arena,
                numbers,
                texts,
                rules,
                rates,
                counts,
                state,
                outcomes,
                slots,
                rewards,
                found,
                target_slot[i],
                target_hash[i],
                data,
                target_start[i],
                target_length[i],
                reaction[i],
                amount[i],
                offset[i],
            )
            fate[i] = became
            if became == PENDING:
                counts[of, PENDING] += 1
            else:
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
            rule = recommender[i]
            b = open_window1(
                arena,
                numbers,
                texts,
                free,
                rules,
                state,
                rule,
                deferred[i],
                weight[i],
                offset[i],
                data,
                value_start[i],
                value_length[i],
                key,
                at,
                length,
                item_hash,
                item_start,
                item_length,
                propensity,
                first_slot[i],
                slot_count[i],
                x,
                x_start[i],
                z,
                z_start,
            )
            if rule < 0:
                fate[i] = FILTERED
                settle1(counts, of, FILTERED, 1, False)
            else:
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
                became = react1(
                    arena,
                    numbers,
                    texts,
                    rules,
                    rates,
                    counts,
                    state,
                    outcomes,
                    slots,
                    rewards,
                    b,
                    arena[early + TARGET_SLOT],
                    arena[early + TARGET_HASH],
                    texts,
                    arena[early + TARGET_START],
                    arena[early + TARGET_LENGTH],
                    arena[early + REACTION],
                    numbers[early + AMOUNT],
                    offset[i],
                )
                if became != PENDING:
                    settle1(counts, FEEDBACK, became, 1, True)
                early = following
        else:
            what = EARLY_FEEDBACK if of == FEEDBACK else EARLY_ACTIVATION
            named = max(slot_count[i], 0) if of == ACTIVATIONS else 0
            # Not more than the value and its three ids once more.
            room = value_length[i] + length + event_length[i] + target_length[i]
            words = EARLY_WORDS + named + (room + 7) // 8
            b = take_block1(arena, free, state, USED, words, what)
            hold1(arena, state, b, offset[i], key, clock + state[LONGEST])
            end = keep_value1(
                arena,
                texts,
                b,
                8 * (b + EARLY_WORDS + named),
                data,
                value_start[i],
                value_length[i],
                at,
                length,
            )
            if of == FEEDBACK:
                keep_ids1(
                    arena,
                    texts,
                    b,
                    end,
                    data,
                    value_start[i],
                    event_hash[i],
                    event_start[i],
                    event_length[i],
                    target_hash[i],
                    target_start[i],
                    target_length[i],
                )
                arena[b + TARGET_SLOT], arena[b + REACTION] = target_slot[i], reaction[i]
                numbers[b + AMOUNT] = amount[i]
            else:
                arena[b + SEEN_START], arena[b + SEEN_SLOTS] = b + EARLY_WORDS, slot_count[i]
                copy1(arena, b + EARLY_WORDS, activated, first_slot[i], named)
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
