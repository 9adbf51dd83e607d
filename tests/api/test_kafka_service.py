"""The service on a real Kafka and a real PostgreSQL: learners and API hosts in any number."""

import uuid

import httpx
import pytest

from streams.log.kafka import open_kafka
from tests.api.running import SETTINGS, Running, wait_until


@pytest.fixture
def url(kafka):
    return f"kafka://{kafka}/{uuid.uuid4().hex[:8]}.?partitions=4"


def test_smoke(url, tmp_path):
    running = Running(tmp_path, f'log = "{url}"\n' + SETTINGS)
    try:
        running.start()
        client = httpx.Client(base_url=running.url)
        for item in ("i1", "i2", "i3"):
            assert client.put(f"/v1/items/{item}", json={}).status_code < 300
        client.put("/v1/pools/home", json={"item_ids": ["i1", "i2", "i3"]})
        for number in range(50):
            slate = client.post(
                "/v1/slates", json={"k": 2, "pool": "home", "context": {"hour": 3}}
            ).json()
            client.post(
                "/v1/events",
                json={
                    "type": "feedback",
                    "event_id": "e",
                    "kind": "click",
                    "request_id": slate["request_id"],
                    "item_id": slate["slate"][0]["item_id"],
                },
            )
        print(slate)
        wait_until(
            lambda: (
                client.get("/v1/model").json()["counts"].get("feedback", {}).get("applied") == 50
            )
        )
        print(client.get("/v1/model").json())
    finally:
        running.stop()
        print(running.errors.read_text())
