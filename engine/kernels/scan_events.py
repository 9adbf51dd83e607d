"""JSON of events straight into columns: of those that the full decoder surely takes as they stand.

Whatever looks unusual (escapes, a key twice, a number at the end of its range) is left to the full
decoder, so a mistake here can only be one of taking what must be refused, or taking it otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.hashing import hash1
from engine.kernels.lexicon import find1
from engine.kernels.scan_features import Plan
from engine.kernels.scan_fields import (
    ACTIVATION_MAY,
    EVENT,
    FEEDBACK_MAY,
    FEEDBACK_NEEDS,
    KIND,
    KINDS,
    MOST_REWARD,
    MOST_SLOTS,
    NEEDED,
    REPLY_FIELDS,
    REPLY_RULES,
    REQUEST,
    SLOT,
    SLOTS,
    TARGET,
    TICK_NEEDS,
    TYPE,
    TYPES,
    VALUE,
    fits1,
    is_number1,
    member1,
)
from engine.kernels.scan_layout import (
    ACTIVATION,
    CONTROL,
    DONE,
    FEEDBACK,
    FLOAT_REWARD,
    FULL,
    HASH_EVENT,
    HASH_REQUEST,
    HASH_TARGET,
    IMPRESSION,
    ROW_EVENT,
    ROW_KIND,
    ROW_REACTION,
    ROW_REQUEST,
    ROW_SLOTS,
    ROW_TARGET,
    ROW_TARGET_SLOT,
    SEEN_USED,
    SLOTS_USED,
    TICK,
    UNSURE,
    X_USED,
    Z_USED,
    Sink,
)
from engine.kernels.scan_slates import impression1
from engine.kernels.tokens import ARRAY, INTEGER, NULL, key1, next1, skip_blanks1, token1
from engine.kernels.words import byte1

__all__ = ["scan_events"]

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]


@inline_uncounted
def reply1(data: Bytes, at: int, i: int, kind: int, plan: Plan, sink: Sink) -> int:
    """Writes: sink. One feedback, activation or tick; ``at`` is the place of its first key."""
    used = sink.used
    seen, request, request_length, event, event_length = 0, 0, 0, 0, 0
    target, target_length, slot, reaction, reward = 0, 0, -1, -1, 1.0
    first, slots = used[SEEN_USED], -1
    while True:
        value_at, length = key1(data, at)
        if value_at < 0:
            return -1
        field = find1(plan.table, plan.names, REPLY_FIELDS, data, at + 1, length)
        after, tag, integer, value = token1(data, value_at)
        if after < 0 or field < 0 or seen >> field & 1:
            return -1
        seen |= 1 << field
        if not fits1(REPLY_RULES[field], tag, integer):
            return -1
        if field == REQUEST:
            request, request_length = value_at + 1, integer
        elif field == EVENT:
            event, event_length = value_at + 1, integer
        elif field == TARGET:
            target, target_length = value_at + 1, integer
        elif field == KIND:
            reaction = find1(plan.table, plan.names, KINDS, data, value_at + 1, integer)
        elif field == VALUE:
            if not is_number1(tag) or not abs(value) <= MOST_REWARD:
                return -1
            reward = value
        elif field == SLOT:
            if tag == INTEGER and 0 <= integer < MOST_SLOTS:
                slot = integer
            elif tag != NULL:
                return -1
        elif field == SLOTS and tag != NULL:
            if tag != ARRAY:
                return -1
            at, done = skip_blanks1(data, after), False
            while not done:
                after, tag, integer, _ = token1(data, at)
                if after < 0 or tag != INTEGER or not 0 <= integer < MOST_SLOTS:
                    return -1
                if used[SEEN_USED] >= len(sink.seen_slots):
                    return FULL
                sink.seen_slots[used[SEEN_USED]] = integer
                used[SEEN_USED] += 1
                at, done = next1(data, after, 93)
                if at < 0:
                    return -1
            slots, after = used[SEEN_USED] - first, at
        at, done = next1(data, after, 125)
        if at < 0:
            return -1
        if done:
            break
    if kind == TICK:
        return at if seen == TICK_NEEDS else -1
    if kind == FEEDBACK:
        if seen & FEEDBACK_NEEDS != FEEDBACK_NEEDS or seen & FEEDBACK_MAY != seen:
            return -1
        sink.ints[ROW_EVENT, i], sink.ints[ROW_EVENT + 1, i] = event, event_length
        sink.ints[ROW_TARGET, i], sink.ints[ROW_TARGET + 1, i] = target, target_length
        sink.ints[ROW_TARGET_SLOT, i], sink.ints[ROW_REACTION, i] = slot, reaction
        sink.hashes[HASH_EVENT, i] = hash1(data, event, event_length)
        sink.hashes[HASH_TARGET, i] = hash1(data, target, target_length)
        sink.floats[FLOAT_REWARD, i] = reward
    else:
        if seen & NEEDED != NEEDED or seen & ACTIVATION_MAY != seen:
            return -1
        sink.ints[ROW_SLOTS, i], sink.ints[ROW_SLOTS + 1, i] = first, slots
    sink.ints[ROW_REQUEST, i], sink.ints[ROW_REQUEST + 1, i] = request, request_length
    sink.hashes[HASH_REQUEST, i] = hash1(data, request, request_length)
    return at


@kernel(
    "void(u1[::1], i8[::1], i8[::1], u8[:,::1], u1[::1], i8[::1], i8[:,::1], i8[:,::1], "
    "f8[:,::1], u8[:,::1], i8[:,::1], i8[:,::1], u8[:,::1], f8[:,::1], b1[:,::1], i8[:,::1], "
    "u8[::1], f8[::1], i8[::1], f8[::1], f8[::1], i8[::1], i8[::1])",
    counted=False,
)
def scan_events(
    data: Bytes,
    start: Ints,
    length: Ints,
    table: Words,
    names: Bytes,
    policy_of: Ints,
    sides: Ints,
    kinds: Ints,
    scalings: Floats,
    seeds: Words,
    pairs: Ints,
    ints: Ints,
    hashes: Words,
    floats: Floats,
    flags: Flags,
    slot_ints: Ints,
    slot_hashes: Words,
    propensity: Floats,
    seen_slots: Ints,
    x: Floats,
    z: Floats,
    marks: Ints,
    used: Ints,
) -> None:
    """Writes: all from ``ints`` on. Records as columns, up to the first control record.

    Parameters
    ----------
    data, start, length
        Records, as spans; ``data`` ends in `tokens.PADDING` zeros.
    table, names, policy_of, sides, kinds, scalings, seeds, pairs
        A `engine.kernels.scan_features.Plan`.
    ints
        ``(13, n)``: kind (`UNSURE` when it is left to the full decoder), request start and
        length, recommender, first slot, slots, x start, event start and length, target start and
        length, target slot, reaction.
    hashes, floats, flags
        ``(3, n)`` request, event, target; ``(2, n)`` weight, reward; ``(2, n)`` deferred,
        encodable.
    slot_ints, slot_hashes, propensity
        ``(3, slots)`` item start and length, z start; ``(slots,)``.
    seen_slots
        Slots that activations name.
    x, z
        Rows.
    marks
        ``(features,)`` zeros.
    used
        ``(6,)`` zeros; afterwards slots, x, z and seen slots written, turns, and records done.
        Fewer than given are done when a column is full or a control record came.
    """
    plan = Plan(table, names, policy_of, sides, kinds, scalings, seeds, pairs)
    sink = Sink(
        ints,
        hashes,
        floats,
        flags,
        slot_ints,
        slot_hashes,
        propensity,
        seen_slots,
        x,
        z,
        marks,
        used,
    )
    for i in range(len(start)):
        slots_used, x_used = used[SLOTS_USED], used[X_USED]
        z_used, seen_used = used[Z_USED], used[SEEN_USED]
        begin, end = start[i], start[i] + length[i]
        kind, at = UNSURE, skip_blanks1(data, begin)
        if byte1(data, at) == 123:
            begin = skip_blanks1(data, at + 1)
            where, size = member1(data, begin, table, names, REPLY_FIELDS, TYPE)
            if where >= 0:
                kind = find1(table, names, TYPES, data, where, size)
        after = -1
        if kind == IMPRESSION:
            after = impression1(data, begin, i, plan, sink)
        elif kind == FEEDBACK or kind == ACTIVATION or kind == TICK:
            after = reply1(data, begin, i, kind, plan, sink)
        if after < 0 or after > end or (after < end and skip_blanks1(data, after) < end):
            used[SLOTS_USED], used[X_USED] = slots_used, x_used
            used[Z_USED], used[SEEN_USED] = z_used, seen_used
            if after == FULL and i > 0:
                used[DONE] = i
                return
            ints[ROW_KIND, i] = UNSURE
            if kind == CONTROL:
                used[DONE] = i + 1
                return
        else:
            ints[ROW_KIND, i] = kind
    used[DONE] = len(start)
