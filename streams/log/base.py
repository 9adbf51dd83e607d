"""What a log is: records in order, each with the stamp the log gave it when it was appended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from engine.batches import hash_key
from streams.errors import LogError

__all__ = [
    "CATALOGUE",
    "EVENTS",
    "OUTCOMES",
    "TOPICS",
    "EventLog",
    "Place",
    "Record",
    "check_topic",
    "choose_partition",
]

EVENTS = "events"
CATALOGUE = "catalogue"
OUTCOMES = "outcomes"
TOPICS = (EVENTS, CATALOGUE, OUTCOMES)


class Record(NamedTuple):
    """One record. Offsets of a partition grow; stamps (ms) never go back."""

    offset: int
    stamp: int
    key: str
    value: bytes


class Place(NamedTuple):
    """Where a record stands in its topic."""

    partition: int
    offset: int


class EventLog(Protocol):
    """An append-only log.

    `EVENTS` and `OUTCOMES` have partitions, each ordered for itself; `CATALOGUE` has one.
    """

    def topic_id(self, topic: str) -> str:
        """Name drawn when the topic was created: another one under the same name differs."""
        ...

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, 0 when it does not exist. Raises LogError."""
        ...

    def now_ms(self) -> int:
        """The clock that stamps records, ms."""
        ...

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Append ``(key, value)`` pairs; returns where they stand. Raises LogError.

        Records of one key go to one partition in the order given, or all to ``partition``. With
        one partition all are appended or none; across several, those before the failure may be.
        """
        ...

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> Sequence[Record]:
        """Up to ``limit`` records from ``offset`` on, [] at the end. Raises LogError.

        Also when records from ``offset`` on are there no more.
        """
        ...

    def begin(self, topic: str, partition: int = 0) -> int:
        """Offset of the oldest record still kept. Raises LogError."""
        ...

    def end(self, topic: str, partition: int = 0) -> int:
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


def choose_partition(key: str, partitions: int) -> int:
    """Partition of a key, in logs that leave the choice to us."""
    return hash_key(key) % partitions if partitions > 1 else 0
