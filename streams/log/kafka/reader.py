"""Reading one topic of Kafka by position: any partition, from any offset, as polled."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from streams.errors import LogError, UnfitTopicError
from streams.log.base import Place, Record
from streams.log.kafka.clock import BrokerClock
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.decode import decode
from streams.log.kafka.slots import Slot
from streams.log.kafka.source import Source
from streams.log.kafka.topics import Topics

__all__ = ["Reader"]

logger = logging.getLogger(__name__)

STEPS_MS = (0, 1, 2, 5, 10, 20)  # kafka-python may sleep through a whole step
ROUND = 500  # batches taken over at once, at most
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
        self._topics = topics
        self._clock = clock
        self._source = Source(config, topic, topics)
        self._lock = threading.Lock()
        self._slots: dict[int, Slot] = {}
        self._ends: dict[int, int] = {}
        self._ends_at = 0.0
        self._noting = threading.Lock()  # who appends waits for no one who polls
        self._noted: dict[int, int] = {}
        self._quiet_until = 0.0
        self._swept = 0.0
        self._largest = 64_000.0
        self._closed = False

    @property
    def buffered_bytes(self) -> int:
        """Bytes read and not yet polled."""
        return sum(slot.size for slot in list(self._slots.values()))

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
            if slot.offset != offset:
                self._seek(slot, max(offset, 0))
            if not slot.chunks and slot.failure is None:
                self._fetch(slot)
            if slot.failure is not None and not slot.chunks:
                raise slot.failure
            records = slot.take(limit)
            if records:
                self._regulate()
            return records

    def last(self, partition: int, end: int) -> int:
        """Offset of the next record to poll when all up to ``end`` was polled, else ``end``.

        They differ by what is no record: markers that transactions leave.
        """
        slot = self._slots.get(partition)
        if slot is None or slot.offset >= end or not self._lock.acquire(blocking=False):
            return end
        try:
            held = slot.chunks or slot.failure is not None or not self._source.opened
            return end if held or not self._passed(slot, end) else slot.offset
        finally:
            self._lock.release()

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
            self._source.close()

    # ---- what is held ------------------------------------------------------------------------

    def _slot(self, partition: int) -> Slot:
        self._open()
        now = time.monotonic()
        slot = self._slots.get(partition)
        if slot is None:
            count = self._topics.partitions(self._topic)
            if not 0 <= partition < count:
                raise LogError(f"partition is {partition}; {self._source.name} has {count}, from 0")
            slot = self._slots[partition] = Slot(partition)
            self._source.assign(self._slots)
            self._seek(slot, 0)
        slot.asked = now
        if now - self._swept > FORGET_SECONDS:
            self._swept = now
            self._forget(now - FORGET_SECONDS)
        return slot

    def _forget(self, before: float) -> None:
        old = [slot.partition for slot in self._slots.values() if slot.asked < before]
        for partition in old:
            del self._slots[partition]
        if old:
            self._source.assign(self._slots)

    def _open(self) -> None:
        if self._closed:
            raise LogError("the log is closed; open another")
        if self._source.open() and self._slots:
            self._source.assign(self._slots)
            for slot in self._slots.values():
                self._seek(slot, slot.offset)

    def _seek(self, slot: Slot, offset: int) -> None:
        slot.move(offset)
        self._source.seek(slot.partition, offset)
        self._source.pause(slot.partition, paused=False)
        slot.paused = False

    def _regulate(self) -> None:
        full = self.buffered_bytes >= self._config.total_bytes
        for slot in self._slots.values():
            wait = slot.failure is not None or slot.size >= self._config.partition_bytes
            wait = wait or (full and slot.size > 0)
            if wait != slot.paused:
                slot.paused = wait
                self._source.pause(slot.partition, paused=wait)

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
                    f"{self._source.name}-{slot.partition} ends at {self._ends[slot.partition]}, "
                    f"and nothing came from {slot.offset} on within {self._config.fetch_ms} ms"
                )
            self._take_over(next(steps, STEPS_MS[-1]))

    def _take_over(self, wait_ms: int) -> None:
        room = max(self._config.total_bytes - self.buffered_bytes, 0)
        polled = self._source.poll(wait_ms, min(max(int(room / self._largest), 1), ROUND))
        if not polled.found and not polled.failed:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            return
        for partition, failure in polled.failed.items():
            self._slots[partition].failure = failure
        for partition, found in polled.found.items():
            self._hold(self._slots[partition], found)
        self._regulate()

    def _hold(self, slot: Slot, found: Sequence[Any]) -> None:
        try:
            chunks = decode(f"{self._source.name}-{slot.partition}", found)
        except UnfitTopicError as error:
            slot.failure = error
            return
        for chunk in chunks:
            slot.add(chunk)
        if chunks:
            mean = sum(chunk.size for chunk in chunks) / len(found)
            self._largest = max(mean, 0.9 * self._largest)
            self._clock.read(chunks[-1].records[-1].stamp)

    def _drained(self, slot: Slot, end: int) -> bool:
        """Whether nothing is left to come of a partition."""
        if slot.chunks or slot.failure is not None:
            return False
        if slot.offset > end:
            slot.failure = self._source.explain(slot.partition, slot.offset)
        if slot.offset >= end:
            return True
        return self._passed(slot, end)

    def _passed(self, slot: Slot, end: int) -> bool:
        position = self._source.position(slot.partition)
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

    def _rescue(self, slot: Slot) -> None:
        now = time.monotonic()
        if slot.starving is None:
            slot.starving = now
        waited, stall = now - slot.starving, self._config.stall_ms / 1000
        if waited < stall * (slot.remedies + 1):
            return
        slot.remedies += 1
        starving, remedies = slot.starving, slot.remedies
        logger.warning(
            "%s-%d brought nothing for %.1f s: at %s, wanted %d, end %d; %s",
            self._source.name,
            slot.partition,
            waited,
            self._source.position(slot.partition),
            slot.offset,
            self._ends.get(slot.partition, -1),
            "sought anew" if remedies == 1 else "reading with a new consumer",
        )
        if remedies == 1:
            self._source.seek(slot.partition, slot.offset)
            return
        self._source.close()
        self._open()
        slot.starving, slot.remedies = starving, remedies
