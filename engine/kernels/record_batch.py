"""Records of a Kafka batch (message format 2), decompressed, as spans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.words import byte1

__all__ = ["ROWS", "walk_records"]

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

ROWS = 6


@inline_uncounted
def varint1(data: Bytes, at: int) -> tuple[int, int]:
    """Read a zigzag number of at most ten bytes: the place after it, -1 if it is none; and it."""
    number, shift = 0, 0
    while at < len(data) and shift < 64:
        byte = byte1(data, at)
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return at, ((number >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(number & 1)
        shift += 7
    return -1, 0


@inline_uncounted
def span1(data: Bytes, at: int) -> tuple[int, int]:
    """Read the length of bytes that follow: the place of the first one, and how many.

    -1 of them is null. The place is -1 when they leave the data.
    """
    at, length = varint1(data, at)
    if at < 0 or length < -1 or length > len(data) - at:
        return -1, 0
    return at, length


@inline_uncounted
def pass_headers1(data: Bytes, at: int) -> int:
    """Return the place after a record's headers, -1 when they are broken."""
    at, headers = varint1(data, at)
    if at < 0 or headers < 0:
        return -1
    for _ in range(headers):
        at, length = span1(data, at)
        if at < 0 or length < 0:
            return -1
        at, size = span1(data, at + length)
        if at < 0:
            return -1
        at += max(size, 0)
    return at


@kernel("i8(u1[::1], i8, i8, i8, i8, i8[:,::1])", counted=False)
def walk_records(
    data: Bytes, begin: int, offset: int, stamp: int, append_stamp: int, out: Ints
) -> int:
    """Writes: out. Offset, stamp, value start and length, key start and length of each record.

    Parameters
    ----------
    data, begin
        A batch's records, from ``begin`` to the end.
    offset, stamp
        Of the batch's beginning; a record adds its own to them.
    append_stamp
        The stamp of every record when the log stamps them, -1 when their producer does.
    out
        ``(6, n)`` for the ``n`` records that the batch says it has. The length of what is null
        is 0.

    Returns
    -------
    broken
        The first record that is broken, ``n`` when something follows the last one; -1 when all
        is well.
    """
    at, n = begin, out.shape[1]
    for i in range(n):
        at, size = span1(data, at)
        if at < 0 or size < 1:
            return i
        end = at + size
        at, later = varint1(data, at + 1)  # after attributes, which say nothing yet
        if at < 0:
            return i
        at, further = varint1(data, at)
        if at < 0:
            return i
        key, key_length = span1(data, at)
        if key < 0:
            return i
        value, value_length = span1(data, key + max(key_length, 0))
        if value < 0:
            return i
        at = pass_headers1(data, value + max(value_length, 0))
        if at != end:
            return i
        out[0, i] = offset + further
        out[1, i] = append_stamp if append_stamp >= 0 else stamp + later
        out[2, i], out[3, i] = value, max(value_length, 0)
        out[4, i], out[5, i] = key, max(key_length, 0)
    return -1 if at == len(data) else n
