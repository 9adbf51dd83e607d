"""Blocks of memory for what a joiner holds: windows, early records and event ids seen.

All blocks lie in one arena, which is seen as words (int64), numbers (float64) and bytes (uint8)
alike; a block is named by its first word, and never moves while it is held. Sizes come in classes,
at most a quarter apart, and a block given back is used again for its class.

A window is followed by its slots, its context row and item rows, then texts. The text of a record
is kept whole; ids are spans of it, or stand behind it where JSON had them escaped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline
from engine.kernels.memory import copy1

__all__ = ["give_back1", "keep_text1", "size_class1", "take_block1"]

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# Words that all blocks have.
CLASS = 0  # of its size
KIND = 1
OFFSET = 2  # of the record that made it, -1 once it waits for nothing
NEXT = 3  # block in the list it stands in, 0 for none

WINDOW, EARLY_FEEDBACK, EARLY_ACTIVATION, SEEN, ROWS = 1, 2, 3, 4, 5  # kinds

# Of what is held: windows and early records.
STARTED = 10  # the clock at its record
DEADLINE = 11
REQUEST_HASH, REQUEST_START, REQUEST_LENGTH = 12, 13, 14
OLDER, NEWER = 15, 16  # neighbours by the oldest record that each is made of
VALUE_START, VALUE_LENGTH = 17, 18  # the record's value
ORIGIN_OFFSET, ORIGIN_CLOCK = 19, 20  # that oldest record

# Of a window.
EVENTS = 4  # event ids seen, a list
SLOTS = 5
SHOWN = 6  # slots that are learned, -1 for a deferred slate not yet activated
RULE = 7  # row of the rules, -1 when not learned
FORGET = 8  # until when it is remembered at least
DEFERRED = 9
SETTLED = 21  # whether the impression has its fate
UNLEARNED = 22  # pending feedback
LEARNED = 23  # slots learned
LAST = 24  # last slot with a reward, -1 for none
ARRIVALS = 25  # slots that ever had a reward
WEIGHT = 26  # a number
X_START = 27  # its context row; the item rows follow
SPARE = 28  # another block that holds the rows, 0 for none
EVENT_COUNT = 29
WINDOW_WORDS = 32

# Of a slot, from WINDOW_WORDS + SLOT_WORDS * slot on.
ITEM_HASH, ITEM_START, ITEM_LENGTH = 0, 1, 2
PROPENSITY, REWARD = 3, 4  # numbers
REPLIES = 5  # feedback that the reward is made of; without any there is none
ARRIVAL = 6  # its rank among the slots that had a reward
STATUS = 7
SLOT_WORDS = 8
IS_SHOWN, IS_LEARNED = 1, 2

# Of an event id seen.
OWNER = 4  # the window
EVENT_HASH, EVENT_START, EVENT_LENGTH = 5, 6, 7
SEEN_WORDS = 10

# Of an early record; an early feedback becomes an event id seen.
PREVIOUS = 8
TAIL = 9  # of the first of a request's: the last
TARGET_HASH, TARGET_START, TARGET_LENGTH = 21, 22, 23
TARGET_SLOT, REACTION = 24, 25
AMOUNT = 26  # a number
SEEN_START, SEEN_SLOTS = 27, 28  # of an activation; -1 for all
EARLY_WORDS = 32

ROWS_WORDS = 8

CLASSES = 400
UNIT = 8  # words


@inline
def size_class1(words: int) -> tuple[int, int]:
    """Class of a block of so many words, and how many its blocks have."""
    units = max((words + UNIT - 1) // UNIT, 1) - 1
    shift = 0
    while (units >> shift) >= UNIT:
        shift += 1
    top = (units >> shift) + 1
    return shift * UNIT + top, (top << shift) * UNIT


@inline
def take_block1(arena: Ints, free: Ints, used: Ints, at: int, words: int, kind: int) -> int:
    """Writes: arena, free, used[at]. A block of at least so many words; the caller saw to room."""
    size, length = size_class1(words)
    block = free[size]
    if block:
        free[size] = arena[block + NEXT]
    else:
        block = used[at]
        used[at] += length
        arena[block + CLASS] = size
    arena[block + KIND] = kind
    arena[block + NEXT] = 0
    return int(block)


@inline
def give_back1(arena: Ints, free: Ints, block: int) -> None:
    """Writes: arena, free. Gives a block back."""
    size = arena[block + CLASS]
    arena[block + OFFSET] = -1
    arena[block + NEXT] = free[size]
    free[size] = block


@inline
def keep_text1(
    target: Bytes,
    whole: int,
    end: int,
    source: Bytes,
    value: int,
    size: int,
    start: int,
    length: int,
) -> tuple[int, int]:
    """Writes: target. Where a span of a record's value is kept, and where what is kept ends.

    The value ``source[value : value + size]`` was copied to ``whole``; other texts go to ``end``.
    """
    if value <= start and start + length <= value + size:
        return whole + start - value, end
    copy1(target, end, source, start, length)
    return end, end + length
