"""What fields events have and what each may hold, as far as the scanner says so for sure.

The fields, limits and defaults are those of `streams.events`. Lengths of texts are counted in
bytes, never fewer than the characters that limits are about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import called_uncounted, inline_uncounted
from engine.kernels.lexicon import find1
from engine.kernels.scan_features import LONGEST_ID, LONGEST_TEXT
from engine.kernels.tokens import (
    ARRAY,
    FALSE,
    FLOAT,
    INTEGER,
    NULL,
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
    "ACTIVATION_MAY",
    "ANY",
    "CONTEXT",
    "DEFERRED",
    "ERROR",
    "EVENT",
    "FEATURES",
    "FEEDBACK_MAY",
    "FEEDBACK_NEEDS",
    "FIELDS",
    "FLAG",
    "ID",
    "IDS",
    "IMPRESSION_FIELDS",
    "IMPRESSION_NEEDS",
    "IMPRESSION_RULES",
    "ITEM",
    "KIND",
    "KINDS",
    "LAST_MOMENT",
    "LEAST_PROPENSITY",
    "MAYBE_ID",
    "MAYBE_IDS",
    "MAYBE_VERSION",
    "METHOD",
    "MOMENT",
    "MOST_REWARD",
    "MOST_SLOTS",
    "MOST_WEIGHT",
    "NEEDED",
    "PROPENSITY",
    "RECOMMENDER",
    "RECOMMENDERS",
    "RECURRENCE",
    "REPLY_FIELDS",
    "REPLY_RULES",
    "REQUEST",
    "SCORE",
    "SHADOW",
    "SLATE",
    "SLOT",
    "SLOTS",
    "SLOT_FIELDS",
    "SLOT_NEEDS",
    "TARGET",
    "TICK_NEEDS",
    "TS",
    "TYPE",
    "TYPES",
    "VALUE",
    "VERSION",
    "WEIGHT",
    "WORDS",
    "fits1",
    "is_number1",
    "list1",
    "member1",
    "shadow1",
]

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

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
