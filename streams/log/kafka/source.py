"""A consumer of one topic without a group, and what may go wrong with it in words of ours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from streams.errors import LostRecordsError, UnfitTopicError
from streams.log.kafka.clients import cannot, make_consumer, wrapped
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.library import LogTruncationError, OffsetOutOfRangeError, TopicPartition
from streams.log.kafka.topics import Topics
from streams.log.whole import take_whole_batches

__all__ = ["FETCH_WAIT_MS", "Polled", "Source"]

FETCH_WAIT_MS = 100  # a partition added or sought waits so long for what the broker holds back
FETCH_BYTES = 512 << 10  # compressed, of one partition at once
VERIFY_SECONDS = 1.0  # records that come are of the topic that was known so long ago
WAY_OUT = "Restore a snapshot that does not need them, or reset to what is left"


class Polled(NamedTuple):
    """What a poll brought, by partition: kafka-python's objects, or why there will be none."""

    found: Mapping[int, Sequence[Any]]
    failed: Mapping[int, UnfitTopicError]


class Source:
    """Reads partitions of a topic from where it is told. One thread at a time.

    After any other error than those in `Polled` there is no consumer any more: the next `open`
    makes another, which must be told all anew, and nothing is passed over.
    """

    def __init__(self, config: KafkaConfig, topic: str, topics: Topics) -> None:
        self.name = config.name(topic)
        self._config = config
        self._topic = topic
        self._topics = topics
        self._consumer: Any = None
        self._identity = ""
        self._polled = 0.0
        self._doubted = 0.0  # when to ask whether the topic is still the same

    def open(self) -> bool:
        """Make a consumer if there is none; returns whether it did.

        Raises
        ------
        UnfitTopicError
            When the topic was made anew since it was first opened.
        LogError
            When it does not exist or no broker answers.
        """
        if self._consumer is not None:
            return False
        self._check(self._topics.identity(self._topic))
        config = self._config
        self._consumer = make_consumer(
            config,
            fetch_max_wait_ms=min(FETCH_WAIT_MS, max(config.request_ms // 2, 1)),
            fetch_max_bytes=config.total_bytes,
            max_partition_fetch_bytes=min(FETCH_BYTES, config.partition_bytes),
        )
        take_whole_batches(self._consumer)
        return True

    @property
    def opened(self) -> bool:
        """Whether there is a consumer."""
        return self._consumer is not None

    def close(self) -> None:
        """Close the consumer; `open` makes another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                consumer.close(autocommit=False, timeout_ms=0)

    def assign(self, partitions: Iterable[int]) -> None:
        """Read these and no others; those new must be sought before the next poll."""
        with wrapped(f"read {self.name}"):
            self._consumer.assign([self._key(partition) for partition in partitions])

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from an offset on."""
        with wrapped(f"read {self.name}"):
            self._consumer.seek(self._key(partition), offset)

    def pause(self, partition: int, *, paused: bool) -> None:
        """Fetch no more of a partition for now, or go on."""
        change = self._consumer.pause if paused else self._consumer.resume
        change(self._key(partition))

    def position(self, partition: int) -> int | None:
        """Offset a partition was read up to, including what is no record."""
        with wrapped(f"read {self.name}"):
            position = self._consumer.position(self._key(partition), timeout_ms=FETCH_WAIT_MS)
        return None if position is None else int(position)

    def poll(self, wait_ms: int, count: int) -> Polled:
        """Take over up to ``count`` batches (records, where they are read one by one).

        Raises
        ------
        LogError
            When no broker answers, or what came is broken.
        UnfitTopicError
            When what came is of a topic made anew.
        """
        _unpark(self._consumer)
        if time.monotonic() - self._polled > FETCH_WAIT_MS / 1000:
            self._doubted = 0.0  # no fetch was under way for a while
        try:
            found = self._consumer.poll(timeout_ms=wait_ms, max_records=count)
            if found:
                self._verify()
            self._polled = time.monotonic()
            return Polled({key.partition: items for key, items in found.items()}, {})
        except OffsetOutOfRangeError as error:
            return Polled({}, self._explain(error.args[0]))
        except LogTruncationError as error:
            return Polled({}, self._explain_cut(error.divergent_offsets))
        except Exception as error:
            # The consumer may have gone past records that were not handed over.
            self.close()
            raise cannot(f"read {self.name}", error) from error

    def explain(self, partition: int, offset: int) -> LostRecordsError:
        """Say why there are no records from an offset on. Raises as `open`."""
        self._check(self._topics.identity(self._topic))
        begin = self._topics.begins(self._topic, [partition])[partition]
        where = f"{self.name}-{partition}"
        if offset < begin:
            return LostRecordsError(
                f"records {offset} to {begin - 1} of {where} are gone: retention passed them. "
                f"{WAY_OUT}"
            )
        end = self._topics.ends(self._topic, [partition])[partition]
        return LostRecordsError(
            f"{where} ends at {end}, before {offset}: the brokers lost records that were read. "
            f"{WAY_OUT}"
        )

    def _explain(self, offsets: Mapping[Any, int]) -> dict[int, UnfitTopicError]:
        try:
            return {
                key.partition: self.explain(key.partition, offset)
                for key, offset in offsets.items()
            }
        except UnfitTopicError as error:
            return {key.partition: error for key in offsets}

    def _explain_cut(self, offsets: Mapping[Any, Any]) -> dict[int, UnfitTopicError]:
        return {
            key.partition: LostRecordsError(
                f"{self.name}-{key.partition} was cut at "
                f"{'an unknown offset' if cut is None else cut.offset} and went on from there: the "
                f"brokers lost records that were read. {WAY_OUT}"
            )
            for key, cut in offsets.items()
        }

    def _verify(self) -> None:
        # kafka-python fetches by name, so what comes may be of a topic made anew. A fetch under
        # way meanwhile ends in an error, and metadata are asked for; without one nobody knows.
        now = time.monotonic()
        cluster = self._consumer._cluster  # noqa: SLF001 - offered nowhere
        known = cluster.topic_id(self.name)
        if known is not None:
            self._check(str(known))
        if cluster.need_update or now > self._doubted:
            self._check(self._topics.identity(self._topic))
            self._doubted = now + VERIFY_SECONDS

    def _check(self, identity: str) -> None:
        if self._identity and identity != self._identity:
            raise UnfitTopicError(
                f"{self.name} was made anew: it had the id {self._identity} and has {identity}. "
                "What was learned came from the old topic: reset, or restore the old topic"
            )
        self._identity = identity

    def _key(self, partition: int) -> Any:
        return TopicPartition(self.name, partition)


def _unpark(consumer: Any) -> None:
    # What kafka-python had begun to read of a partition when it was paused is read on when the
    # place of the partition at hand is empty; after the last record it forgets to empty it, and
    # the paused partition would bring nothing for ever.
    fetcher = consumer._fetcher  # noqa: SLF001
    if not getattr(fetcher, "_next_partition_records", True):
        fetcher._next_partition_records = None  # noqa: SLF001
