"""Reading one topic of Kafka by position: any partition, from any offset, as polled."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from streams.errors import LogError, LostRecordsError, UnfitTopicError
from streams.log.base import Place, Record
from streams.log.kafka.clients import make_consumer, wrapped
from streams.log.kafka.clock import BrokerClock
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.decode import decode
from streams.log.kafka.library import LogTruncationError, OffsetOutOfRangeError, TopicPartition
from streams.log.kafka.slots import Slot
from streams.log.kafka.topics import Topics
from streams.log.whole import take_whole_batches

__all__ = ["Reader"]

logger = logging.getLogger(__name__)

FETCH_WAIT_MS = 100  # a partition added or sought waits so long for what the broker holds back
FETCH_BYTES = 512 << 10  # compressed, of one partition at once
STEPS_MS = (0, 1, 2, 5, 10, 20)  # kafka-python may sleep through a whole step
ROUND = 500  # batches (or records, one by one) taken over at once, at most
FORGET_SECONDS = 60.0  # a partition nobody polls is read no more
END_SECONDS = 0.2  # an end may be so old
QUIET_SECONDS = 0.002  # after nothing came, nobody asks for so long


class Reader:
    """One consumer without a group, assigned the partitions that were polled lately.

    What comes before it is polled is kept, up to the bounds set; beyond them partitions pause.
    Threads may share it, one at a time: a thread that polls another topic has another reader.
    """

    def __init__(self, config: KafkaConfig, topic: str, topics: Topics, clock: BrokerClock) -> None:
        self._config = config
        self._topic = topic
        self._name = config.name(topic)
        self._topics = topics
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: dict[int, Slot] = {}
        self._ends: dict[int, int] = {}
        self._ends_at = 0.0
        self._noting = threading.Lock()  # who appends waits for no one who polls
        self._noted: dict[int, int] = {}
        self._quiet_until = 0.0
        self._mean = 500.0
        self._consumer: Any = None
        self._identity = ""
        self._closed = False

    @property
    def buffered_bytes(self) -> int:
        """Bytes read and not yet polled."""
        return sum(slot.size for slot in self._slots.values())

    def poll(self, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Up to ``limit`` records from ``offset`` on, [] at the end.

        Raises
        ------
        LostRecordsError
            When the records from ``offset`` on are not there any more.
        UnfitTopicError
            When the topic was made anew, or its stamps are not of the append.
        LogError
            When no broker answers, or the records that are there do not come.
        """
        with self._lock:
            slot = self._slot(partition)
            slot.asked = time.monotonic()
            if slot.offset != offset:
                self._seek(slot, offset)
            if not slot.chunks and slot.failure is None:
                self._fetch(slot)
            if slot.failure is not None and not slot.chunks:
                raise slot.failure
            records = slot.take(limit)
            if records:
                self._regulate()
            return records

    def end(self, partition: int) -> int:
        """Offset the next record will get, at most 0.2 s ago. Raises LogError."""
        with self._lock:
            end = self._end(partition)
            slot = self._slots.get(partition)
            if slot is not None and self._drained(slot, end):
                return min(slot.offset, end)  # what stands between is no record: a marker
            return end

    def note_ends(self, places: Iterable[Place]) -> None:
        """Take note of records of this topic that were acknowledged."""
        with self._noting:
            for place in places:
                self._noted[place.partition] = max(
                    self._noted.get(place.partition, 0), place.offset + 1
                )

    def close(self) -> None:
        """Close the consumer; closing twice is harmless."""
        self._closed = True
        with self._lock:
            self._drop()

    # ---- what is held ------------------------------------------------------------------------

    def _slot(self, partition: int) -> Slot:
        self._open()
        slot = self._slots.get(partition)
        if slot is None:
            count = self._topics.partitions(self._topic)
            if not 0 <= partition < count:
                raise LogError(f"partition is {partition}; {self._name} has {count}, from 0")
            slot = self._slots[partition] = Slot(partition)
            self._assign()
        return slot

    def _assign(self) -> None:
        now = time.monotonic()
        for slot in list(self._slots.values()):
            if slot.asked and now - slot.asked > FORGET_SECONDS:
                del self._slots[slot.partition]
        with wrapped(f"read {self._name}"):
            self._consumer.assign([self._key(slot) for slot in self._slots.values()])
            for slot in self._slots.values():
                if slot.offset < 0:
                    slot.paused = True
                    self._consumer.pause(self._key(slot))
                    self._consumer.seek(self._key(slot), 0)

    def _key(self, slot: Slot) -> Any:
        return TopicPartition(self._name, slot.partition)

    def _seek(self, slot: Slot, offset: int) -> None:
        slot.move(max(offset, 0))
        with wrapped(f"read {self._name}"):
            self._consumer.seek(self._key(slot), slot.offset)
            self._consumer.resume(self._key(slot))
        slot.paused = False

    def _regulate(self) -> None:
        full = self.buffered_bytes >= self._config.total_bytes
        for slot in self._slots.values():
            wait = slot.failure is not None or slot.size >= self._config.partition_bytes
            wait = wait or slot.offset < 0 or (full and slot.size > 0)
            if wait != slot.paused:
                slot.paused = wait
                change = self._consumer.pause if wait else self._consumer.resume
                change(self._key(slot))

    # ---- fetching ----------------------------------------------------------------------------

    def _fetch(self, slot: Slot) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._take_over(0)
        deadline = now + self._config.fetch_ms / 1000
        steps = iter(STEPS_MS)
        while not slot.chunks and slot.failure is None:
            if self._drained(slot, self._end(slot.partition)):
                slot.starving = None
                return
            self._rescue(slot)
            if time.monotonic() > deadline:
                raise LogError(
                    f"{self._name}-{slot.partition} ends at {self._ends[slot.partition]}, and "
                    f"nothing came from {slot.offset} on within {self._config.fetch_ms} ms"
                )
            self._take_over(next(steps, STEPS_MS[-1]))

    def _take_over(self, wait_ms: int) -> None:
        room = max(self._config.total_bytes - self.buffered_bytes, 0)
        count = min(max(int(room / self._mean), 1), ROUND)
        _unpark(self._consumer)
        try:
            polled = self._consumer.poll(timeout_ms=wait_ms, max_records=count)
        except OffsetOutOfRangeError as error:
            self._lost(dict(error.args[0]))
            return
        except LogTruncationError as error:
            self._truncated(error)
            return
        except Exception as error:
            self._drop()  # what failed may have been on its way to any partition
            raise LogError(f"cannot read {self._name}: {type(error).__name__}: {error}") from error
        if not polled:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            return
        self._check_identity()
        for key, found in polled.items():
            self._hold(self._slots[key.partition], found)
        self._regulate()

    def _hold(self, slot: Slot, found: Sequence[Any]) -> None:
        try:
            chunks = decode(f"{self._name}-{slot.partition}", found)
        except LogError as error:
            slot.failure = error
            return
        for chunk in chunks:
            slot.add(chunk)
        if chunks:
            self._mean = max(sum(chunk.size for chunk in chunks) / len(found), 1.0)
            self._clock.read(chunks[-1].records[-1].stamp)

    def _drained(self, slot: Slot, end: int) -> bool:
        if slot.chunks or slot.failure is not None or slot.offset < 0:
            return False
        if slot.offset > end:
            slot.failure = self._explain(slot.partition, slot.offset)
        if slot.offset >= end:
            return True
        with wrapped(f"read {self._name}"):
            position = self._consumer.position(self._key(slot), timeout_ms=FETCH_WAIT_MS)
        return position is not None and position >= end

    def _end(self, partition: int) -> int:
        now = time.monotonic()
        slot = self._slots.get(partition)
        reached = max(self._noted.get(partition, 0), slot.reached if slot else 0)
        stale = partition not in self._ends or now - self._ends_at > END_SECONDS
        if stale or (slot is not None and slot.offset > max(self._ends[partition], reached)):
            self._ends = self._topics.ends(self._topic, {partition, *self._slots})
            self._ends_at = now
        return max(self._ends[partition], reached)

    # ---- what goes wrong ---------------------------------------------------------------------

    def _lost(self, offsets: dict[Any, int]) -> None:
        for key, offset in offsets.items():
            slot = self._slots.get(key.partition)
            if slot is None or slot.offset > offset:
                continue
            try:
                slot.failure = self._explain(key.partition, offset)
            except LogError as error:
                slot.failure = error
        self._regulate()

    def _explain(self, partition: int, offset: int) -> LogError:
        self._check_identity(ask=True)
        begin = self._topics.begins(self._topic, [partition])[partition]
        end = self._topics.ends(self._topic, [partition])[partition]
        where = f"{self._name}-{partition}"
        if offset < begin:
            return LostRecordsError(
                f"records {offset} to {begin - 1} of {where} are gone: retention passed them. "
                "Restore a snapshot that needs none of them, or reset to what is left"
            )
        return LostRecordsError(
            f"{where} ends at {end}, before {offset}: the brokers lost records that were read. "
            "Restore a snapshot from before, or reset to what is left"
        )

    def _truncated(self, error: Any) -> None:
        for key, divergent in error.divergent_offsets.items():
            slot = self._slots.get(key.partition)
            if slot is not None:
                at = "an unknown offset" if divergent is None else divergent.offset
                slot.failure = LostRecordsError(
                    f"{self._name}-{key.partition} was cut at {at} and written anew: the brokers "
                    f"lost records that were read before {slot.offset}. Restore a snapshot from "
                    "before, or reset to what is left"
                )
        self._regulate()

    def _check_identity(self, *, ask: bool = False) -> None:
        # kafka-python fetches by name; it learns the topic's id with its metadata.
        found = self._topics.identity(self._topic) if ask else ""
        if not ask:
            known = self._consumer._cluster.topic_id(self._name)  # noqa: SLF001 - offered nowhere
            found = str(known) if known is not None else self._identity
        if found != self._identity:
            raise UnfitTopicError(
                f"{self._name} was made anew: it had the id {self._identity} and has {found}. "
                "What was learned came from the old topic: reset, or restore the old topic"
            )

    def _rescue(self, slot: Slot) -> None:
        now = time.monotonic()
        if slot.starving is None:
            slot.starving = now
        waited, stall = now - slot.starving, self._config.stall_ms / 1000
        if waited < stall * (slot.remedies + 1):
            return
        slot.remedies += 1
        with wrapped(f"read {self._name}"):
            position = self._consumer.position(self._key(slot), timeout_ms=FETCH_WAIT_MS)
        logger.warning(
            "%s-%d brought nothing for %.0f s: at %s, wanted %d, end %d; %s",
            self._name,
            slot.partition,
            waited,
            position,
            slot.offset,
            self._ends.get(slot.partition, -1),
            "sought anew" if slot.remedies == 1 else "reading with a new consumer",
        )
        if slot.remedies == 1:
            with wrapped(f"read {self._name}"):
                self._consumer.seek(self._key(slot), slot.offset)
        else:
            starving, remedies = slot.starving, slot.remedies
            self._drop()
            self._open()
            kept = self._slots[slot.partition]
            kept.starving, kept.remedies = starving, remedies

    # ---- the consumer ------------------------------------------------------------------------

    def _open(self) -> None:
        if self._closed:
            raise LogError("the log is closed; open another")
        if self._consumer is not None:
            return
        # kafka-python asks brokers to create what it does not find, whatever it is told.
        identity = self._topics.identity(self._topic)
        self._identity = self._identity or identity
        config = self._config
        self._consumer = make_consumer(
            config,
            fetch_max_wait_ms=min(FETCH_WAIT_MS, config.request_ms // 2),
            fetch_max_bytes=config.total_bytes,
            max_partition_fetch_bytes=min(FETCH_BYTES, config.partition_bytes),
        )
        take_whole_batches(self._consumer)
        for slot in self._slots.values():
            slot.move(max(slot.offset, 0))
        if self._slots:
            self._assign()
            for slot in self._slots.values():
                self._seek(slot, slot.offset)
        self._check_identity(ask=True)

    def _drop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                consumer.close(autocommit=False, timeout_ms=0)


def _unpark(consumer: Any) -> None:
    # What kafka-python had begun to read of a partition when it was paused is read on when the
    # place of the partition at hand is empty; after the last record it forgets to empty it, and
    # the paused partition would bring nothing for ever.
    fetcher = consumer._fetcher  # noqa: SLF001
    if not getattr(fetcher, "_next_partition_records", True):
        fetcher._next_partition_records = None  # noqa: SLF001
