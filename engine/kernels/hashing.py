"""A 64-bit hash of bytes: equal on every machine and in every release of one format of state.

It multiplies words to 128 bits and folds the halves, as wyhash (Wang Yi 2019) does, and ends with
the finaliser of SplitMix64. It is not for keeping secrets: whoever knows it can make two texts
collide, so whoever must not mistake one text for another compares their bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.random import mix1
from engine.kernels.words import high1, tail1, word1

__all__ = ["hash1", "hash_bytes", "hash_ids", "hash_spans", "id1"]

Bytes = NDArray[np.uint8]
Checks = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

SEED = np.uint64(0x2D358DCCAA6C78A5)
LENGTH = np.uint64(0x8BB84B93962EACC9)
WORD = np.uint64(0x4B33A62ED433D4A3)
TAIL = np.uint64(0x4D5A2DA51DE1AA47)
UPPER = np.uint64(32)


@inline_uncounted
def fold1(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return both halves of a product of 128 bits, one upon the other."""
    return np.uint64(np.uint64(a * b) ^ high1(a, b))


@inline_uncounted
def seeded1(data: Bytes, start: int, length: int, seed: np.uint64) -> np.uint64:
    """Return one of 2^64 hashes of a span: those of two seeds know nothing of each other."""
    state = np.uint64(seed ^ np.uint64(np.uint64(length) * LENGTH))
    at, stop = start, start + length
    while at + 8 <= stop:
        state = fold1(np.uint64(state ^ word1(data, at)), WORD)
        at += 8
    if at < stop:
        state = fold1(np.uint64(state ^ tail1(data, at, stop - at)), TAIL)
    return mix1(state)


@inline_uncounted
def hash1(data: Bytes, start: int, length: int) -> np.uint64:
    """Return the hash of a span."""
    return seeded1(data, start, length, SEED)


@inline_uncounted
def id1(data: Bytes, start: int, length: int, seeds: Hashes) -> tuple[np.uint64, np.uint64]:
    """Return the key of an id, and 32 bits that tell ids of one key apart; 0, 0 for no text.

    ``seeds`` ``(2,)`` are of the key and of the check. No id has key 0.
    """
    if length == 0:
        return np.uint64(0), np.uint64(0)
    key = seeded1(data, start, length, seeds[0])
    check = np.uint64(seeded1(data, start, length, seeds[1]) >> UPPER)
    return (key if key != np.uint64(0) else np.uint64(1)), check


@kernel("void(u1[::1], i8[::1], i8[::1], u8[::1], u8[::1], u4[::1])", counted=False)
def hash_ids(
    data: Bytes, start: Ints, length: Ints, seeds: Hashes, keys: Hashes, checks: Checks
) -> None:
    """Writes: keys, checks. Those of each span, see `id1`."""
    for i in range(len(start)):
        keys[i], check = id1(data, start[i], length[i], seeds)
        checks[i] = np.uint32(check)


@kernel("void(u1[::1], i8[::1], i8[::1], u8[::1])", counted=False)
def hash_spans(data: Bytes, start: Ints, length: Ints, out: Hashes) -> None:
    """Writes: out. The hash of each span."""
    for i in range(len(start)):
        out[i] = hash1(data, start[i], length[i])


def hash_bytes(text: bytes) -> int:
    """Return the hash of one text."""
    out = np.empty(1, dtype=np.uint64)
    data = np.frombuffer(bytearray(text), dtype=np.uint8)
    hash_spans(data, np.zeros(1, dtype=np.int64), np.array([len(text)]), out)
    return int(out[0])
