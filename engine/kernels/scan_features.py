"""Features in JSON straight into a row: what `engine.features.Schema` makes of them, to the bit.

A *side* is the context or the items of one policy's schema; side -1 knows no feature, so all are
checked and passed over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted
from engine.kernels.hashing import id1
from engine.kernels.lexicon import find1
from engine.kernels.tokens import (
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
    token1,
)
from engine.kernels.words import byte1

__all__ = [
    "CATEGORICAL",
    "CLUSTERS",
    "FIRST_SIDE",
    "ID",
    "LONGEST_ID",
    "LONGEST_TEXT",
    "NUMERIC",
    "VECTOR",
    "Plan",
    "empty_row1",
    "features1",
]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

NUMERIC, CATEGORICAL, CLUSTERS, ID, VECTOR = 0, 1, 2, 3, 4
LETTER_V, COLON = 118, 58
HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
FIRST_SIDE = 8  # space of the lexicon that holds the names of side 0; values come after all sides
LONGEST_ID, LONGEST_TEXT, MOST_FEATURES = 256, 1024, 1000
EXACT = 1 << 53
LARGEST, HEAVIEST, MOST_SHARE = 1e300, 1e6, 1e9  # as `engine.feature_kinds` and the events say


class Plan(NamedTuple):
    """Tables of what an engine's settings name, for kernels.

    Attributes
    ----------
    table, names
        A `engine.kernels.lexicon.Lexicon`: recommenders, kinds, features and their values.
    policy_of
        ``(recommenders,)`` policy of each.
    sides
        ``(2 * policies, 5)``: columns without products, columns, first and last of ``pairs``,
        whether the first column is an intercept. The context's side, then the items'.
    kinds
        ``(features, 3)``: kind, first column, number of clusters or of places.
    scalings
        ``(features, 3)``: center, scale, clip.
    seeds
        ``(features, 2)``: of the key and of the check of an id.
    pairs
        ``(2, products)``: columns multiplied.
    """

    table: Words
    names: Bytes
    policy_of: Ints
    sides: Ints
    kinds: Ints
    scalings: Floats
    seeds: Words
    pairs: Ints


@inline_uncounted
def clear1(plan: Plan, side: int, out: Floats, start: int) -> None:
    """Writes: out. A row before its features."""
    for column in range(plan.sides[side, 0]):
        out[start + column] = 0.0
    if plan.sides[side, 4]:
        out[start] = 1.0


@inline_uncounted
def multiply1(plan: Plan, side: int, out: Floats, start: int) -> None:
    """Writes: out. Products of a row's own columns."""
    at = start + plan.sides[side, 0]
    for pair in range(plan.sides[side, 2], plan.sides[side, 3]):
        out[at] = out[start + plan.pairs[0, pair]] * out[start + plan.pairs[1, pair]]
        at += 1


@inline_uncounted
def empty_row1(plan: Plan, side: int, out: Floats, start: int) -> None:
    """Writes: out. The row of a side without any features."""
    clear1(plan, side, out, start)
    multiply1(plan, side, out, start)


@inline_uncounted
def cluster1(data: Bytes, start: int, length: int, count: int) -> int:
    """Return the number of a cluster, -1 when it is none: digits without leading zeros."""
    if length < 1 or length > 6 or (length > 1 and byte1(data, start) == 48):
        return -1
    number = 0
    for i in range(length):
        digit = byte1(data, start + i) - 48
        if digit < 0 or digit > 9:
            return -1
        number = 10 * number + digit
    return number if number < count else -1


@inline_uncounted
def shares1(data: Bytes, at: int, first: int, count: int, out: Floats) -> int:
    """Writes: out. Weights of clusters, after their opening bracket; returns the end.

    ``first`` is the place of cluster 0 in ``out``; with ``count`` 0 any names are passed over.
    """
    at = skip_blanks1(data, at)
    if byte1(data, at) == 125:
        return at + 1
    entries = 0
    while True:
        value_at, length = key1(data, at)
        entries += 1
        if value_at < 0 or length < 1 or length > LONGEST_ID or entries > MOST_FEATURES:
            return -1
        after, tag, _, value = token1(data, value_at)
        if after < 0 or not (tag == INTEGER or tag == FLOAT) or not abs(value) <= MOST_SHARE:
            return -1
        if count > 0:
            cluster = cluster1(data, at + 1, length, count)
            if cluster < 0 or not abs(value) <= HEAVIEST:
                return -1
            out[first + cluster] = value  # of one named twice the last counts
        at, done = next1(data, after, 125)
        if at < 0 or done:
            return at


@inline_uncounted
def numeric1(value: float, scaling: Floats) -> float:
    """Return a numeric feature's entry."""
    center, scale, clip = scaling[0], scaling[1], scaling[2]
    return float(min(max((value - center) / scale, -clip), clip))


