"""What a log is: records in order, each with the stamp the log gave it when it was appended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from streams.errors import LogError

__all__ = ["CATALOGUE", "EVENTS", "TOPICS", "EventLog", "Record", "check_topic"]

EVENTS = "events"
CATALOGUE = "catalogue"
TOPICS = (EVENTS, CATALOGUE)


class Record(NamedTuple):
    """One record. Offsets of a topic are 0, 1, 2, …; stamps (ms) never go back."""

    offset: int
    stamp: int
    key: str
    value: bytes


class EventLog(Protocol):
    """An append-only log of two topics, `EVENTS` and `CATALOGUE`."""

    @property
    def identity(self) -> str:
        """Name drawn when the log was created: another log under the same path differs."""
        ...

    def now_ms(self) -> int:
        """The clock that stamps records, ms."""
        ...

    def append(self, topic: str, entries: Sequence[tuple[str, bytes]]) -> list[int]:
        """Append ``(key, value)`` pairs, all or none; returns their offsets. Raises LogError."""
        ...

    def poll(self, topic: str, offset: int, limit: int) -> list[Record]:
        """Up to ``limit`` records from ``offset`` on, [] at the end. Raises LogError."""
        ...

    def end(self, topic: str) -> int:
        """Offset the next record will get. Raises LogError."""
        ...

    def close(self) -> None:
        """Release files and threads; closing twice is harmless."""
        ...


def check_topic(topic: str) -> str:
    """Return the topic; raises ``LogError`` when it is not one of ours."""
    if topic not in TOPICS:
        raise LogError(f"topic is {topic!r}; give one of {list(TOPICS)}")
    return topic
