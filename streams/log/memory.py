"""A log in memory with a clock that its owner sets: for tests, simulation and replay."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Sequence

from streams.errors import LogError
from streams.log.base import TOPICS, Record, check_topic

__all__ = ["MemoryLog"]


class MemoryLog:
    """Records in lists; gone with the process.

    Parameters
    ----------
    now_ms
        First reading of the clock, which stands still until ``time_ms`` is set.
    """

    def __init__(self, now_ms: int = 0) -> None:
        self.time_ms = now_ms
        self.identity = uuid.uuid4().hex
        self._records: dict[str, list[Record]] = {topic: [] for topic in TOPICS}
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def of(cls, topic: str, records: Iterable[Record]) -> MemoryLog:
        """Make a log of records that are stamped already, their offsets 0, 1, 2, …."""
        log = cls()
        log._records[check_topic(topic)] = list(records)
        return log

    def now_ms(self) -> int:
        """Return ``time_ms``."""
        return self.time_ms

    def append(self, topic: str, entries: Sequence[tuple[str, bytes]]) -> list[int]:
        """Append ``(key, value)`` pairs at the clock's time; returns their offsets."""
        with self._lock:
            records = self._open(topic)
            stamp = max(self.time_ms, records[-1].stamp) if records else self.time_ms
            start = len(records)
            records.extend(
                Record(offset, stamp, key, value)
                for offset, (key, value) in enumerate(entries, start=start)
            )
            return list(range(start, len(records)))

    def poll(self, topic: str, offset: int, limit: int) -> list[Record]:
        """Up to ``limit`` records from ``offset`` on."""
        with self._lock:
            return self._open(topic)[max(offset, 0) : max(offset, 0) + limit]

    def end(self, topic: str) -> int:
        """Offset the next record will get."""
        with self._lock:
            return len(self._open(topic))

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def _open(self, topic: str) -> list[Record]:
        if self._closed:
            raise LogError("the log is closed; open another")
        return self._records[check_topic(topic)]
