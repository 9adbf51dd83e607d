"""JSON of events straight into columns: of those that the full decoder surely takes as they stand.

The fields, limits and defaults are those of `streams.events`. Whatever looks unusual (escapes, a
key twice, a number at the end of its range) is left to the full decoder, so a mistake here can
only be one of taking what must be refused, or taking it otherwise. Lengths of texts are counted in
bytes, never fewer than the characters that limits are about.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import called_uncounted, inline_uncounted, kernel
from engine.kernels.hashing import hash1
from engine.kernels.lexicon import find1
from engine.kernels.scan_features import (
    LONGEST_ID,
    LONGEST_TEXT,
    Plan,
    empty_row1,
    features1,
)
from engine.kernels.tokens import (
    ARRAY,
    FALSE,
    FLOAT,
    INTEGER,
    NULL,
    OBJECT,
    TEXT,
    TRUE,
    key1,
    next1,
    skip_blanks1,
    text_end1,
    token1,
)
from engine.kernels.words import byte1

__all__ = [
    "ACTIVATION",
    "CONTROL",
    "FEEDBACK",
    "FIELDS",
    "IMPRESSION",
    "KINDS",
    "RECOMMENDERS",
    "TICK",
    "TYPES",
    "UNSURE",
    "scan_events",
]

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

IMPRESSION, ACTIVATION, FEEDBACK, CONTROL, TICK = 0, 1, 2, 3, 4
UNSURE = -1
FULL = -2

# Spaces of the lexicon; below `scan_features.FIRST_SIDE`.
TYPES, RECOMMENDERS, KINDS = 0, 1, 2
IMPRESSION_FIELDS, SLOT_FIELDS, REPLY_FIELDS = 3, 4, 5

TYPE, TS, REQUEST, RECOMMENDER, SLATE, CONTEXT, WEIGHT, SHADOW, DEFERRED = 0, 1, 2, 3, 4, 5, 6, 7, 8
ITEM, PROPENSITY, METHOD, ERROR, SCORE, FEATURES, RECURRENCE = 0, 1, 2, 3, 4, 5, 6
EVENT, TARGET, KIND, VALUE, SLOT, SLOTS = 3, 4, 5, 6, 7, 8

FIELDS = {
    IMPRESSION_FIELDS: (
        *("type", "ts", "request_id", "recommender", "slate", "context", "weight", "shadow"),
        *("deferred", "user_id", "pool", "pool_version", "candidates", "exclude", "schema"),
        *("catalogue_version", "policy", "policy_hash", "view", "fallback"),
    ),
    SLOT_FIELDS: (
        *("item_id", "propensity", "method", "error", "score", "features", "recurrence"),
    ),
    REPLY_FIELDS: (
        *("type", "ts", "request_id", "event_id", "item_id", "kind", "value", "slot", "slots"),
    ),
}

# Rows of what is written.
INT_ROWS, HASH_ROWS, FLOAT_ROWS, FLAG_ROWS, SLOT_ROWS = 13, 3, 2, 2, 3

# What a field's value may be.
ANY, ID, MAYBE_ID, WORDS, MOMENT, VERSION, MAYBE_VERSION, FLAG, IDS, MAYBE_IDS = range(10)
IMPRESSION_RULES = np.array(
    [
        WORDS,
        MOMENT,
        ID,
        ID,
        ANY,
        ANY,
        ANY,
        ANY,
        FLAG,
        MAYBE_ID,
        MAYBE_ID,
        MAYBE_VERSION,
        MAYBE_IDS,
        IDS,
        WORDS,
        VERSION,
        WORDS,
        WORDS,
        VERSION,
        MAYBE_ID,
    ]
)
REPLY_RULES = np.array([WORDS, MOMENT, ID, ID, ID, ID, ANY, ANY, ANY])

NEEDED = 1 << TYPE | 1 << TS | 1 << REQUEST
IMPRESSION_NEEDS = NEEDED | 1 << RECOMMENDER | 1 << SLATE
FEEDBACK_NEEDS = NEEDED | 1 << EVENT | 1 << TARGET | 1 << KIND
FEEDBACK_MAY = FEEDBACK_NEEDS | 1 << VALUE | 1 << SLOT
ACTIVATION_MAY = NEEDED | 1 << SLOTS
TICK_NEEDS = 1 << TYPE | 1 << TS
SLOT_NEEDS = 1 << ITEM | 1 << PROPENSITY | 1 << METHOD

LAST_MOMENT = 1 << 53
MOST_SLOTS = 1000
LEAST_PROPENSITY, MOST_WEIGHT, MOST_REWARD = 1e-100, 1e6, 1e9

# Places of the counters of what is written.
SLOTS_USED, X_USED, Z_USED, SEEN_USED, TURN = 0, 1, 2, 3, 4


class Sink(NamedTuple):
    """What is written; `scan_events` says what each array holds."""

    ints: Ints
    hashes: Words
    floats: Floats
    flags: Flags
    slot_ints: Ints
    slot_hashes: Words
    propensity: Floats
    seen_slots: Ints
    x: Floats
    z: Floats
    marks: Ints
    used: Ints


@inline_uncounted
def fits1(rule: int, tag: int, integer: int) -> bool:
    """Tell whether a value is what a field may hold; of lists only the bracket is looked at."""
    if tag == NULL:
        return rule == MAYBE_ID or rule == MAYBE_VERSION or rule == MAYBE_IDS or rule == ANY
    if rule == ID or rule == MAYBE_ID:
        return tag == TEXT and 1 <= integer <= LONGEST_ID
    if rule == WORDS:
        return tag == TEXT and integer <= LONGEST_TEXT
    if rule == MOMENT:
        return tag == INTEGER and 0 <= integer <= LAST_MOMENT
    if rule == VERSION or rule == MAYBE_VERSION:
        return tag == INTEGER and integer >= 0
    if rule == FLAG:
        return tag == TRUE or tag == FALSE
    if rule == IDS or rule == MAYBE_IDS:
        return tag == ARRAY
    return rule == ANY


@inline_uncounted
def is_number1(tag: int) -> bool:
    """Tell whether a token is a number."""
    return tag == INTEGER or tag == FLOAT


@called_uncounted
def list1(data: Bytes, at: int, numbers: bool) -> int:
    """Pass a list of ids, or of probabilities, after its opening bracket."""
    at = skip_blanks1(data, at)
    if byte1(data, at) == 93:
        return at + 1
    while True:
        after, tag, integer, value = token1(data, at)
        if after < 0:
            return -1
        if numbers:
            if not is_number1(tag) or not 0.0 <= value <= 1.0:
                return -1
        elif tag != TEXT or not 1 <= integer <= LONGEST_ID:
            return -1
        at, done = next1(data, after, 93)
        if at < 0 or done:
            return at


@called_uncounted
def shadow1(data: Bytes, at: int) -> int:
    """Pass lists of probabilities by name, after their opening bracket."""
    at = skip_blanks1(data, at)
    if byte1(data, at) == 125:
        return at + 1
    while True:
        value_at, length = key1(data, at)
        if value_at < 0 or not 1 <= length <= LONGEST_ID or byte1(data, value_at) != 91:
            return -1
        after = list1(data, value_at + 1, True)
        if after < 0:
            return -1
        at, done = next1(data, after, 125)
        if at < 0 or done:
            return at


@called_uncounted
def skip_value1(data: Bytes, at: int) -> int:
    """Return the place of the comma or bracket after a value, without checking it."""
    depth = 0
    while True:
        byte = byte1(data, at)
        if byte == 34:
            at = text_end1(data, at + 1)
            if at < 0:
                return -1
        elif byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            if depth == 0:
                return at
            depth -= 1
        elif byte == 44 and depth == 0:
            return at
        elif byte < 32 and skip_blanks1(data, at) == at:
            return -1
        at += 1


@inline_uncounted
def member1(
    data: Bytes, at: int, table: Words, names: Bytes, space: int, field: int
) -> tuple[int, int]:
    """Find a text among the members of an object: its place and length; (-1, 0) without it."""
    while True:
        value_at, length = key1(data, at)
        if value_at < 0:
            return -1, 0
        if find1(table, names, space, data, at + 1, length) == field:
            after, tag, size, _ = token1(data, value_at)
            return (value_at + 1, size) if after >= 0 and tag == TEXT else (-1, 0)
        at = skip_value1(data, value_at)
        if at < 0 or byte1(data, at) != 44:
            return -1, 0
        at = skip_blanks1(data, at + 1)


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
    sink.ints[1, i], sink.ints[2, i] = request, request_length
    sink.ints[3, i] = recommender
    sink.ints[4, i], sink.ints[5, i] = first_slot, used[SLOTS_USED] - first_slot
    sink.ints[6, i] = x_start
    sink.hashes[0, i] = hash1(data, request, request_length)
    sink.floats[0, i] = weight
    sink.flags[0, i], sink.flags[1, i] = deferred, True
    return at


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
        sink.ints[7, i], sink.ints[8, i] = event, event_length
        sink.ints[9, i], sink.ints[10, i] = target, target_length
        sink.ints[11, i], sink.ints[12, i] = slot, reaction
        sink.hashes[1, i] = hash1(data, event, event_length)
        sink.hashes[2, i] = hash1(data, target, target_length)
        sink.floats[1, i] = reward
    else:
        if seen & NEEDED != NEEDED or seen & ACTIVATION_MAY != seen:
            return -1
        sink.ints[4, i], sink.ints[5, i] = first, slots
    sink.ints[1, i], sink.ints[2, i] = request, request_length
    sink.hashes[0, i] = hash1(data, request, request_length)
    return at


@kernel(
    "void(u1[::1], i8[::1], i8[::1], u8[:,::1], u1[::1], i8[::1], i8[:,::1], i8[:,::1], "
    "f8[:,::1], i8[:,::1], i8[:,::1], u8[:,::1], f8[:,::1], b1[:,::1], i8[:,::1], u8[::1], "
    "f8[::1], i8[::1], f8[::1], f8[::1], i8[::1], i8[::1])",
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
    table, names, policy_of, sides, kinds, scalings, pairs
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
    plan = Plan(table, names, policy_of, sides, kinds, scalings, pairs)
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
        slots_used, x_used, z_used, seen_used = used[0], used[1], used[2], used[3]
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
            used[0], used[1], used[2], used[3] = slots_used, x_used, z_used, seen_used
            if after == FULL and i > 0:
                used[5] = i
                return
            ints[0, i] = UNSURE
            if kind == CONTROL:
                used[5] = i + 1
                return
        else:
            ints[0, i] = kind
    used[5] = len(start)
