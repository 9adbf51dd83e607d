"""stream: from a topic of Kafka to learned state, beside the same work done event by event."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.broker import Topic, address, make_topic
from benchmarks.contest import Contender, Contest, Skipped
from benchmarks.peers.kafka_clients import KafkaPythonReader, readers
from benchmarks.peers.plain_learner import PlainLearner
from benchmarks.traffic import Traffic
from streams.events import decode_event
from streams.host import Host
from streams.learner import Learner
from streams.log.base import EVENTS, EventLog
from streams.log.kafka import KafkaLog
from streams.membership import SoleOwner
from streams.rules import Rules
from streams.scan import decode_columns
from streams.store import Store

__all__ = ["Stage", "contests", "learn", "learn_plainly"]

SLATES = 100_000
FEW = 20_000  # records that a peer reads: it takes longer
POLLED = 5000


def contests(quick: bool) -> Iterator[Contest | Skipped]:
    """Reading alone, then everything up to the commit."""
    servers = address()
    if servers is None:
        yield Skipped(workload="stream", params="", peer="", reason=NO_BROKER)
        return
    traffic = Traffic(behind=10, window_seconds=0.01) if quick else Traffic()
    with make_topic(servers, traffic, 100 if quick else SLATES) as topic:
        few = min(FEW, topic.records)
        told = f"events of {topic.mean_bytes} bytes on average, lz4"
        yield Contest(
            params=f"bytes to columns, {told}",
            mode="batched",
            unit="events",
            ours=_scanning(topic, traffic),
            peers=(*readers(topic, few), _decoding(topic)),
        )
        yield Contest(
            params=f"topic to committed state, {told}",
            mode="batched",
            unit="events",
            ours=learn(topic, traffic),
            peers=(learn_plainly(topic, traffic, few),),
        )


NO_BROKER = "no Kafka is named; start one with 'make kafka' and give --kafka localhost:9092"


def _scanning(topic: Topic, traffic: Traffic) -> Contender:
    plan = Rules(traffic.config).plan

    def call(log: KafkaLog) -> None:
        with closing(log):
            for records in _batches(log, topic.records):
                spans = records.spans
                while spans.n:
                    columns = decode_columns(plan, spans)
                    spans = spans.cut(columns.n, spans.n)

    return Contender(name="slatestream", units=topic.records, call=call, fresh=_opened(topic))


def _decoding(topic: Topic) -> Contender:
    def call(log: KafkaLog) -> None:
        with closing(log):
            for records in _batches(log, topic.records):
                for record in records:
                    decode_event(record.value)

    return Contender(
        name="slatestream's whole batches, msgspec into typed events",
        units=topic.records,
        call=call,
        fresh=_opened(topic),
    )


def _opened(topic: Topic) -> Any:
    def fresh() -> KafkaLog:
        log = topic.open()
        log.end(EVENTS)  # connected
        return log

    return fresh


def _batches(log: EventLog, n: int) -> Iterator[Any]:
    offset = 0
    while offset < n:
        records = log.poll(EVENTS, offset, POLLED)
        offset += len(records)
        yield records


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A learner with all it needs, fresh."""

    folder: TemporaryDirectory[str]
    log: KafkaLog
    store: Store
    host: Host

    @property
    def learner(self) -> Learner:
        """The learner of the only partition."""
        return self.host.learners[EVENTS, 0]

    def close(self) -> None:
        """Release all of it."""
        self.log.close()
        self.store.close()
        self.folder.cleanup()


def stage(topic: Topic, traffic: Traffic) -> Stage:
    """Open everything and claim the partition."""
    folder = TemporaryDirectory()
    log, store = topic.open(), Store(Path(folder.name) / "state.db")
    config = traffic.config
    host = Host(
        lambda _, partition: Learner(log, store, config, partition=partition),
        SoleOwner([(EVENTS, 0)]),
    )
    log.end(EVENTS)  # connected
    return Stage(folder=folder, log=log, store=store, host=host)


def learn(topic: Topic, traffic: Traffic) -> Contender:
    """A host of the partition, until all is committed."""

    def call(made: Stage) -> None:
        with closing(made):
            made.host.turn()  # claims the partition
            while made.learner.next_offset < topic.records:
                made.host.turn()
            made.learner.commit()

    return Contender(
        name="slatestream",
        units=topic.records,
        call=call,
        fresh=lambda: stage(topic, traffic),
    )


def learn_plainly(topic: Topic, traffic: Traffic, records: int) -> Contender:
    """The same for the learner many would write."""

    def fresh() -> tuple[ExitStack, PlainLearner, KafkaPythonReader]:
        stack = ExitStack()
        folder = stack.enter_context(TemporaryDirectory())
        learner = stack.enter_context(closing(PlainLearner(traffic, Path(folder))))
        return stack, learner, stack.enter_context(closing(KafkaPythonReader(topic)))

    def call(made: tuple[ExitStack, PlainLearner, KafkaPythonReader]) -> None:
        stack, learner, reader = made
        with stack:
            learner.run(reader.records(), records)

    return Contender(
        name="kafka-python's iterator, json.loads, dicts, batches of 1,000 outcomes",
        units=records,
        call=call,
        fresh=fresh,
    )