@inline_uncounted
def vector1(data: Bytes, at: int, feature: int, plan: Plan, out: Floats, first: int) -> int:
    """Writes: out. A vector of the version in force, after its opening bracket; returns the end.

    ``first`` is the place of its first number in ``out``, and all its places are 0; they stay so
    when it is of another version.
    """
    count, space = plan.kinds[feature, 2], FIRST_SIDE + len(plan.sides) + feature
    at = skip_blanks1(data, at)
    entries, named, ours = 0, False, False
    while True:
        value_at, length = key1(data, at)
        entries += 1
        if value_at < 0 or length < 1 or length > LONGEST_ID or entries > MOST_FEATURES:
            return -1
        after, tag, _, value = token1(data, value_at)
        if after < 0 or not (tag == INTEGER or tag == FLOAT):
            return -1
        if length >= 2 and byte1(data, at + 1) == LETTER_V and byte1(data, at + 2) == COLON:
            if named or value != 1.0:
                return -1
            named = True
            ours = find1(plan.table, plan.names, space, data, at + 1, length) >= 0
        else:
            place = cluster1(data, at + 1, length, count)
            if place < 0 or not abs(value) <= HEAVIEST:
                return -1
            out[first + place] = numeric1(value, plan.scalings[feature])
        at, done = next1(data, after, 125)
        if at < 0:
            return -1
        if done:
            break
    if not ours:
        for place in range(count):
            out[first + place] = 0.0
    return at if named else -1


@inline_uncounted
def enter1(
    data: Bytes,
    after: int,
    value_at: int,
    tag: int,
    integer: int,
    value: float,
    feature: int,
    plan: Plan,
    out: Floats,
    start: int,
) -> int:
    """Writes: out. One feature's entries; returns the place after its value, or -1."""
    kind, column, count = plan.kinds[feature, 0], plan.kinds[feature, 1], plan.kinds[feature, 2]
    place = start + column
    if tag == NULL:
        return after
    if kind == NUMERIC:
        if tag == TEXT or tag == OBJECT or not abs(value) <= LARGEST:
            return -1
        out[place] = numeric1(value, plan.scalings[feature])
        return after
    if kind == CATEGORICAL:
        if tag != TEXT:
            return -1
        space = FIRST_SIDE + len(plan.sides) + feature
        known = find1(plan.table, plan.names, space, data, value_at + 1, integer)
        if known >= 0:
            out[place + known] = 1.0
        return after
    if kind == ID:
        if tag != TEXT:
            return -1
        key, check = id1(data, value_at + 1, integer, plan.seeds[feature])
        out[place] = np.float64(key >> HALF)
        out[place + 1] = np.float64(key & LOW)
        out[place + 2] = np.float64(check)
        return after
    if kind == VECTOR:
        return vector1(data, after, feature, plan, out, place) if tag == OBJECT else -1
    if tag == OBJECT:
        return shares1(data, after, place, count, out)
    known = -1
    if tag == TEXT:
        known = cluster1(data, value_at + 1, integer, count)
    elif tag == INTEGER and 0 <= integer < count:
        known = integer
    if known < 0:
        return -1
    out[place + known] = 1.0
    return after


@inline_uncounted
def features1(
    data: Bytes,
    at: int,
    side: int,
    plan: Plan,
    out: Floats,
    start: int,
    marks: Ints,
    turn: int,
) -> int:
    """Writes: out, marks. A row at ``start``, of features after their opening bracket.

    Parameters
    ----------
    side
        Whose features; -1 for none: then nothing is written.
    marks
        ``(features,)``: ``turn`` where a name was seen in this row. Repeated names are not sure:
        the last one would count.

    Returns
    -------
    after
        Place after the closing bracket; -1 when not all fits for sure.
    """
    if side >= 0:
        clear1(plan, side, out, start)
    at = skip_blanks1(data, at)
    entries, done = 0, byte1(data, at) == 125
    if done:
        at += 1
    while not done:
        value_at, length = key1(data, at)
        entries += 1
        if value_at < 0 or length < 1 or length > LONGEST_ID or entries > MOST_FEATURES:
            return -1
        feature = -1
        if side >= 0:
            feature = find1(plan.table, plan.names, FIRST_SIDE + side, data, at + 1, length)
        after, tag, integer, value = token1(data, value_at)
        if after < 0:
            return -1
        if tag == TEXT:
            if integer > LONGEST_TEXT:
                return -1
        elif tag == INTEGER:
            if integer > EXACT or integer < -EXACT:
                return -1
        elif not (tag == FLOAT or tag == OBJECT or tag == TRUE or tag == FALSE or tag == NULL):
            return -1
        if feature >= 0:
            if marks[feature] == turn:
                return -1
            marks[feature] = turn
            after = enter1(data, after, value_at, tag, integer, value, feature, plan, out, start)
        elif tag == OBJECT:
            after = shares1(data, after, 0, 0, out)
        if after < 0:
            return -1
        at, done = next1(data, after, 125)
        if at < 0:
            return -1
    if side >= 0:
        multiply1(plan, side, out, start)
    return at
