"""MessagePack that is too large to be made at once: its length is told first, its bytes later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from engine.errors import SnapshotError

__all__ = ["Pieces", "Source", "pack_pieces"]

FEW, MANY, LIMIT = 1 << 8, 1 << 16, 1 << 32


@runtime_checkable
class Source(Protocol):
    """Bytes of one moment, given out bit by bit."""

    @property
    def size(self) -> int:
        """How many bytes there are in all."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Yield them, in order; to be called once."""
        ...

    def close(self) -> None:
        """Let go of what was kept for those not taken yet."""
        ...


class Pieces:
    """Bytes, and sources of bytes, one behind the other: a source itself.

    Attributes
    ----------
    size
        How many bytes there are in all.
    """

    def __init__(self, parts: list[bytes | Source]) -> None:
        self._parts = parts
        self.size = sum(len(p) if isinstance(p, bytes) else p.size for p in parts)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, in order, in pieces that are not empty; to be called once."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from filter(None, part.pieces())

    def close(self) -> None:
        """Let go of what was kept for the pieces not taken yet."""
        for part in self._parts:
            if not isinstance(part, bytes):
                part.close()


def pack_pieces(value: Mapping[str, object]) -> Pieces:
    """Encode as ``msgspec.msgpack.encode`` would if every `Source` in it were its bytes.

    Raises
    ------
    SnapshotError
        When a source has more bytes than MessagePack can tell the length of, 4 GiB.
    """
    return Pieces(_pack(value))


def _pack(value: object) -> list[bytes | Source]:
    if isinstance(value, Mapping):
        parts: list[bytes | Source] = [_begin_map(len(value))]
        for name, each in value.items():
            parts += [msgspec.msgpack.encode(name), *_pack(each)]
        return parts
    if isinstance(value, Source):
        return [_begin_bytes(value.size), value]
    return [msgspec.msgpack.encode(value)]


def _begin_map(n: int) -> bytes:
    if n < 16:
        return bytes([0x80 | n])
    return b"\xde" + n.to_bytes(2, "big") if n < MANY else b"\xdf" + n.to_bytes(4, "big")


def _begin_bytes(n: int) -> bytes:
    if n >= LIMIT:
        raise SnapshotError(
            f"a state has a part of {n} bytes; what is saved of one may have 4 GiB: give its table "
            "a smaller max_rows or dimension"
        )
    if n < FEW:
        return b"\xc4" + n.to_bytes(1, "big")
    return b"\xc5" + n.to_bytes(2, "big") if n < MANY else b"\xc6" + n.to_bytes(4, "big")
