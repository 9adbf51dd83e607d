"""The hash of bytes: its twin, its values for ever, and how well it mixes."""

import random

import numpy as np

from engine.kernels.hashing import hash_bytes, hash_spans
from tests.naive import scan as naive


def hash_all(texts):
    length = np.array([len(text) for text in texts])
    out = np.empty(len(texts), dtype=np.uint64)
    data = np.frombuffer(bytearray(b"".join(texts)), dtype=np.uint8)
    hash_spans(data, np.cumsum(length) - length, length, out)
    return out


def test_the_hash_of_spans_is_that_of_its_twin():
    rng = random.Random(1)
    texts = [rng.randbytes(n) for n in range(70) for _ in range(5)]
    hashes = hash_all(texts)
    assert hashes.tolist() == [naive.hash_bytes(text) for text in texts]
    assert [hash_bytes(text) for text in texts[:20]] == hashes[:20].tolist()


def test_the_hash_is_the_same_for_ever():
    """Stored state holds hashes."""
    assert hash_bytes(b"") == 0xBD2DB2E48789D20
    assert hash_bytes(b"abc") == 0x2A520306DD713D54
    assert hash_bytes(b"abcdefghijklmnopqr") == 0xD2CF1BDDE23AA28B


def test_ids_that_differ_little_do_not_collide():
    texts = [
        f"{prefix}{i}".encode() for prefix in ("", "item-", "request-000") for i in range(40_000)
    ]
    texts += [bytes(n) for n in range(100)]
    hashes = hash_all(texts)
    for bits in (64, 32):  # a table of 2³² places would have 1.7 pairs by chance
        assert len(texts) - len(np.unique(hashes >> np.uint64(64 - bits))) <= (64 - bits) // 4


def test_every_bit_of_a_text_changes_every_bit_of_the_hash_half_of_the_time():
    rng = random.Random(2)
    for size in (3, 8, 17, 33):
        changed = []
        for _ in range(100):
            text = rng.randbytes(size)
            flipped = [
                (int.from_bytes(text, "little") ^ 1 << bit).to_bytes(size, "little")
                for bit in range(8 * size)
            ]
            hashes = hash_all([text, *flipped])
            differs = (hashes[1:] ^ hashes[0]).astype("<u8").view(np.uint8)
            changed.append(np.unpackbits(differs).reshape(8 * size, 64))
        share = np.mean(changed, axis=0)  # 100 draws each: six deviations of 0.05
        assert share.min() > 0.2
        assert share.max() < 0.8
