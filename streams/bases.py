"""A base of one commit that is written bit by bit while its learner goes on.

A large state is not saved within a commit: that would stop learning for as long as it takes. Its
pieces are taken between later steps, as they were when the commit was made, and stored under that
commit's number. They are no base until the last one is there: who reads meanwhile, or after the
learner was killed, finds the base before and all deltas since. What only bases before that one
needed goes bit by bit too.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from engine.pieces import Pieces, pack_pieces
from streams.positions import Position
from streams.store import Store

__all__ = ["LARGE_BYTES", "STEP_BYTES", "GrowingBase"]

LARGE_BYTES = 1 << 25  # of a part, from which on its state's bases grow bit by bit
STEP_BYTES = 1 << 22  # written at a step of the learner: some hundredths of a second


class GrowingBase:
    """The base of what was committed last, before anything more is learned.

    Parameters
    ----------
    begun
        The position committed.
    bodies
        What every policy's state was then.

    Attributes
    ----------
    done
        Whether nothing is left to do.
    """

    def __init__(self, begun: Position, bodies: Mapping[str, Pieces]) -> None:
        self._begun = begun
        self._size = sum(body.size for body in bodies.values())
        self._source = pack_pieces(bodies)
        self._pieces = self._source.pieces()
        self._rest = memoryview(b"")
        self._piece = b""
        self._place = 0
        self._crc = 0
        self._whole = False
        self.done = False

    def go_on(self, store: Store, position: Position) -> Position:
        """Write one piece more, or let go of as much; returns the position that it leads to.

        Parameters
        ----------
        position
            What was committed last by now.

        Raises
        ------
        FencedError
            When another learner claimed the shard: what was written is removed by its claim.
        StoreError
            When the database cannot be used; call again.
        """
        if self._whole:
            self.done = not store.sweep(position, STEP_BYTES)
            return position
        self._piece = self._piece or self._take()
        if not self._piece:
            after = position.with_base(self._begun, self._size)
            store.add_base(position, after, self._begun.seq, self._crc)
            self._whole = True
            return after
        store.add_piece(position, self._begun.seq, self._place, self._piece)
        self._crc = zlib.crc32(self._piece, self._crc)
        self._place += 1
        self._piece = b""
        return position

    def close(self) -> None:
        """Give it up; its pieces are removed with the next base."""
        self._source.close()

    def _take(self) -> bytes:
        taken = bytearray()
        while len(taken) < STEP_BYTES:
            self._rest = self._rest or memoryview(next(self._pieces, b""))
            if not self._rest:
                break
            cut = STEP_BYTES - len(taken)
            taken += self._rest[:cut]
            self._rest = self._rest[cut:]
        return bytes(taken)
