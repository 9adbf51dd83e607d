"""A log as it was at one moment: what is appended later is not seen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from streams.errors import LogError, UnfitTopicError
from streams.log.base import CATALOGUE, EVENTS, OUTCOMES, EventLog, Place, Record, check_topic

__all__ = ["Prefix"]

# What is made of others ends first: outcomes of events, events of the catalogue.
ORDER = (OUTCOMES, EVENTS, CATALOGUE)


class Prefix:
    """Every partition of a log up to where it ended when this was made.

    Reading it to its end comes to an end, however much is appended meanwhile. All that its records
    refer to is in it too: the events of its outcomes, and the catalogue its slates were made of.

    Parameters
    ----------
    log
        Closed with this one.

    Raises
    ------
    LogError
        When the log cannot be asked.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._ids: dict[str, str] = {}
        self._ends: dict[str, list[int]] = {}
        for topic in ORDER:
            count = log.partitions(topic)
            self._ends[topic] = [log.end(topic, partition) for partition in range(count)]
            if count:
                self._ids[topic] = log.topic_id(topic)

    def topic_id(self, topic: str) -> str:
        """Return the topic's id as it was; raises LogError when there was no such topic."""
        if check_topic(topic) not in self._ids:
            raise LogError(f"the log has no topic {topic}")
        return self._ids[topic]

    def partitions(self, topic: str) -> int:
        """Return the number of partitions there were."""
        return len(self._ends[check_topic(topic)])

    def now_ms(self) -> int:
        """Return the log's own time."""
        return self._log.now_ms()

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Refuse: raises LogError."""
        del topic, entries, partition
        raise LogError("a log as of a moment is for reading; append to the log itself")

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> Sequence[Record]:
        """Up to ``limit`` records from ``offset`` on, [] at the end that was."""
        end = self.end(topic, partition)
        if offset >= end:
            return []
        records = self._log.poll(topic, offset, limit, partition)
        if records and records[-1].offset >= end:
            return records[: bisect_left(records, end, key=_offset)]
        return records

    def begin(self, topic: str, partition: int = 0) -> int:
        """Offset of the oldest record still kept."""
        self.end(topic, partition)
        return self._log.begin(topic, partition)

    def end(self, topic: str, partition: int = 0) -> int:
        """Offset where the partition ended."""
        ends = self._ends[check_topic(topic)]
        if not 0 <= partition < len(ends):
            raise LogError(f"partition is {partition}; {topic} has {len(ends)}, from 0")
        return ends[partition]

    def check_same(self) -> None:
        """Raise ``UnfitTopicError`` when a topic was made anew since."""
        for topic, identity in self._ids.items():
            found = self._log.topic_id(topic)
            if found != identity:
                raise UnfitTopicError(
                    f"topic {topic} was made anew meanwhile: its id was {identity} and is {found}; "
                    "start again"
                )

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def _offset(record: Record) -> int:
    return record.offset
