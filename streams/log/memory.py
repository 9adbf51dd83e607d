"""A log in memory with a clock that its owner sets: for tests, simulation and replay."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Sequence

from streams.errors import LogError
from streams.log.base import (
    CATALOGUE,
    EVENTS,
    OUTCOMES,
    Place,
    Record,
    check_topic,
    choose_partition,
)

__all__ = ["MemoryLog"]


class MemoryLog:
    """Records in lists; gone with the process.

    Parameters
    ----------
    now_ms
        First reading of the clock, which stands still until ``time_ms`` is set.
    partitions
        Number of partitions of the events.
    outcomes
        Number of partitions of the outcomes, as many when not given; 0 for no such topic.
    """

    def __init__(
        self, now_ms: int = 0, *, partitions: int = 1, outcomes: int | None = None
    ) -> None:
        self.time_ms = now_ms
        self._identity = uuid.uuid4().hex
        counts = {EVENTS: partitions, CATALOGUE: 1, OUTCOMES: outcomes}
        self._records: dict[str, list[list[Record]]] = {
            topic: [[] for _ in range(partitions if n is None else n)]
            for topic, n in counts.items()
        }
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def of(cls, topic: str, records: Iterable[Record]) -> MemoryLog:
        """Make a log of records that are stamped already, their offsets 0, 1, 2, …."""
        log = cls()
        log._records[check_topic(topic)] = [list(records)]
        return log

    def topic_id(self, topic: str) -> str:
        """Return a name drawn when the log was made."""
        check_topic(topic)
        return self._identity

    def partitions(self, topic: str) -> int:
        """Return the number of partitions."""
        return len(self._records[check_topic(topic)])

    def now_ms(self) -> int:
        """Return ``time_ms``."""
        return self.time_ms

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Append ``(key, value)`` pairs at the clock's time; returns where they stand."""
        places = []
        with self._lock:
            for key, value in entries:
                number = partition
                if number is None:
                    number = choose_partition(key, len(self._records[check_topic(topic)]))
                records = self._of(topic, number)
                stamp = max(self.time_ms, records[-1].stamp) if records else self.time_ms
                places.append(Place(number, len(records)))
                records.append(Record(len(records), stamp, key, value))
            self._of(topic, 0)
        return places

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> list[Record]:
        """Up to ``limit`` records from ``offset`` on."""
        with self._lock:
            return self._of(topic, partition)[max(offset, 0) : max(offset, 0) + limit]

    def begin(self, topic: str, partition: int = 0) -> int:
        """Return 0: all is kept."""
        with self._lock:
            self._of(topic, partition)
        return 0

    def end(self, topic: str, partition: int = 0) -> int:
        """Offset the next record will get."""
        with self._lock:
            return len(self._of(topic, partition))

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def _of(self, topic: str, partition: int) -> list[Record]:
        if self._closed:
            raise LogError("the log is closed; open another")
        held = self._records[check_topic(topic)]
        if not 0 <= partition < len(held):
            raise LogError(f"partition is {partition}; {topic} has {len(held)}, from 0")
        return held[partition]
