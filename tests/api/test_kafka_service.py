"""The service on a real Kafka and a real PostgreSQL: learners and API hosts apart."""

import uuid

import httpx
import pytest

from streams.errors import LogError
from streams.learner import Learner
from streams.log.kafka import KafkaConfig, KafkaLog
from streams.shard import replay_log
from streams.store import Store
from tests.api.running import SETTINGS, Running, wait_until

pytestmark = pytest.mark.slow


def running(folder, bootstrap: str, store: str, prefix: str, extra: str = "") -> Running:
    folder.mkdir(exist_ok=True)
    log = f"kafka://{bootstrap}/{prefix}.?partitions=4"
    return Running(folder, f'log = "{log}"\nstore = "{store}"\n{extra}\n{SETTINGS}')


def put_items(client: httpx.Client) -> None:
    for item in ("i1", "i2", "i3"):
        assert client.put(f"/v1/items/{item}", json={}).status_code < 300
    assert client.put("/v1/pools/home", json={"item_ids": ["i1", "i2", "i3"]}).status_code < 300


def ask(client: httpx.Client, **more: object) -> httpx.Response:
    wanted = {"k": 2, "pool": "home", "context": {"hour": 3}, **more}
    return client.post("/v1/slates", json=wanted)


def click(slate: dict) -> dict:
    item = slate["slate"][0]["item_id"]
    told = {"type": "feedback", "event_id": "e", "kind": "click", "item_id": item}
    return told | {"request_id": slate["request_id"]}


def counted(client: httpx.Client) -> dict[str, int]:
    return client.get("/v1/model").json()["conservation"]["counts"].get("feedback", {})


def test_a_learner_here_and_an_api_there(kafka, postgres, tmp_path):
    prefix = uuid.uuid4().hex[:8]
    learner = running(tmp_path / "learner", kafka, postgres.url, prefix)
    api = running(tmp_path / "api", kafka, postgres.url, prefix, "workers = 2")
    try:
        learner.launch("--role", "learner")
        api.start("--role", "api")
        with httpx.Client(base_url=api.url) as client:
            put_items(client)
            wait_until(lambda: ask(client).status_code == 200)  # both workers know the pool
            for _ in range(60):
                slate = ask(client)
                assert slate.status_code == 200, slate.text
                told = client.post("/v1/events", json=click(slate.json()))
                assert told.status_code == 202
            version = told.json()["version"]
            after = ask(client, min_version=version)
            assert after.status_code == 200
            assert after.json()["fallback"] is None
            late = ask(client, min_version="0:1000000000")
            assert late.status_code == 409
            wait_until(lambda: counted(client).get("applied") == 60)
            assert client.get("/v1/model").json()["conservation"]["exact"]
    finally:
        api.stop()
        learner.stop()
    check_shards(kafka, postgres.url, prefix)


def check_shards(bootstrap: str, store_url: str, prefix: str) -> None:
    """What learners committed is what one pass over the log learns."""
    log = KafkaLog(KafkaConfig.from_url(f"kafka://{bootstrap}/{prefix}."))
    store = Store(store_url)
    try:
        for tail in store.tail({}):
            partition = tail.position.partition
            whole = replay_log(log, partition=partition)
            learner = Learner(log, store, tail.position.config, partition=partition)
            learner.start()
            assert (learner.hash(), learner.counts) == (whole.hash, whole.counts)
    finally:
        store.close()
        log.close()


def test_without_a_broker_slates_are_refused_and_then_go_on(make_cluster, tmp_path):
    cluster = make_cluster()
    service = running(tmp_path / "all", cluster.bootstrap, f"{tmp_path}/state.db", "shop")
    try:
        service.start()
        with httpx.Client(base_url=service.url, timeout=30) as client:
            put_items(client)
            assert ask(client).status_code == 200
            cluster.kill(1)
            away = ask(client)
            assert away.status_code == 503
            assert int(away.headers["retry-after"]) > 0
            assert away.headers["content-type"] == "application/problem+json"
            assert ask(client, dry_run=True).status_code == 200  # nothing to log
            cluster.start(1)
            wait_until(lambda: ask(client).status_code == 200, 60)
    finally:
        service.stop()


def test_a_broker_nobody_answers_for_is_told_in_words():
    log = KafkaLog(KafkaConfig.parse({"servers": "127.0.0.1:1", "connect_ms": 300}))
    with pytest.raises(LogError, match=r"127\.0\.0\.1:1"):
        log.end("events")
    log.close()
