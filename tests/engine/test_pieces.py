"""MessagePack whose bytes come later is what msgspec makes of the bytes."""

import msgspec
import pytest

from engine.errors import SnapshotError
from engine.pieces import Pieces, pack_pieces


def later(whole: bytes, n: int = 3) -> Pieces:
    step = max(len(whole) // n, 1)
    return Pieces([whole[start : start + step] for start in range(0, len(whole), step)])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 200_000])
def test_sources_of_any_size(size):
    whole = bytes(range(256)) * (size // 256 + 1)
    whole = whole[:size]
    told = {"a": 1, "late": later(whole), "more": {"b": [1, 2.5, "ä"], "late": later(whole, 7)}}
    same = {"a": 1, "late": whole, "more": {"b": [1, 2.5, "ä"], "late": whole}}
    packed, expected = pack_pieces(told), msgspec.msgpack.encode(same)
    assert packed.size == len(expected)
    assert b"".join(packed.pieces()) == expected


@pytest.mark.parametrize("n", [0, 15, 16, 65_535, 65_536])
def test_maps_of_any_length(n):
    told = {"x" * (at % 40) + str(at): (at, b"1") for at in range(n)}
    packed = pack_pieces({"in": pack_pieces(told)})
    whole = msgspec.msgpack.encode({"in": msgspec.msgpack.encode(told)})
    assert (packed.size, b"".join(packed.pieces())) == (len(whole), whole)


def test_what_messagepack_cannot_tell_the_length_of_is_refused():
    class Vast:
        size = 1 << 32

        def pieces(self):
            yield b""

        def close(self):
            return

    with pytest.raises(SnapshotError, match="4294967296 bytes; what is saved of one may have"):
        pack_pieces({"state": Vast()})
    Vast.size -= 1
    assert pack_pieces({"state": Vast()}).size == 1 + 6 + 5 + (1 << 32) - 1
