"""JSON numbers to float64, correctly rounded: the bits that ``float`` gives.

Small ones exactly as quotients or products of exact doubles (Clinger 1990), the others by a
product with a power of five of 128 bits (Lemire 2021, arXiv 2101.11408, without the fall-back that
Mushtak and Lemire 2023 proved needless). What is left out, and told so: more than 19 significant
digits, subnormal numbers, and those out of range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.words import byte1, high1, leading_zeros1, load1, signed1, trailing_zeros1

__all__ = ["number1", "parse_numbers"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

LEAST, MOST = -342, 308  # powers of ten of an odd 64-bit number that can be a double
MAX_DIGITS = 19


def _powers_of_five() -> Words:
    """Leading 128 bits of 5^q, ``(651, 2)``, upper half first; reciprocals are rounded up."""
    rows = []
    for q in range(LEAST, MOST + 1):
        power = 5 ** abs(q)
        bits = power.bit_length()
        if q >= 0:
            leading = power << (128 - bits) if bits <= 128 else power >> (bits - 128)
        elif q >= -27:
            leading = (1 << (bits + 127)) // power + 1
        else:
            leading = ((1 << (2 * bits + 128)) // power + 1) >> (bits + 1)
        rows.append((leading >> 64, leading & ((1 << 64) - 1)))
    return np.array(rows, dtype=np.uint64)


FIVES = _powers_of_five()
TENS = 10.0 ** np.arange(23)
SCALES = np.array([10**n for n in range(9)], dtype=np.uint64)
ZEROS = np.uint64(0x3030303030303030)
TO_TEN = np.uint64(0x7676767676767676)  # a byte of 10 or more overflows into its top bit
TOPS = np.uint64(0x8080808080808080)
U0, U1, U3, U8, U10, U16, U32, U64 = (np.uint64(n) for n in (0, 1, 3, 8, 10, 16, 32, 64))
PAIRS = np.uint64(0x000000FF000000FF)
HUNDREDS = np.uint64(100 + (1000000 << 32))
ONES = np.uint64(1 + (10000 << 32))
EXACT = np.uint64(1 << 53)
LOW_NINE = np.uint64(0x1FF)
FRACTION = np.uint64((1 << 52) - 1)
HIDDEN = np.uint64(1 << 52)
SIGN = np.uint64(1 << 63)


@inline_uncounted
def digits1(data: Bytes, at: int, value: np.uint64) -> tuple[int, np.uint64]:
    """Append digits to a number, eight at a time; returns the place after the last one."""
    while True:
        word = load1(data, at) ^ ZEROS
        others = ((word + TO_TEN) | word) & TOPS
        n = trailing_zeros1(others) >> 3 if others else 8
        if n > 0:
            word <<= np.uint64(64 - 8 * n)
            word = word * U10 + (word >> U8)
            word = ((word & PAIRS) * HUNDREDS + ((word >> U16) & PAIRS) * ONES) >> U32
            value = np.uint64(value * SCALES[n] + word)
        at += n
        if n < 8:
            return at, value


@inline_uncounted
def scale1(digits: np.uint64, power: int) -> np.float64:
    """Return ``digits · 10^power`` rounded to nearest, even; NaN when it cannot tell."""
    if digits == U0:
        return np.float64(0.0)
    if -22 <= power <= 22 and digits <= EXACT:
        exact = np.float64(digits)
        return np.float64(exact * TENS[power] if power >= 0 else exact / TENS[-power])
    if not LEAST <= power <= MOST:
        return np.float64(np.nan)
    zeros = leading_zeros1(digits)
    digits = np.uint64(digits << np.uint64(zeros))
    five = FIVES[power - LEAST]
    upper, lower = high1(digits, five[0]), np.uint64(digits * five[0])
    if upper & LOW_NINE == LOW_NINE:  # more bits may carry up to here
        more = high1(digits, five[1])
        lower = np.uint64(lower + more)
        if more > lower:
            upper += U1
    top = upper >> np.uint64(63)
    shift = top + np.uint64(9)
    mantissa = upper >> shift
    exponent = ((217706 * power) >> 16) + 63 + np.int64(top) - zeros + 1023
    if exponent <= 0:
        return np.float64(np.nan)  # subnormal
    if lower <= U1 and -4 <= power <= 23 and mantissa & U3 == U1:
        if (mantissa << shift) == upper:  # halfway between two doubles: to the even one
            mantissa ^= U1
    mantissa = (mantissa + (mantissa & U1)) >> U1
    if mantissa >= EXACT:
        mantissa, exponent = HIDDEN, exponent + 1
    if exponent >= 0x7FF:
        return np.float64(np.nan)
    bits = np.uint64((mantissa & FRACTION) | (np.uint64(exponent) << np.uint64(52)))
    return np.float64(bits.view(np.float64))


@inline_uncounted
def number1(data: Bytes, at: int) -> tuple[int, bool, int, float]:
    """Read the number that starts at ``at``, after which eight bytes can be read.

    Returns
    -------
    after
        Place after its last character; -1 when it is none, or not one that is surely read.
    whole
        Whether it is written as an integer, of at most 18 digits.
    integer, value
        The integer (0 when it is none), and the double.
    """
    negative = byte1(data, at) == 45
    first = at + 1 if negative else at
    at, digits = digits1(data, first, U0)
    n = at - first
    if n == 0 or (n > 1 and byte1(data, first) == 48):
        return -1, False, 0, 0.0
    following = byte1(data, at)
    if following != 46 and following | 32 != 101:
        if n > 18:
            return -1, False, 0, 0.0
        integer = signed1(digits)
        integer = -integer if negative else integer
        return at, True, integer, float(integer)
    power = 0
    if following == 46:
        at += 1
        point = at
        at, digits = digits1(data, at, digits)
        power = point - at
        if power == 0:
            return -1, False, 0, 0.0
        n -= power
        if n > MAX_DIGITS and byte1(data, first) == 48:
            n -= 1
            while byte1(data, point) == 48:
                point += 1
                n -= 1
        following = byte1(data, at)
    if n > MAX_DIGITS:
        return -1, False, 0, 0.0
    if following | 32 == 101:
        at += 1
        sign = byte1(data, at)
        if sign == 43 or sign == 45:
            at += 1
        begun = at
        at, exponent = digits1(data, at, U0)
        if not 1 <= at - begun <= 5:
            return -1, False, 0, 0.0
        shift = signed1(exponent)
        power += -shift if sign == 45 else shift
    value = scale1(digits, power)
    if np.isnan(value):
        return -1, False, 0, 0.0
    return at, False, 0, float(-value if negative else value)


@kernel("void(u1[::1], i8[::1], i8[::1], f8[::1])", counted=False)
def parse_numbers(data: Bytes, start: Ints, after: Ints, out: Floats) -> None:
    """Writes: after, out. The number at each start; ``after`` is -1 where none was surely read.

    Eight bytes must follow each of them.
    """
    for i in range(len(start)):
        after[i], _, _, out[i] = number1(data, start[i])
