"""One service for all tests of a session, and a client to it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.api.running import Running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("service"))
    running.start()
    try:
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture(scope="session")
def http(service: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for number in range(6):
            assert client.put(f"/v1/items/base{number}", json={}).status_code == 200
        ids = [f"base{number}" for number in range(6)]
        assert client.put("/v1/pools/base", json={"item_ids": ids}).status_code == 200
        yield client
