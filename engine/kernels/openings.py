"""Blocks of windows and early records, filled in from columns of events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    IS_SHOWN,
    ITEM_HASH,
    ITEM_LENGTH,
    ITEM_START,
    LAST,
    LEARNED,
    OFFSET,
    ORIGIN_CLOCK,
    ORIGIN_OFFSET,
    PROPENSITY,
    REPLIES,
    REQUEST_HASH,
    REQUEST_LENGTH,
    REQUEST_START,
    RULE,
    SETTLED,
    SHOWN,
    SLOT_WORDS,
    SLOTS,
    SPARE,
    STARTED,
    STATUS,
    TARGET_HASH,
    TARGET_LENGTH,
    TARGET_START,
    UNLEARNED,
    VALUE_LENGTH,
    VALUE_START,
    WEIGHT,
    WINDOW,
    WINDOW_WORDS,
    X_START,
    keep_text1,
    take_block1,
)
from engine.kernels.compile import inline, inline_here
from engine.kernels.ledger import CLOCK, LONGEST, MEMORY, USED, WINDOW_MS, X_WIDTH, Z_WIDTH
from engine.kernels.memory import copy1

__all__ = ["hold1", "keep_ids1", "keep_value1", "open_window1"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.int64]


@inline_here
def hold1(arena: Ints, state: Ints, b: int, offset: int, key: int, deadline: int) -> None:
    """Writes: arena. What all that is held has in common."""
    arena[b + OFFSET] = arena[b + ORIGIN_OFFSET] = offset
    arena[b + STARTED] = arena[b + ORIGIN_CLOCK] = state[CLOCK]
    arena[b + DEADLINE] = deadline
    arena[b + REQUEST_HASH] = key


@inline_here
def keep_value1(
    arena: Ints,
    texts: Bytes,
    b: int,
    whole: int,
    data: Bytes,
    start: int,
    size: int,
    at: int,
    length: int,
) -> int:
    """Writes: arena, texts. Keeps a record's value at ``whole``, and its request id.

    They are the spans ``data[start : start + size]`` and ``data[at : at + length]``. Returns where
    what is kept ends.
    """
    copy1(texts, whole, data, start, size)
    arena[b + VALUE_START], arena[b + VALUE_LENGTH] = whole, size
    kept, end = keep_text1(texts, whole, whole + size, data, start, size, at, length)
    arena[b + REQUEST_START], arena[b + REQUEST_LENGTH] = kept, length
    return int(end)


@inline
def keep_ids1(
    arena: Ints,
    texts: Bytes,
    b: int,
    end: int,
    data: Bytes,
    start: int,
    event_hash: int,
    event_start: int,
    event_length: int,
    target_hash: int,
    target_start: int,
    target_length: int,
) -> None:
    """Writes: arena, texts. Keeps event id and item id of an early feedback, whose value is kept.

    The value was ``data[start:]``; what is no span of it goes to ``end``.
    """
    whole, size = arena[b + VALUE_START], arena[b + VALUE_LENGTH]
    kept, end = keep_text1(texts, whole, end, data, start, size, event_start, event_length)
    arena[b + EVENT_HASH] = event_hash
    arena[b + EVENT_START], arena[b + EVENT_LENGTH] = kept, event_length
    kept, end = keep_text1(texts, whole, end, data, start, size, target_start, target_length)
    arena[b + TARGET_HASH] = target_hash
    arena[b + TARGET_START], arena[b + TARGET_LENGTH] = kept, target_length


@inline_here
def open_window1(
    arena: Ints,
    numbers: Floats,
    texts: Bytes,
    free: Ints,
    rules: Table,
    state: Ints,
    rule: int,
    deferred: bool,
    weight: float,
    offset: int,
    data: Bytes,
    start: int,
    size: int,
    key: int,
    at: int,
    length: int,
    item_hash: Ints,
    item_start: Ints,
    item_length: Ints,
    propensity: Floats,
    first: int,
    k: int,
    x: Floats,
    x_start: int,
    z: Floats,
    z_start: Ints,
) -> int:
    """Writes: arena, numbers, texts, free, state. The block of a new window, in no list yet.

    The impression's value is ``data[start : start + size]``, its request id
    ``data[at : at + length]``, its slots ``first`` to ``first + k``.
    """
    dx = rules[rule, X_WIDTH] if rule >= 0 else 0
    dz = rules[rule, Z_WIDTH] if rule >= 0 else 0
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
    hold1(arena, state, b, offset, key, state[CLOCK] + wait)
    arena[b + EVENTS] = arena[b + EVENT_COUNT] = arena[b + SPARE] = arena[b + UNLEARNED] = 0
    arena[b + LEARNED] = arena[b + ARRIVALS] = 0
    arena[b + LAST] = -1
    arena[b + SLOTS] = k
    arena[b + DEFERRED] = deferred
    arena[b + SHOWN] = -1 if deferred else k
    arena[b + RULE] = rule
    arena[b + SETTLED] = rule < 0
    arena[b + FORGET] = state[CLOCK] + state[MEMORY]
    numbers[b + WEIGHT] = weight
    arena[b + X_START] = b + rows
    copy1(numbers, b + rows, x, x_start, dx)
    whole = 8 * (b + rows + dx + k * dz)
    end = keep_value1(arena, texts, b, whole, data, start, size, at, length)
    for j in range(k):
        s, source = b + WINDOW_WORDS + SLOT_WORDS * j, first + j
        kept, end = keep_text1(
            texts, whole, end, data, start, size, item_start[source], item_length[source]
        )
        arena[s + ITEM_HASH] = item_hash[source]
        arena[s + ITEM_START], arena[s + ITEM_LENGTH] = kept, item_length[source]
        numbers[s + PROPENSITY] = propensity[source]
        arena[s + REPLIES] = arena[s + ARRIVAL] = 0
        arena[s + STATUS] = 0 if deferred else IS_SHOWN
        copy1(numbers, b + rows + dx + j * dz, z, z_start[source], dz)
    return int(b)
