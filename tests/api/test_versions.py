"""Reading one's writes: versions, slates that wait for one, and what is refused."""

import asyncio
import uuid

import httpx
import pytest

from api.client import Client
from api.versions import (
    Followers,
    format_version,
    includes,
    merge_versions,
    parse_version,
    version_of,
)
from streams.log.base import Place
from tests.api.running import Running, wait_until

FIRST = """
commit_interval_ms = 50
max_wait_ms = 20000
workers = 2

[policies.main]
spec = "beta-thompson"

[recommenders.default]
policy = "main"
learn = "first"
"""
ASK = {"k": 2, "candidates": ["a", "b"]}


def test_versions_are_text_and_back():
    assert format_version({3: 8, 0: 124}) == "0:124,3:8"
    assert parse_version("0:124,3:8") == {0: 124, 3: 8}
    assert parse_version("0:7,0:9,0:8") == {0: 9}
    assert version_of([Place(0, 4), Place(2, 0), Place(0, 3)]) == {0: 5, 2: 1}
    assert merge_versions([{0: 5}, {0: 3, 1: 2}]) == {0: 5, 1: 2}
    assert format_version({}) == ""


def test_a_view_includes_a_version_when_it_includes_every_pair():
    assert includes({0: 5, 1: 2}, {0: 5})
    assert includes({0: 5, 1: 2}, {0: 4, 1: 2})
    assert not includes({0: 5, 1: 2}, {0: 5, 1: 3})
    assert not includes({0: 5}, {1: 1})
    assert not includes(None, {})


def test_those_who_wait_are_woken_by_the_view_that_includes_them():
    async def scene():
        views = [{0: 1}]
        told = []
        followers = Followers(lambda: views[-1], told.append)
        early, late = (asyncio.create_task(followers.until({0: n}, 30)) for n in (2, 3))
        followers.acknowledged([Place(0, 1)])
        await asyncio.sleep(0.05)
        assert (early.done(), late.done(), told) == (False, False, [])
        views.append({0: 2})
        assert await early
        assert not late.done()
        assert len(told) == 1
        assert told[0] > 0
        assert not await followers.until({0: 3}, 0.02)
        views.append({0: 3})
        assert await late
        assert await followers.until({0: 3}, 0)
        await followers.close()

    asyncio.run(scene())


def test_nothing_is_kept_of_those_who_gave_up():
    async def scene():
        followers = Followers(lambda: None, lambda _: None)
        task = asyncio.create_task(followers.until({0: 1}, 30))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not followers._waiting
        await followers._task  # nobody waits: it ends
        await followers.close()

    asyncio.run(scene())


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("first"), FIRST)
    running.start()
    with httpx.Client(base_url=running.url) as http:
        for item_id in ("a", "b"):
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
    for _ in range(20):  # until the other worker knows them, too
        with httpx.Client(base_url=running.url) as http:
            ask = {**ASK, "dry_run": True}
            wait_until(lambda http=http, ask=ask: http.post("/v1/slates", json=ask).is_success)
    yield running
    assert running.stop() == 0


def test_a_slate_reflects_the_click_before_it(running):
    async def scene():
        async with Client("127.0.0.1", running.port) as client:
            for clicks in range(1, 9):
                body = (await client.post_slate(ASK)).json()
                click = {"type": "feedback", "event_id": uuid.uuid4().hex, "kind": "click"}
                click |= {"request_id": body["request_id"], "item_id": "a"}
                assert (await client.post_events([click])).status == 202
                for dry_run in (True, False):
                    ask = {**ASK, "dry_run": dry_run}
                    reply = await client.post_slate(ask, own_writes=True)
                    assert reply.status == 200
                    served = parse_version(reply.json()["version"])
                    assert includes(served, parse_version(client.version))
                # The worker that answered has the view by now, the other may not.
                beliefs = [await client.get("/v1/policies/main/items/a") for _ in range(8)]
                assert max(reply.json()["count"] for reply in beliefs) >= clicks

    asyncio.run(scene())


def test_a_version_that_does_not_come_is_refused_in_time(tmp_path):
    running = Running(tmp_path, FIRST.replace("20000", "100"))
    running.start()
    with httpx.Client(base_url=running.url) as http:
        for item_id in ("a", "b"):
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
        for ask in (ASK, {**ASK, "dry_run": True}):
            refused = http.post("/v1/slates", json={**ask, "min_version": "0:1000000"})
            assert refused.status_code == 409
            body = refused.json()
            assert body["type"] == "/problems/view-behind"
            assert refused.headers["retry-after"] == "1"
            assert f"includes {http.get('/v1/model').json()['version']}" in body["detail"]
        assert http.get("/v1/model").json()["offsets"] == {"0": 1}, "nothing was shown"
        ask = {**ASK, "min_version": "0:1", "request_id": "once"}
        assert http.post("/v1/slates", json=ask).status_code == 200
    assert running.stop() == 0


@pytest.mark.parametrize(
    "version",
    ["", "0", "0:", ":4", "0:4,", "0:-1", "a:4", "0:4;1:2", " 0:4", "0:" + "9" * 19, "1:1", 4],
)
def test_what_is_no_version_of_this_log_is_refused(running, version):
    with httpx.Client(base_url=running.url) as http:
        refused = http.post("/v1/slates", json={**ASK, "min_version": version})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/min_version"


def test_the_model_says_how_far_every_partition_is_learned(running):
    with httpx.Client(base_url=running.url) as http:
        body = http.get("/v1/model").json()
    assert set(body["offsets"]) == set(body["clocks"]) == set(body["ends"]) == {"0"}
    assert parse_version(body["version"]) == {0: body["offsets"]["0"]}
    assert body["end"] == sum(body["ends"].values())


def test_items_alone_have_no_version(running):
    with httpx.Client(base_url=running.url) as http:
        item = {"type": "item", "id": "c"}
        reply = http.post("/v1/events", json=item)
    assert reply.json() == {"accepted": 1, "duplicates": 0}
