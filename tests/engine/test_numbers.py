"""Numbers in JSON: to the bit what ``float`` gives, or not read at all."""

import random
import re
import struct

import numpy as np

from engine.kernels.numbers import parse_numbers
from tests.naive import scan as naive

HALFWAY = [
    b"9007199254740993",
    b"9007199254740993.0",
    b"9007199254740995.0",
    b"1.00000000000000011102230246251565404",
    b"1.000000000000000111",
    b"1.0000000000000001110",
    b"5e-324",
    b"2.2250738585072011e-308",
    b"2.2250738585072014e-308",
    b"1.7976931348623157e308",
    b"1.7976931348623159e308",
    b"1e309",
    b"1e23",
    b"8.5e22",
    b"6250000000000000.5",
    b"36028797018963966.0",
    b"4503599627370496.5",
    b"4503599627370497.5",
    b"9223372036854775807",
    b"18446744073709551615.0",
    b"18446744073709551616.0",
    b"9999999999999999999.0",
    b"0.000000000000000000000000000000000000000000000000000001",
    b"-0",
    b"-0.0",
    b"0e5",
    b"0.0e-999",
    b"1e00005",
    b"1E+2",
    b"7e-1",
]
MALFORMED = [b"", b"-", b"01", b"-01", b"00", b"1.", b".5", b"1.e5", b"1e", b"1e+", b"--1", b"+1"]


def parse(texts):
    """Length read (-1 when not) and value of each text, followed by a comma."""
    length = np.array([len(text) for text in texts])
    data = np.frombuffer(bytearray(b",".join(texts) + b"," + bytes(16)), dtype=np.uint8)
    start = np.cumsum(length + 1) - length - 1
    after, out = np.empty(len(texts), dtype=np.int64), np.empty(len(texts))
    parse_numbers(data, start, after, out)
    return np.where(after < 0, -1, after - start), out


def significant(texts):
    """Number of significant digits as written; 99 for integers that are read up to 18 digits."""
    digits = [re.sub(rb"[eE].*|[^0-9]", b"", text).lstrip(b"0") for text in texts]
    whole = [text.lstrip(b"-").isdigit() for text in texts]
    return np.array(
        [99 if w and len(d) > 18 else len(d) for d, w in zip(digits, whole, strict=True)]
    )


def random_numbers(seed):
    rng = random.Random(seed)
    for _ in range(60_000):
        (value,) = struct.unpack("d", struct.pack("Q", rng.getrandbits(64)))
        if np.isfinite(value):
            yield repr(value).encode()
    for _ in range(40_000):
        yield repr(rng.gauss(0, 10.0 ** rng.randint(-6, 6))).encode()
        yield str(round(rng.gauss(0, 100), rng.randint(0, 6))).encode()
    for _ in range(40_000):
        whole, fraction = (rng.randrange(10 ** rng.randint(1, 10)) for _ in range(2))
        yield b"%d.%de%d" % (whole, fraction, rng.randint(-330, 320))
    for _ in range(20_000):  # halfway between doubles, and next to it
        near = 2 * rng.randrange(2**52, 2**53) + 1
        yield b"%d.0" % (near << rng.randint(0, 9))
        yield b"%d.%d" % (near // 16, near % 16 * 625)


def test_numbers_are_read_as_float_reads_them():
    texts = [*random_numbers(1), *HALFWAY]
    assert len(texts) > 200_000
    length, value = parse(texts)
    twins = [naive.parse_number(text) for text in texts]
    expected = np.array([number for _, number in twins])
    sure = length >= 0
    assert np.array_equal(length[sure], np.array([end for end, _ in twins])[sure])
    assert np.array_equal(value[sure].view(np.uint64), expected[sure].view(np.uint64))
    # All that ``repr`` writes is read, unless it is subnormal.
    ordinary = (np.abs(expected) > 1e-300) & (np.abs(expected) < 1e300)
    assert np.all(sure[ordinary & (significant(texts) <= 19)])
    assert np.mean(sure) > 0.9


def test_what_is_no_number_is_not_read_as_one():
    length, _ = parse(MALFORMED)
    for text, read in zip(MALFORMED, length, strict=True):
        assert read < len(text) or read == -1, text


def test_any_bytes_are_read_as_the_twin_reads_them():
    rng = random.Random(3)
    texts = [bytes(rng.choices(b"00123456789.eE+-", k=rng.randint(1, 24))) for _ in range(100_000)]
    length, value = parse(texts)
    for text, read, number in zip(texts, length.tolist(), value.tolist(), strict=True):
        if read >= 0:
            expected = naive.parse_number(text)
            # Digits or a point that follow a number make it none.
            assert expected is not None, text
            assert (read, number) == expected, text
    assert np.mean(length >= 0) > 0.1
