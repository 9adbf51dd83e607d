"""A whole save of one moment, made piece by piece while the table goes on learning."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.memory import reserve
from engine.embeddings.saving import begin_save
from engine.embeddings.table import EmbeddingTable
from engine.errors import SnapshotError
from engine.kernels.embeddings import before as of
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.before import BLOCK, STATES
from engine.kernels.embeddings.layout import SAVED

__all__ = ["TableSnapshot"]


class TableSnapshot:
    """`save_table` of the moment this is made, between two batches. Writes: table, its `before`.

    The owner takes `pieces` between later batches, as many each time as it has time for; joined
    they are the save. Deltas follow it when it begins right after `mark_saved`. A block of records
    that is written before its piece was taken is copied first, so at the worst the table is in
    memory twice.

    Raises
    ------
    SnapshotError
        When the table has another one going on.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        t = table.table
        if len(t.before):
            raise SnapshotError("a snapshot of this table is being taken; end or close it first")
        self._table, self._t = table, t
        self._rows, self._lines = int(t.head[at.FRESH]), len(t.line_marks)
        self._begin = begin_save(table, self._rows, self._lines, whole=True)
        self._begin += t.head[:SAVED].tobytes()
        self._before = self._reserve()
        table.table = t._replace(before=self._before)

    def _reserve(self) -> NDArray[np.uint64]:
        rows, lines = -(-self._rows // BLOCK), -(-self._lines // BLOCK)
        row_images = -(-(STATES + rows + lines) // 8) * 8
        line_images = row_images + rows * BLOCK * self._t.words.shape[1] // 2
        before: NDArray[Any] = reserve((line_images + lines * BLOCK * 8,), np.uint64)
        before[of.ROW_BLOCKS], before[of.LINE_BLOCKS] = rows, lines
        before[of.ROW_IMAGES], before[of.LINE_IMAGES] = row_images, line_images
        before[STATES : STATES + rows + lines] = of.WANTED
        return before

    @property
    def size(self) -> int:
        """Bytes of the save."""
        records = self._rows * self._t.words[:1].nbytes
        return len(self._begin) + records + self._t.sketch.nbytes + 4

    def pieces(self) -> Iterator[bytes]:
        """Yield the save in pieces of about half a megabyte; to be called once.

        Between two of them the table may be claimed from, learned, erased, cleared, restored.
        """
        try:
            crc = zlib.crc32(self._begin)
            yield self._begin
            words, lines = self._t.words, self._t.sketch.reshape(-1, 8)
            parts = ((words, self._rows, of.ROW_IMAGES, 0), (lines, self._lines, of.LINE_IMAGES, 1))
            for source, count, images, second in parts:
                first_state = STATES + second * int(self._before[of.ROW_BLOCKS])
                for block in range(-(-count // BLOCK)):
                    piece = self._take(source, count, int(self._before[images]), block, first_state)
                    crc = zlib.crc32(piece, crc)
                    yield piece
            yield crc.to_bytes(4, "little")
        finally:
            self.close()

    def _take(
        self, source: NDArray[Any], count: int, images: int, block: int, first_state: int
    ) -> bytes:
        first, state = block * BLOCK, first_state + block
        n = min(BLOCK, count - first)
        if self._before[state] == of.KEPT:
            size = source.shape[1] * source.itemsize // 8
            start = images + first * size
            piece = self._before[start : start + n * size].tobytes()
        else:
            piece = source[first : first + n].tobytes()
        self._before[state] = 0
        return piece

    def close(self) -> None:
        """End it: nothing more is kept for it."""
        if self._table.table.before is self._before:
            self._table.table = self._table.table._replace(before=np.zeros(0, dtype=np.uint64))
