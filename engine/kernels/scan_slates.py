"""Impressions straight into columns: their fields, slots, and rows of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted
from engine.kernels.hashing import hash1
from engine.kernels.lexicon import find1
from engine.kernels.scan_features import LONGEST_ID, Plan, empty_row1, features1
from engine.kernels.scan_fields import (
    CONTEXT,
    DEFERRED,
    ERROR,
    IMPRESSION_FIELDS,
    IMPRESSION_NEEDS,
    IMPRESSION_RULES,
    ITEM,
    LAST_MOMENT,
    LEAST_PROPENSITY,
    METHOD,
    MOST_SLOTS,
    MOST_WEIGHT,
    PROPENSITY,
    RECOMMENDER,
    RECOMMENDERS,
    RECURRENCE,
    REQUEST,
    SCORE,
    SHADOW,
    SLATE,
    SLOT_FIELDS,
    SLOT_NEEDS,
    WEIGHT,
    fits1,
    is_number1,
    list1,
    member1,
    shadow1,
)
from engine.kernels.scan_layout import (
    FLAG_DEFERRED,
    FLAG_ENCODABLE,
    FLOAT_WEIGHT,
    FULL,
    HASH_REQUEST,
    ROW_RECOMMENDER,
    ROW_REQUEST,
    ROW_SLOTS,
    ROW_X,
    SLOTS_USED,
    TURN,
    X_USED,
    Z_USED,
    Sink,
)
from engine.kernels.tokens import (
    ARRAY,
    INTEGER,
    NULL,
    OBJECT,
    TEXT,
    TRUE,
    key1,
    next1,
    skip_blanks1,
    token1,
)
from engine.kernels.words import byte1

__all__ = ["impression1"]

Bytes = NDArray[np.uint8]


@inline_uncounted
def slate1(data: Bytes, at: int, side: int, plan: Plan, sink: Sink) -> int:
    """Writes: sink. The slots of a slate, after their opening bracket."""
    used = sink.used
    first = used[SLOTS_USED]
    width = plan.sides[side, 1] if side >= 0 else 0
    at = skip_blanks1(data, at)
    while True:
        slot = used[SLOTS_USED]
        if slot >= len(sink.slot_hashes) or used[Z_USED] + width > len(sink.z):
            return FULL
        if byte1(data, at) != 123 or slot - first >= MOST_SLOTS:
            return -1
        at = skip_blanks1(data, at + 1)
        seen, given, recurrence, encoded = 0, 0.0, 0, False
        while True:
            value_at, length = key1(data, at)
            if value_at < 0:
                return -1
            field = find1(plan.table, plan.names, SLOT_FIELDS, data, at + 1, length)
            after, tag, integer, value = token1(data, value_at)
            if after < 0 or field < 0 or seen >> field & 1:
                return -1
            seen |= 1 << field
            if field == ITEM:
                if tag != TEXT or not 1 <= integer <= LONGEST_ID:
                    return -1
                sink.slot_hashes[slot] = hash1(data, value_at + 1, integer)
                sink.slot_ints[0, slot], sink.slot_ints[1, slot] = value_at + 1, integer
            elif field == PROPENSITY:
                if not is_number1(tag) or not LEAST_PROPENSITY <= value <= 1.0:
                    return -1
                given = value
            elif field == METHOD:
                if tag != TEXT or not 1 <= integer <= LONGEST_ID:
                    return -1
            elif field == ERROR:
                if not is_number1(tag) or not 0.0 <= value <= 1.0:
                    return -1
            elif field == SCORE:
                if not is_number1(tag) and tag != NULL:
                    return -1
            elif field == RECURRENCE:
                if tag == INTEGER and 1 <= integer <= LAST_MOMENT:
                    recurrence = integer
                elif tag != NULL:
                    return -1
            elif tag == OBJECT:
                encoded = True
                used[TURN] += 1
                after = features1(
                    data,
                    after,
                    side if width else -1,
                    plan,
                    sink.z,
                    used[Z_USED],
                    sink.marks,
                    used[TURN],
                )
                if after < 0:
                    return -1
            elif tag != NULL:
                return -1
            at, done = next1(data, after, 125)
            if at < 0:
                return -1
            if done:
                break
        if seen & SLOT_NEEDS != SLOT_NEEDS:
            return -1
        for other in range(first, slot):
            if sink.slot_hashes[other] == sink.slot_hashes[slot]:
                return -1
        sink.propensity[slot] = 1.0 / recurrence if recurrence else given
        sink.slot_ints[2, slot] = -1
        if width:
            if not encoded:
                empty_row1(plan, side, sink.z, used[Z_USED])
            sink.slot_ints[2, slot] = used[Z_USED]
            used[Z_USED] += width
        used[SLOTS_USED] += 1
        at, done = next1(data, at, 93)
        if at < 0 or done:
            return at


@inline_uncounted
def impression1(data: Bytes, begin: int, i: int, plan: Plan, sink: Sink) -> int:
    """Writes: sink. One impression; ``begin`` is the place of its first key."""
    table, names, sides = plan.table, plan.names, plan.sides
    used, x = sink.used, sink.x
    at, seen = begin, 0
    request, request_length = 0, 0
    recommender, side, weight, deferred = -2, -1, 1.0, False
    first_slot, x_start, width = used[SLOTS_USED], -1, 0
    while True:
        value_at, length = key1(data, at)
        if value_at < 0:
            return -1
        field = find1(table, names, IMPRESSION_FIELDS, data, at + 1, length)
        after, tag, integer, value = token1(data, value_at)
        if after < 0 or field < 0 or seen >> field & 1:
            return -1
        seen |= 1 << field
        rule = IMPRESSION_RULES[field]
        if not fits1(rule, tag, integer):
            return -1
        if recommender == -2 and (field == RECOMMENDER or field == SLATE or field == CONTEXT):
            where, size = value_at + 1, integer
            if field != RECOMMENDER:  # it comes later: look ahead
                where, size = member1(data, begin, table, names, IMPRESSION_FIELDS, RECOMMENDER)
                if where < 0:
                    return -1
            recommender = find1(table, names, RECOMMENDERS, data, where, size)
            if recommender >= 0:
                side = 2 * plan.policy_of[recommender]
                x_start, width = used[X_USED], sides[side, 1]
                if x_start + width > len(x):
                    return FULL
        if field == REQUEST:
            request, request_length = value_at + 1, integer
        elif field == SLATE:
            if tag != ARRAY:
                return -1
            after = slate1(data, after, side + 1 if side >= 0 else -1, plan, sink)
            if after < 0:
                return after
        elif field == CONTEXT:
            if tag != OBJECT:
                return -1
            used[TURN] += 1
            after = features1(data, after, side, plan, x, x_start, sink.marks, used[TURN])
            if after < 0:
                return -1
        elif field == WEIGHT:
            if not is_number1(tag) or not 0.0 < value <= MOST_WEIGHT:
                return -1
            weight = value
        elif field == DEFERRED:
            deferred = tag == TRUE
        elif field == SHADOW:
            if tag == OBJECT:
                after = shadow1(data, after)
                if after < 0:
                    return -1
            elif tag != NULL:
                return -1
        elif tag == ARRAY:
            after = list1(data, after, False)
            if after < 0:
                return -1
        at, done = next1(data, after, 125)
        if at < 0:
            return -1
        if done:
            break
    if seen & IMPRESSION_NEEDS != IMPRESSION_NEEDS:
        return -1
    if side >= 0 and not seen >> CONTEXT & 1:
        empty_row1(plan, side, x, x_start)
    used[X_USED] += width
    sink.ints[ROW_REQUEST, i], sink.ints[ROW_REQUEST + 1, i] = request, request_length
    sink.ints[ROW_RECOMMENDER, i] = recommender
    sink.ints[ROW_SLOTS, i], sink.ints[ROW_SLOTS + 1, i] = first_slot, used[SLOTS_USED] - first_slot
    sink.ints[ROW_X, i] = x_start
    sink.hashes[HASH_REQUEST, i] = hash1(data, request, request_length)
    sink.floats[FLOAT_WEIGHT, i] = weight
    sink.flags[FLAG_DEFERRED, i], sink.flags[FLAG_ENCODABLE, i] = deferred, True
    return at
