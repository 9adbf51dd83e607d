"""stream: from a topic of Kafka to learned state, beside the same work done event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.broker import ADVICE, Topic, address, make_topic
from benchmarks.contest import Contender, Contest, Figure, Skipped
from benchmarks.peers.kafka_clients import KafkaPythonReader, readers
from benchmarks.peers.plain_learner import PlainLearner
from benchmarks.stage import Stage
from benchmarks.traffic import Traffic
from benchmarks.workloads.stream_figures import delay, restore, shares
from engine.errors import SlatestreamError
from streams.events import decode_event
from streams.log.base import EVENTS
from streams.log.batches import RecordBatch
from streams.log.kafka import KafkaLog
from streams.rules import Rules
from streams.scan import decode_columns

__all__ = ["contests", "learn", "learn_plainly"]

SLATES = 200_000
FEW = 40_000  # records that slower ones read
FEW_SLATES = 15_000
SMALL_BATCH = 10
POLLED = 5000
PLAIN = "kafka-python's iterator, json.loads, a dict of slates, batches of 1,000 outcomes"


def contests(quick: bool) -> Iterator[Contest | Figure | Skipped]:
    """Reading alone, then everything up to the commit, then what has no peer."""
    servers = address()
    if servers is None:
        yield _skip("all of it", ADVICE)
        return
    try:
        yield from _beside_others(servers, quick)
        yield from _in_small_batches(servers, quick)
        yield from delay(servers, quick)
        yield from restore(servers, quick)
    except SlatestreamError as error:
        yield _skip("the rest", str(error))


def _skip(params: str, reason: str) -> Skipped:
    return Skipped(workload="stream", params=params, peer="everything", reason=reason)


def _beside_others(servers: tuple[str, ...], quick: bool) -> Iterator[Contest | Figure]:
    traffic = Traffic(behind=10, window_seconds=0.01) if quick else Traffic()
    with make_topic(servers, traffic, 100 if quick else SLATES) as topic:
        few = min(FEW, topic.records)
        told = f"events of {topic.mean_bytes} bytes, lz4"
        yield Contest(
            params=f"bytes to columns, {told}",
            mode="batched",
            unit="events",
            ours=_scan(topic, traffic),
            peers=(*readers(topic, few), _decode(topic, few)),
        )
        params = f"topic to committed state, {told}"
        yield Contest(
            params=params,
            mode="batched",
            unit="events",
            ours=learn(topic, traffic),
            peers=(learn_plainly(topic, traffic, few),),
        )
        yield from shares(topic, traffic, params, 1 if quick else 3)


def _in_small_batches(servers: tuple[str, ...], quick: bool) -> Iterator[Contest]:
    """As a service with little to do writes them: what a client spends on a batch weighs more."""
    traffic = Traffic(behind=10, window_seconds=0.05)
    slates = 100 if quick else FEW_SLATES
    with make_topic(servers, traffic, slates, together=SMALL_BATCH) as topic:
        yield Contest(
            params=f"topic to committed state, batches of {SMALL_BATCH} records",
            mode="batched",
            unit="events",
            ours=learn(topic, traffic),
            peers=(learn_plainly(topic, traffic, topic.records),),
        )


def _scan(topic: Topic, traffic: Traffic) -> Contender:
    plan = Rules(traffic.config).plan

    def take(records: RecordBatch) -> None:
        spans = records.spans
        while spans.n:
            columns = decode_columns(plan, spans)
            spans = spans.cut(columns.n, spans.n)

    return _read("slatestream", topic, topic.records, take)


def _decode(topic: Topic, records: int) -> Contender:
    def take(batch: RecordBatch) -> None:
        for record in batch:
            decode_event(record.value)

    return _read("slatestream's batches, msgspec into typed events", topic, records, take)


def _read(name: str, topic: Topic, records: int, take: Callable[[RecordBatch], None]) -> Contender:
    def fresh() -> KafkaLog:
        log = topic.open()
        log.end(EVENTS)  # connected
        return log

    def call(log: KafkaLog) -> None:
        offset = 0
        with closing(log):
            while offset < records:
                batch = log.poll(EVENTS, offset, min(POLLED, records - offset))
                assert isinstance(batch, RecordBatch)  # noqa: S101 - it never is empty here
                take(batch)
                offset += len(batch)

    return Contender(name=name, units=records, call=call, fresh=fresh)


def learn(topic: Topic, traffic: Traffic) -> Contender:
    """A host that learns the topic, at its own pace, and commits."""

    def call(stage: Stage) -> None:
        with closing(stage):
            stage.learn(topic.records)

    return Contender(
        name="slatestream", units=topic.records, call=call, fresh=lambda: Stage(topic, traffic)
    )


def learn_plainly(topic: Topic, traffic: Traffic, records: int) -> Contender:
    """The same by the learner many would write."""

    def fresh() -> tuple[ExitStack, PlainLearner, KafkaPythonReader]:
        stack = ExitStack()
        folder = Path(stack.enter_context(TemporaryDirectory()))
        learner = stack.enter_context(closing(PlainLearner(traffic, folder)))
        return stack, learner, stack.enter_context(closing(KafkaPythonReader(topic)))

    def call(made: tuple[ExitStack, PlainLearner, KafkaPythonReader]) -> None:
        stack, learner, reader = made
        with stack:
            learner.run(reader.records(), records)

    return Contender(name=PLAIN, units=records, call=call, fresh=fresh)
