"""A fixed set of names, each in a space of its own, and their numbers: looked up by exact bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted
from engine.kernels.words import load1, signed1

__all__ = ["Lexicon", "find1", "make_lexicon"]

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
MIX_FIRST = np.uint64(0x9E3779B97F4A7C15)
MIX_LAST = np.uint64(0xC2B2AE3D27D4EB4F)
MIX_META = np.uint64(0x165667B19E3779F9)
MASK = (1 << 64) - 1
U32 = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
PADDING = 8


class Lexicon(NamedTuple):
    """Names as a table with open addressing.

    A row of ``table``, ``(2^k, 4)``, holds the first and the last eight bytes of a name, its
    space and length, and its number and where the whole name begins in ``text``; the third is 0
    where there is none.
    """

    table: Words
    text: Bytes


def make_lexicon(names: Iterable[tuple[int, str, int]]) -> Lexicon:
    """Make the table of ``(space, name, number)``; a name repeated in its space must not be."""
    entries = [(space, name.encode(), number) for space, name, number in names]
    size = 1 << max(2 * len(entries), 4).bit_length()
    table = np.zeros((size, 4), dtype=np.uint64)
    text = bytearray()
    for space, name, number in entries:
        first = int.from_bytes(name[:8], "little")
        last = int.from_bytes(name[-8:], "little")
        meta = (space + 1) << 32 | len(name)
        mixed = (first * int(MIX_FIRST) ^ last * int(MIX_LAST) ^ meta * int(MIX_META)) & MASK
        at = (mixed ^ mixed >> 32) & (size - 1)
        while table[at, 2]:
            at = (at + 1) & (size - 1)
        table[at] = first, last, meta, number << 32 | len(text)
        text += name
    return Lexicon(table, np.frombuffer(text + bytes(PADDING), dtype=np.uint8))


@inline_uncounted
def find1(table: Words, text: Bytes, space: int, data: Bytes, start: int, length: int) -> int:
    """Return the number of a name in a space, -1 when it is none; eight bytes must follow it."""
    if length >= 8:
        first, last = load1(data, start), load1(data, start + length - 8)
    else:
        first = np.uint64(0)
        if length > 0:
            first = load1(data, start) & (ALL >> np.uint64(64 - 8 * length))
        last = first
    meta = np.uint64((np.uint64(space + 1) << U32) | np.uint64(length))
    mixed = np.uint64(first * MIX_FIRST ^ last * MIX_LAST ^ meta * MIX_META)
    most = len(table) - 1
    at = signed1(mixed ^ (mixed >> U32)) & most
    while True:
        known = table[at]
        if known[2] == np.uint64(0):
            return -1
        if known[0] == first and known[1] == last and known[2] == meta:
            if same1(text, signed1(known[3] & LOW), data, start, length):
                return int(signed1(known[3] >> U32))
        at = (at + 1) & most


@inline_uncounted
def same1(text: Bytes, at: int, data: Bytes, start: int, length: int) -> bool:
    """Tell whether names of one length, whose first and last eight bytes agree, are the same."""
    for i in range(8, length - 8, 8):
        if load1(text, at + i) != load1(data, start + i):
            return False
    return True
