"""The event log on Kafka."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from streams.errors import LogError
from streams.log.base import Place, Record, check_topic
from streams.log.kafka.checks import Finding, TopicFacts
from streams.log.kafka.clock import BrokerClock
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.reader import Reader
from streams.log.kafka.topics import Topics
from streams.log.kafka.writer import Writer

__all__ = ["KafkaLog", "open_kafka"]


class KafkaLog:
    """An event log whose topics are Kafka's. Connects when it is first used.

    Threads may share it: appends run side by side, polls of one topic wait for each other.
    Processes open one each.

    Records come at least once: an append that failed may have been written all the same, and one
    repeated by its caller then stands twice. Joiners drop repeated impressions and feedback.

    Parameters
    ----------
    config
        Where it is, and its bounds.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        self._clock = BrokerClock()
        self._topics = Topics(config)
        self._writer = Writer(config, self._topics, self._clock)
        self._readers: dict[str, Reader] = {}
        self._lock = threading.Lock()
        self._closed = False

    def topic_id(self, topic: str) -> str:
        """Return Kafka's id of the topic. Raises LogError, also when it does not exist."""
        return self._topics.identity(topic)

    def partitions(self, topic: str) -> int:
        """Return the number of partitions, 0 when the topic does not exist. Raises LogError."""
        return self._topics.partitions(topic)

    def now_ms(self) -> int:
        """Milliseconds by the brokers' clock, as far as stamps seen tell it."""
        return self._clock.now_ms()

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Append ``(key, value)`` pairs; returns where they stand.

        Keys choose the partition as Kafka's own producers do.

        Raises
        ------
        LogError
            At once when too much waits already; when the brokers have not acknowledged all in
            time. Some may then be in the log, or arrive there yet.
        """
        places = self._writer.append(check_topic(topic), entries, partition)
        reader = self._readers.get(topic)
        if reader is not None:
            reader.note_ends(places)
        return places

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> Sequence[Record]:
        """Up to ``limit`` records from ``offset`` on, [] at the end.

        Raises
        ------
        LostRecordsError
            When the records from ``offset`` on are not there any more.
        UnfitTopicError
            When the topic was made anew, or a record bears a stamp that is not of its append.
        LogError
            When no broker answers, or the records that are there do not come.
        """
        return self._reader(topic).poll(partition, offset, limit)

    def begin(self, topic: str, partition: int = 0) -> int:
        """Offset of the oldest record still kept. Raises LogError."""
        return self._topics.begins(topic, [partition])[partition]

    def end(self, topic: str, partition: int = 0) -> int:
        """Offset the next record will get. Raises LogError."""
        end = self._topics.ends(topic, [partition])[partition]
        reader = self._readers.get(topic)
        return end if reader is None else reader.last(partition, end)

    def create_topics(self) -> list[str]:
        """Create the topics that are missing; returns their names. Raises LogError."""
        return self._topics.create()

    def check_topics(self, window_ms: int) -> list[Finding]:
        """What is wrong with the topics, errors first. Raises LogError when nobody answers.

        Parameters
        ----------
        window_ms
            The longest reward window.
        """
        return self._topics.check(window_ms)

    def describe(self) -> list[TopicFacts]:
        """What the brokers say of each topic that exists. Raises LogError."""
        return self._topics.describe()

    def brokers(self) -> list[str]:
        """``id host:port`` of each broker. Raises LogError."""
        return self._topics.brokers()

    @property
    def waiting_bytes(self) -> int:
        """Bytes appended and not yet acknowledged."""
        return self._writer.waiting_bytes

    @property
    def buffered_bytes(self) -> int:
        """Bytes read and not yet polled."""
        return sum(reader.buffered_bytes for reader in list(self._readers.values()))

    def close(self) -> None:
        """Close all connections, giving up what is not acknowledged; again is harmless."""
        self._closed = True
        self._writer.close()
        with self._lock:
            readers = list(self._readers.values())
        for reader in readers:
            reader.close()
        self._topics.close()

    def _reader(self, topic: str) -> Reader:
        check_topic(topic)
        if self._closed:
            raise LogError("the log is closed; open another")
        with self._lock:
            reader = self._readers.get(topic)
            if reader is None:
                reader = Reader(self.config, topic, self._topics, self._clock)
                self._readers[topic] = reader
        return reader


def open_kafka(url: str) -> KafkaLog:
    """Open ``kafka://host:port,host2:port/prefix?setting=value``; raises ``ConfigError``."""
    return KafkaLog(KafkaConfig.from_url(url))
