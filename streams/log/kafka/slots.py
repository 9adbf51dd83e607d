"""What a reader holds of one partition: records read and not yet polled, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.errors import LogError
from streams.log.base import Record
from streams.log.batches import RecordBatch

__all__ = ["Chunk", "Slot"]


class Chunk(NamedTuple):
    """Records that follow one another in a partition, and what they take in memory, bytes."""

    records: RecordBatch
    size: int


@dataclass(slots=True)
class Slot:
    """One partition of a reader.

    Attributes
    ----------
    offset
        Of the next record to be polled.
    failure
        Why the partition cannot be read from there on.
    asked
        When it was polled last, by the monotonic clock, s.
    starving
        Since when it has brought nothing though it holds more; None when it is well.
    remedies
        What was tried since against that.
    reached
        Offset after the last record that came.
    """

    partition: int
    offset: int = -1
    failure: LogError | None = None
    asked: float = 0.0
    starving: float | None = None
    remedies: int = 0
    reached: int = 0
    paused: bool = False
    size: int = 0
    chunks: deque[Chunk] = field(default_factory=deque)

    def move(self, offset: int) -> None:
        """Begin anew at an offset."""
        self.offset = offset
        self.failure = None
        self.starving = None
        self.remedies = 0
        self.reached = 0
        self.size = 0
        self.chunks.clear()

    def add(self, chunk: Chunk) -> None:
        """Hold what came."""
        self.chunks.append(chunk)
        self.reached = chunk.records[-1].offset + 1
        self.size += chunk.size
        self.starving = None
        self.remedies = 0

    def take(self, limit: int) -> Sequence[Record]:
        """Up to ``limit`` of the records held, from the next on."""
        if not self.chunks or limit < 1:
            return []
        records, size = self.chunks.popleft()
        if len(records) > limit:
            rest = size * (len(records) - limit) // len(records)
            self.chunks.appendleft(Chunk(records[limit:], rest))
            records, size = records[:limit], size - rest
        self.size -= size
        self.offset = records[-1].offset + 1
        return records
