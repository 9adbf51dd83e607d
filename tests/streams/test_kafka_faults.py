"""Kafka away, hanging and back: nothing acknowledged is lost, nothing waits for ever."""

import gc
import threading
import time

import pytest

from streams.errors import LogError
from streams.log.base import EVENTS, Place
from streams.log.kafka import KafkaLog, KafkaMembership
from tests.streams.kafka_cases import config_of, read, until

# A client closed while it connects leaves its socket to the garbage collector: kafka-python's way.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

SETTINGS = {
    "partitions": 2,
    "append_ms": 1500,
    "request_ms": 1000,
    "connect_ms": 500,
    "fetch_ms": 1000,
}


@pytest.fixture(autouse=True)
def _collect():
    """Let go of such sockets while they are expected."""
    yield
    gc.collect()


class Traffic:
    """Appends and polls, as fast as they go, until it is told to stop."""

    def __init__(self, log: KafkaLog) -> None:
        self.acknowledged: dict[Place, bytes] = {}
        self.failed: list[LogError] = []
        self.unread: list[LogError] = []
        self.records: tuple[list, list] = ([], [])
        self._log = log
        self._end = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._append, self._poll)]
        for thread in self._threads:
            thread.start()

    def go_on(self, records: int, what: str) -> None:
        """Wait until so many more are acknowledged."""
        count = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > count + records, what)

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _append(self) -> None:
        number = 0
        while not self._end.is_set():
            values = [b"%d" % (number + n) for n in range(10)]
            number += 10
            try:
                places = self._log.append(EVENTS, [(value.decode(), value) for value in values])
            except LogError as error:
                self.failed.append(error)
                time.sleep(0.01)
            else:
                self.acknowledged |= dict(zip(places, values, strict=True))

    def _poll(self) -> None:
        while not self._end.is_set():
            for partition, records in enumerate(self.records):
                try:
                    records.extend(self._log.poll(EVENTS, len(records), 100, partition))
                except LogError as error:
                    self.unread.append(error)
                    time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_broker_comes_back_and_all_that_was_acknowledged_is_there(make_cluster):
    cluster = make_cluster()
    log = KafkaLog(config_of(cluster.bootstrap, **SETTINGS))
    log.create_topics()
    member = KafkaMembership(log.config, [EVENTS])
    changes = []

    def poll() -> bool:
        changes.append(member.poll(changes.append))
        return len(member.owned) == 2

    until(poll, "the join")
    traffic = Traffic(log)
    try:
        traffic.go_on(200, "appends")
        cluster.kill(1)
        until(lambda: len(traffic.failed) > 1, "failures")
        until(lambda: poll() and len(traffic.unread) > 1, "failing polls")
        until(lambda: poll() and member.trouble, "the member's trouble")
        cluster.start(1)
        traffic.go_on(200, "new appends")
        until(lambda: poll() and not member.trouble, "the member's recovery")
    finally:
        traffic.stop()
    kept = [read(log, partition) for partition in range(2)]
    assert all(kept[p][n].value == value for (p, n), value in traffic.acknowledged.items())
    for partition, records in enumerate(traffic.records):
        assert records == kept[partition][: len(records)]
        assert [record.offset for record in kept[partition]] == list(range(len(kept[partition])))
        last: dict[str, int] = {}
        for record in kept[partition]:
            assert last.setdefault(record.key, int(record.value)) == int(record.value)
    until(poll, "its partitions")
    member.close()
    log.close()


def test_a_hanging_broker_fills_the_bound_and_no_more(make_cluster):
    cluster = make_cluster()
    log = KafkaLog(config_of(cluster.bootstrap, **SETTINGS, producer_bytes=50_000))
    log.create_topics()
    log.append(EVENTS, [("", b"before")], 0)
    cluster.suspend(1)
    outcomes: list[object] = []

    def append() -> None:
        try:
            outcomes.append(log.append(EVENTS, [("", bytes(30_000))], 0))
        except LogError as error:
            outcomes.append(error)

    thread = threading.Thread(target=append)
    thread.start()
    until(lambda: log.waiting_bytes > 30_000, "the append under way")
    with pytest.raises(LogError, match=r"30100 bytes wait to be acknowledged .* 50000 may"):
        log.append(EVENTS, [("", bytes(30_000))], 0)
    assert outcomes == []
    thread.join()
    assert "0 of 1 records were acknowledged" in str(outcomes[0])
    assert log.waiting_bytes == 0
    cluster.resume(1)

    def appended() -> bool:
        try:
            return bool(log.append(EVENTS, [("", b"after")], 0))
        except LogError:
            return False

    until(appended, "appends after all")
    values = [record.value for record in read(log)]
    assert values[0] == b"before"
    assert values[-1] == b"after"
    assert all(value in {b"before", b"after", bytes(30_000)} for value in values)
    log.close()


@pytest.mark.slow
def test_three_brokers_restarted_in_turn_lose_nothing(make_cluster):
    cluster = make_cluster(nodes=3)
    settings = {**SETTINGS, "replication": 3, "append_ms": 6000}
    log = KafkaLog(config_of(cluster.bootstrap, **settings))
    log.create_topics()
    assert log.describe()[0].settings["min.insync.replicas"] == "2"
    traffic = Traffic(log)
    try:
        for node in cluster.nodes:
            traffic.go_on(100, "appends with three")
            cluster.kill(node)
            traffic.go_on(100, "appends with two")
            cluster.start(node)
            until(lambda: log.describe()[0].under_replicated == 0, "replicas")
    finally:
        traffic.stop()
    kept = [read(log, partition) for partition in range(2)]
    assert all(kept[p][n].value == value for (p, n), value in traffic.acknowledged.items())
    for partition, records in enumerate(traffic.records):
        assert records == kept[partition][: len(records)]
    log.close()
