"""The log as a broker keeps it, and as each process sees it: with failures of its own."""

from collections.abc import Callable, Sequence

from streams.errors import LogError, LostRecordsError
from streams.log.appender import Appender
from streams.log.base import EVENTS, Place, Record
from streams.log.memory import MemoryLog
from tests.simulation.chaos import Chaos

Point = Callable[[str], None]


class Broker:
    """All records there ever were, and from where on they are still kept."""

    def __init__(self, now_ms: int, partitions: int) -> None:
        self.log = MemoryLog(now_ms, partitions=partitions)
        self.begins = [0] * partitions
        self.down = False

    def remove(self, partition: int, before: int) -> None:
        """Apply retention."""
        self.begins[partition] = max(self.begins[partition], before)


class BrokerClient:
    """An `EventLog`: a process's connection to the broker.

    Attributes
    ----------
    missed
        Topic and partition of which it asked for records that are removed.
    """

    def __init__(self, broker: Broker, chaos: Chaos, point: Point, skew_ms: int = 0) -> None:
        self._broker = broker
        self._chaos = chaos
        self._point = point
        self._skew_ms = skew_ms
        self.missed: tuple[str, int] | None = None

    def topic_id(self, topic: str) -> str:
        return self._broker.log.topic_id(topic)

    def partitions(self, topic: str) -> int:
        return self._broker.log.partitions(topic)

    def now_ms(self) -> int:
        return self._broker.log.now_ms() + self._skew_ms

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        self._point("appending")
        self._check()
        places = self._broker.log.append(topic, entries, partition)
        self._point(f"appended at {', '.join(f'{each[0]}-{each[1]}' for each in places)}")
        if self._chaos.happens("log answer lost"):
            raise LogError("the broker's answer did not arrive")
        return places

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> Sequence[Record]:
        self._check()
        if topic == EVENTS and offset < self._broker.begins[partition]:
            self.missed = (topic, partition)
            raise LostRecordsError(f"records from {offset} on are removed")
        if self._chaos.happens("short poll"):
            limit = min(limit, self._chaos.pick([1, 2, 3, 10]))
        records = self._broker.log.poll(topic, offset, limit, partition)
        self._point(f"read {partition}, {offset} to {offset + len(records)}")
        return records

    def begin(self, topic: str, partition: int = 0) -> int:
        self._check()
        return self._broker.begins[partition] if topic == EVENTS else 0

    def end(self, topic: str, partition: int = 0) -> int:
        self._check()
        end = self._broker.log.end(topic, partition)
        self._point(f"read that {partition} ends at {end}")
        return end

    def close(self) -> None:
        return

    def _check(self) -> None:
        if self._broker.down or self._chaos.happens("log fails"):
            raise LogError("the broker cannot be reached")


class SteppedAppender(Appender):
    """An `Appender` whose thread is the scheduler: each step commits one batch."""

    def _run(self) -> None:
        return

    def step(self) -> None:
        """Append what its thread would take next."""
        if self.waiting:
            self._commit(self._take())
