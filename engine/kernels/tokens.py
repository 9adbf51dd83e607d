"""JSON token by token, as far as it is surely right: texts without escapes, plain numbers.

A place of -1 means: not sure. Whoever scans then leaves the record to the full decoder. Nothing
here reads more than eight bytes past a byte below 0x20 that is no blank, so data that ends in
`PADDING` zeros is never left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import called_uncounted, inline_uncounted
from engine.kernels.numbers import number1
from engine.kernels.words import byte1, load1, trailing_zeros1

__all__ = [
    "ARRAY",
    "FALSE",
    "FLOAT",
    "INTEGER",
    "NULL",
    "OBJECT",
    "PADDING",
    "TEXT",
    "TRUE",
    "key1",
    "next1",
    "skip_blanks1",
    "token1",
]

Bytes = NDArray[np.uint8]

PADDING = 16
TEXT, INTEGER, FLOAT, TRUE, FALSE, NULL, OBJECT, ARRAY = 1, 2, 3, 4, 5, 6, 7, 8

ONES = np.uint64(0x0101010101010101)
TOPS = np.uint64(0x8080808080808080)
BLANKS = np.uint64(0x2020202020202020)
QUOTES = np.uint64(0x2222222222222222)
ESCAPES = np.uint64(0x5C5C5C5C5C5C5C5C)
WORD_TRUE = np.uint64(int.from_bytes(b"true", "little"))
WORD_NULL = np.uint64(int.from_bytes(b"null", "little"))
WORD_FALSE = np.uint64(int.from_bytes(b"false", "little"))
FOUR, FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)


@inline_uncounted
def skip_blanks1(data: Bytes, at: int) -> int:
    """Return the place of the first byte that is no white space."""
    while True:
        byte = byte1(data, at)
        if byte > 32 or not (byte == 32 or byte == 10 or byte == 13 or byte == 9):
            return at
        at += 1


@called_uncounted
def sequence1(data: Bytes, at: int) -> int:
    """Return the length of a character beyond ASCII in UTF-8, 0 if it is none.

    As the Unicode standard 15 says in table 3-7: the shortest form only, and no surrogates.
    """
    first, second, third = byte1(data, at), byte1(data, at + 1), byte1(data, at + 2)
    low, high = 0x80, 0xBF
    if first < 0xC2 or first > 0xF4:
        return 0
    if first < 0xE0:
        return 2 if low <= second <= high else 0
    if first == 0xE0:
        low = 0xA0
    elif first == 0xED:
        high = 0x9F
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F
    if not (low <= second <= high and third & 0xC0 == 0x80):
        return 0
    if first < 0xF0:
        return 3
    return 4 if byte1(data, at + 3) & 0xC0 == 0x80 else 0


@inline_uncounted
def text_end1(data: Bytes, at: int) -> int:
    """Return the place of the quote that ends a text; -1 with escapes or broken UTF-8."""
    while True:
        word = load1(data, at)
        quote, escape = word ^ QUOTES, word ^ ESCAPES
        # The lowest top bit set marks the first quote, escape, control character or byte
        # of 128 and more; those above it may be wrong.
        marks = (
            ((quote - ONES) & ~quote)
            | ((escape - ONES) & ~escape)
            | ((word - BLANKS) & ~word)
            | word
        ) & TOPS
        if marks:
            end = at + (trailing_zeros1(marks) >> 3)
            if byte1(data, end) == 34:
                return int(end)
            size = sequence1(data, end) if byte1(data, end) > 127 else 0
            if size == 0:
                return -1
            at = end + size
        else:
            at += 8


@inline_uncounted
def key1(data: Bytes, at: int) -> tuple[int, int]:
    """Read the key of a member: the place of its value, and the length of the key.

    The key begins at ``at + 1``.
    """
    if byte1(data, at) != 34:
        return -1, 0
    end = text_end1(data, at + 1)
    if end < 0:
        return -1, 0
    value = end + 1
    if byte1(data, value) != 58:
        value = skip_blanks1(data, value)
        if byte1(data, value) != 58:
            return -1, 0
    return skip_blanks1(data, value + 1), end - at - 1


@inline_uncounted
def next1(data: Bytes, at: int, closing: int) -> tuple[int, bool]:
    """Pass the comma after an entry, or the closing bracket: the place after it, and whether."""
    at = skip_blanks1(data, at)
    byte = byte1(data, at)
    if byte == 44:
        return skip_blanks1(data, at + 1), False
    return (at + 1 if byte == closing else -1), True


@inline_uncounted
def token1(data: Bytes, at: int) -> tuple[int, int, int, float]:
    """Read one value, of an object or an array only the opening bracket.

    Returns
    -------
    after
        Place after it; -1 when it is not surely read.
    tag
        What it is.
    integer
        An integer's value; the length of a text, which begins at ``at + 1``.
    value
        A number's.
    """
    byte = byte1(data, at)
    if byte == 34:
        end = text_end1(data, at + 1)
        return (end + 1 if end >= 0 else -1), TEXT, end - at - 1, 0.0
    if byte <= 57:
        after, whole, integer, value = number1(data, at)
        return after, (INTEGER if whole else FLOAT), integer, value
    if byte == 123:
        return at + 1, OBJECT, 0, 0.0
    if byte == 91:
        return at + 1, ARRAY, 0, 0.0
    word = load1(data, at)
    if word & FOUR == WORD_TRUE:
        return at + 4, TRUE, 1, 1.0
    if word & FIVE == WORD_FALSE:
        return at + 5, FALSE, 0, 0.0
    if word & FOUR == WORD_NULL:
        return at + 4, NULL, 0, 0.0
    return -1, 0, 0, 0.0
