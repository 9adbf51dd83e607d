"""Walking over the records of a batch: beside its twin, on what is whole and what is broken."""

import random

import numpy as np
import pytest

from engine.kernels.record_batch import ROWS, walk_records
from tests.naive import scan as naive


def varint(number):
    number = (number << 1) ^ (number >> 63)
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def null_or(text):
    return varint(-1) if text is None else varint(len(text)) + text


def record(rng, offset):
    texts = (None, b"", b"key", rng.randbytes(rng.randint(1, 300)))
    headers = [(rng.choice(texts) or b"", rng.choice(texts)) for _ in range(rng.choice([0, 0, 2]))]
    body = b"".join(
        [
            bytes([0]),
            varint(rng.choice([0, 5, -3, 1 << 40])),
            varint(offset),
            null_or(rng.choice(texts)),
            null_or(rng.choice(texts)),
            varint(len(headers)),
            *(varint(len(key)) + key + null_or(value) for key, value in headers),
        ]
    )
    return varint(len(body)) + body


def walk(data, count, append_stamp=-1):
    out = np.empty((ROWS, count), dtype=np.int64)
    data = np.frombuffer(bytearray(data), dtype=np.uint8)
    return walk_records(data, 0, 1 << 33, 1_700_000_000_000, append_stamp, out), out


def twin(data, count, append_stamp=-1):
    return naive.walk_records(data, 1 << 33, 1_700_000_000_000, append_stamp, count)


@pytest.mark.parametrize("append_stamp", [-1, 1_800_000_000_000])
def test_records_are_found_where_the_twin_finds_them(append_stamp):
    rng = random.Random(1)
    data = b"".join(record(rng, 3 * i) for i in range(500))
    broken, out = walk(data, 500, append_stamp)
    assert broken == -1
    assert out.T.tolist() == [list(row) for row in twin(data, 500, append_stamp)]
    assert walk(b"", 0)[0] == -1


def test_broken_records_are_told_from_whole_ones():
    rng = random.Random(2)
    outcomes = {True: 0, False: 0}
    for _ in range(4000):
        data = bytearray(b"".join(record(rng, i) for i in range(3)))
        for _ in range(rng.choice([0, 1, 1, 2])):
            at = rng.randrange(len(data))
            data[at : at + rng.choice([0, 1, 1, 5])] = rng.randbytes(rng.choice([0, 1, 1, 12]))
        count = rng.choice([2, 3, 3, 3, 4])
        try:
            expected = twin(data, count)
        except (ValueError, IndexError):
            expected = None
        broken, out = walk(data, count)
        assert (broken == -1) == (expected is not None)
        if expected is not None:
            assert out.T.tolist() == [list(row) for row in expected]
        outcomes[broken == -1] += 1
    assert min(outcomes.values()) > 200
