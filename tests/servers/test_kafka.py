"""The test broker is a real one: it keeps what it acknowledged and survives what it should."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.conftest import begin
from tests.servers import jars
from tests.servers.jars import java
from tests.servers.kafka import Cluster, answers
from tests.servers.processes import ServerError, UnavailableError, free_ports
from tests.servers.topics import make_topic, wait_in_sync


@contextmanager
def producing(bootstrap: str) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap.split(","),
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=5,
    )
    try:
        yield producer
    finally:
        producer.close()


def acknowledged(producer: KafkaProducer, topic: str, values: range) -> None:
    """Send numbers and wait until each is acknowledged."""
    for future in [producer.send(topic, str(value).encode(), partition=0) for value in values]:
        future.get(timeout=60)


def read(bootstrap: str, topic: str, count: int) -> list:
    """All records of partition 0, once there are `count`."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","), enable_auto_commit=False, group_id=None
    )
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        assert end >= count
        records: list = []
        deadline = time.monotonic() + 60
        while len(records) < end:
            assert time.monotonic() < deadline, f"{len(records)} of {end} records came"
            records += consumer.poll(timeout_ms=500).get(partition, [])
        return records
    finally:
        consumer.close()


def values(records: list) -> list[int]:
    return [int(record.value) for record in records]


def test_records_come_back_in_order_with_the_logs_own_stamps(kafka):
    topic = make_topic(kafka)
    before = int(time.time() * 1000)
    with producing(kafka) as producer:
        acknowledged(producer, topic, range(2000))
    records = read(kafka, topic, 2000)
    after = int(time.time() * 1000)
    assert values(records) == list(range(2000))
    assert [record.offset for record in records] == list(range(2000))
    assert {record.timestamp_type for record in records} == {1}  # LogAppendTime
    stamps = [record.timestamp for record in records]
    assert before <= stamps[0]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= after


def test_a_killed_node_keeps_what_it_acknowledged(make_cluster):
    cluster = make_cluster()
    topic = make_topic(cluster.bootstrap)
    with producing(cluster.bootstrap) as producer:
        acknowledged(producer, topic, range(500))
        cluster.kill(1)
        assert cluster.running == []
        cluster.start()
        acknowledged(producer, topic, range(500, 1000))
    assert values(read(cluster.bootstrap, topic, 1000)) == list(range(1000))


@pytest.mark.slow
def test_three_nodes_survive_the_loss_of_any_one(make_cluster):
    cluster = make_cluster(nodes=3)
    topic = make_topic(cluster.bootstrap)
    count = 0
    for node in cluster.nodes:
        with producing(cluster.bootstrap) as producer:
            acknowledged(producer, topic, range(count, count + 200))
            cluster.kill(node)
            acknowledged(producer, topic, range(count + 200, count + 400))
            count += 400
            assert values(read(cluster.bootstrap, topic, count)) == list(range(count))
        cluster.start(node)
        wait_in_sync(cluster.bootstrap, topic)


def test_a_suspended_node_answers_again_when_it_resumes(make_cluster):
    cluster = make_cluster()
    port = int(cluster.bootstrap.rpartition(":")[2])
    cluster.suspend(1)
    assert not answers(port, seconds=0.5)
    cluster.resume(1)
    assert answers(port)


def test_a_cluster_continues_with_its_folders_data(make_cluster, tmp_path):
    first = make_cluster()
    topic = make_topic(first.bootstrap)
    with producing(first.bootstrap) as producer:
        acknowledged(producer, topic, range(10))
    first.stop()
    with type(first)(first.folder) as second:
        assert second.bootstrap != first.bootstrap
        assert values(read(second.bootstrap, topic, 10)) == list(range(10))


def test_a_node_that_cannot_start_says_why(make_cluster):
    with pytest.raises(ServerError, match=r"auto\.create\.topics\.enable"):
        make_cluster(settings={"auto.create.topics.enable": "perhaps"})


def test_no_broker_outlives_who_started_it(kafka, root, tmp_path):
    """By SIGKILL even, which leaves no time to tidy up."""
    script = (
        "import pathlib, time\n"
        "from tests.servers.kafka import Cluster\n"
        f"cluster = Cluster(pathlib.Path({str(tmp_path)!r}))\n"
        "cluster.start()\n"
        "print(cluster._servers[1].process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        broker = int(parent.stdout.readline())
        os.kill(broker, 0)
        parent.kill()
    deadline = time.monotonic() + 60
    while runs(broker):
        assert time.monotonic() < deadline, f"process {broker} still runs"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Whether a process exists and is more than an entry that nobody has collected."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_in_the_foreground_until_interrupted(kafka, root):
    port = free_ports(2)[0]
    command = [sys.executable, "-m", "tests.servers.kafka", "--port", str(port)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert f"127.0.0.1:{port}" in program.stdout.readline()
        assert answers(port)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0
    assert not answers(port, seconds=0.5)


@pytest.mark.parametrize(
    ("present", "said"), [([], "openjdk-17-jre-headless"), (["java"], "install maven")]
)
def test_without_java_or_maven_it_says_what_to_install(kafka, tmp_path, monkeypatch, present, said):
    for name in present:
        (tmp_path / name).symlink_to(java())
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jars, "CACHE", tmp_path / "cache")  # nothing fetched yet
    with pytest.raises(UnavailableError, match=said):
        Cluster(tmp_path)


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), (None, "Skipped")])
def test_a_missing_server_skips_a_test_and_fails_in_ci(monkeypatch, ci, outcome):
    def missing() -> Cluster:
        raise UnavailableError("install it")

    monkeypatch.delenv("CI", raising=False)
    if ci:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(BaseException, match="install it") as raised:
        begin(missing)
    assert type(raised.value).__name__ == outcome


def test_make_kafka_without_java_fails_and_says_so(root, tmp_path):
    command = [sys.executable, "-m", "tests.servers.kafka"]
    variables = {"PATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "install openjdk-17-jre-headless" in done.stderr
