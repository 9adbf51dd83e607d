"""A real broker, real learners, real faults: what is learned is what one clean pass learns."""

import os
import random
import signal
import time
import uuid

import pytest

from streams.log.kafka import KafkaConfig, KafkaLog
from tests.api.running import wait_until
from tests.faults.fleet import Fleet, Producer, check, learned, running_fleet, wait_learned

KILLS = int(os.environ.get("SLATESTREAM_KILLS", "20"))
PARTITIONS = 12
SESSION = "session_ms=3000&heartbeat_ms=500"

pytestmark = pytest.mark.slow


def make_url(bootstrap: str) -> str:
    prefix = uuid.uuid4().hex[:8]
    return f"kafka://{bootstrap}/{prefix}.?partitions={PARTITIONS}&{SESSION}"


def wait_for_all(store: str) -> None:
    """Wait until the settings are in every partition: from here on all is joined."""
    wait_until(lambda: sum(map(bool, learned(store).values())) == PARTITIONS, 60)


def finish(fleet: Fleet, url: str, store: str, producers: list[Producer]) -> dict[str, int]:
    for producer in producers:
        producer.finish()
    config = KafkaConfig.from_url(url)
    log = KafkaLog(config)
    try:
        wait_learned(log, store)
    finally:
        log.close()
    fleet.stop()
    return check(config, store, producers)


def produce(url: str, seed: int = 0) -> Producer:
    producer = Producer(KafkaConfig.from_url(url), seed)
    producer.start()
    return producer


def test_learners_killed_at_random_times(kafka, postgres, tmp_path):
    url, rng = make_url(kafka), random.Random(3)
    with running_fleet(tmp_path, url, postgres.url) as fleet:
        wait_for_all(postgres.url)
        producer = produce(url)
        for _ in range(KILLS):
            before = learned(postgres.url)
            wait_until(lambda: learned(postgres.url) != before, 60)  # noqa: B023
            time.sleep(rng.random())
            fleet.kill(rng.choice(fleet.names))
        counts = finish(fleet, url, postgres.url, [producer])
    assert counts["duplicate"] > 0


def test_a_zombie_that_wakes_up_writes_nothing(kafka, postgres, tmp_path):
    url = make_url(kafka)
    with running_fleet(tmp_path, url, postgres.url, "ab") as fleet:
        wait_for_all(postgres.url)
        producer = produce(url)
        for name in ("a", "b", "a"):
            before = learned(postgres.url)
            time.sleep(1.0)
            pid = fleet.send(name, signal.SIGSTOP)
            # The other takes over every partition: all move on while one owner is halted.
            wait_until(lambda: all(n > before[p] for p, n in learned(postgres.url).items()), 60)  # noqa: B023
            after = learned(postgres.url)
            wait_until(lambda: all(n > after[p] for p, n in learned(postgres.url).items()), 60)  # noqa: B023
            os.kill(pid, signal.SIGCONT)
            time.sleep(2.0)
        finish(fleet, url, postgres.url, [producer])
        assert "is dropped" in fleet.said()


def test_a_broker_killed_and_started_again(make_cluster, postgres, tmp_path):
    cluster = make_cluster()
    url = make_url(cluster.bootstrap)
    with running_fleet(tmp_path, url, postgres.url, "ab") as fleet:
        wait_for_all(postgres.url)
        producer = produce(url)
        for _ in range(2):
            time.sleep(3)
            cluster.kill(1)
            time.sleep(2)
            cluster.start(1)
        time.sleep(3)
        finish(fleet, url, postgres.url, [producer])
    assert producer.refused > 0


def test_a_rolling_restart_of_three_brokers(make_cluster, tmp_path):
    cluster = make_cluster(nodes=3)
    url, store = make_url(cluster.bootstrap) + "&replication=3", f"{tmp_path}/state.db"
    with running_fleet(tmp_path, url, store, "ab") as fleet:
        wait_for_all(store)
        producer = produce(url)
        for node in cluster.nodes:
            time.sleep(2)
            cluster.restart(node)
        cluster.kill(2)
        time.sleep(3)
        cluster.start(2)
        finish(fleet, url, store, [producer])


def test_a_database_restarted_under_load(kafka, postgres, tmp_path):
    url = make_url(kafka)
    with running_fleet(tmp_path, url, postgres.url, "ab") as fleet:
        wait_for_all(postgres.url)
        producer = produce(url)
        for _ in range(3):
            time.sleep(2)
            postgres.server.stop()
            time.sleep(0.5)
            postgres.server.start()
        time.sleep(2)
        finish(fleet, url, postgres.url, [producer])


def test_a_learner_added_while_traffic_runs(kafka, postgres, tmp_path):
    url = make_url(kafka)
    with running_fleet(tmp_path, url, postgres.url, "a") as fleet:
        wait_for_all(postgres.url)
        producer = produce(url)
        for name in "bc":
            fleet.start(name)
            wait_until(lambda: "restored up to" in fleet.errors(name).read_text(), 60)  # noqa: B023
            time.sleep(2)
        finish(fleet, url, postgres.url, [producer])
