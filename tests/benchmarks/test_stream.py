"""The stream workload on a real broker: both learners learn the same, and every row is there."""

import time
from contextlib import closing

import pytest

from benchmarks.broker import make_topic
from benchmarks.contest import Skipped
from benchmarks.peers.kafka_clients import ConfluentReader, KafkaPythonReader, readers
from benchmarks.peers.plain_learner import PlainLearner
from benchmarks.run import run
from benchmarks.stage import Stage
from benchmarks.traffic import Traffic
from benchmarks.workloads.stream import contests
from streams.events import Control, Feedback, Impression, decode_event
from streams.log.base import EVENTS
from tests.servers.processes import free_ports
from tests.servers.topics import administration

TRAFFIC = Traffic(items=7, behind=20, window_seconds=0.005)
# An append waits 2 ms for others before it is sent: twelve of them outlast many windows.
TOGETHER = 50


@pytest.fixture(scope="module")
def topic(kafka):
    with make_topic((kafka,), TRAFFIC, 300, together=TOGETHER) as made:
        yield made


def test_traffic_is_the_same_every_time_and_joins():
    entries = list(TRAFFIC.entries(100))
    assert entries == list(TRAFFIC.entries(100))
    events = [decode_event(value) for _, value in entries]
    shown = {event.request_id: event for event in events if isinstance(event, Impression)}
    told = [event for event in events if isinstance(event, Feedback)]
    assert len(shown) == len(told) == len({event.event_id for event in told}) == 100
    assert {event.value for event in told} == {0.0, 1.0}
    assert [event.recommender for event in shown.values()] == 50 * ["linear", "diagonal"]
    for event in told:
        assert [item.item_id for item in shown[event.request_id].slate] == [event.item_id]
    assert {key for key, _ in entries} == shown.keys()
    more = {key for key, _ in TRAFFIC.entries(5, first=100)}
    assert len(more) == 5
    assert not more & shown.keys()


def test_the_plain_learner_learns_what_ours_does(topic, tmp_path):
    with closing(Stage(topic, TRAFFIC)) as stage:
        stage.learn(topic.records)
        assert stage.learner.committed_offset == topic.records
        counts = stage.learner.counts
        ours = {name: state.hash() for name, state in stage.learner.shard.states.items()}
    fates = counts.to_dict()
    assert counts.exact
    assert {kind: fates[kind]["consumed"] for kind in fates} == {
        "control": 1,
        "impression": 300,
        "feedback": 300,
    }
    assert fates["impression"]["applied"] > 100
    with (
        closing(PlainLearner(TRAFFIC, tmp_path)) as plain,
        closing(KafkaPythonReader(topic)) as reader,
    ):
        plain.run(reader.records(), topic.records)
        assert {name: state.hash() for name, state in plain.states.items()} == ours


def test_readers_hand_on_what_is_there(topic):
    with closing(topic.open()) as log:
        expected = []
        while len(expected) < topic.records:
            expected += [record.value for record in log.poll(EVENTS, len(expected), 1000)]
    assert isinstance(decode_event(expected[0]), Control)
    for kind in (KafkaPythonReader, ConfluentReader):
        with closing(kind(topic)) as reader:
            found = [value for _, value in zip(expected, reader.values(), strict=False)]
        assert found == expected
    assert sum(map(len, expected)) == topic.value_bytes
    for contender in readers(topic, 10):
        contender.call(contender.fresh())


def test_topics_are_gone_afterwards(kafka):
    with make_topic((kafka,), TRAFFIC, 5) as made, administration(kafka) as client:
        assert made.name in client.list_topics()
    deadline = time.monotonic() + 30
    with administration(kafka) as client:
        while made.name in client.list_topics():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow  # a service is started
def test_every_row_and_figure_is_there(kafka):
    report = run(["stream"], rounds=1, quick=True, kafka=kafka)
    assert report.skipped == []
    assert [row.params.partition(",")[0] for row in report.rows] == [
        *4 * ["bytes to columns"],
        *2 * ["topic to committed state"],
    ]
    figures = {each.what: each for each in report.figures}
    stages = [each for each in report.figures if each.unit == "%"]
    assert [each.what for each in stages] == ["fetch", "decode", "join", "kernel", "checkpoint"]
    assert sum(each.value for each in stages) == pytest.approx(100)
    assert 0 < figures["p50"].value <= figures["p99"].value
    assert "100 open events" in figures["until its first new event"].params


def test_without_a_broker_the_reason_is_told(monkeypatch):
    monkeypatch.delenv("BENCH_KAFKA", raising=False)
    (found,) = contests(True)
    assert isinstance(found, Skipped)
    assert "make kafka" in found.reason
    monkeypatch.setenv("BENCH_KAFKA", f"127.0.0.1:{free_ports(1)[0]}")
    (found,) = contests(True)
    assert "cannot connect to Kafka" in found.reason
    assert found.params == "the rest"
