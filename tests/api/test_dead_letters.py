"""GET /v1/dead-letters: what could not be learned from, read by whoever runs the service."""

import base64

import httpx
import pytest

from streams.dead import VALUE_BYTES
from streams.log.sqlite import SqliteLog
from tests.api.running import SETTINGS, Running, wait_until
from tests.api.test_auth import ADMIN, SERVE, entry

PATH = "/v1/dead-letters"
LONG = b'{"type":"\xc3\xa4' + "ä".encode() * VALUE_BYTES + b'"}'


def append(service, *values):
    log = SqliteLog(service.data_dir / "log.db")
    try:
        places = log.append("events", [("", value) for value in values])
        return [place.offset for place in places]
    finally:
        log.close()


def letters(http, **query):
    reply = http.get(PATH, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()["dead_letters"]


def test_item_features_that_do_not_fit_are_pointed_at(service, http):
    slate = [
        {"item_id": item, "propensity": 0.5, "method": "exact", "features": {"topic": {at: 1}}}
        for item, at in (("a", "2"), ("b", "3"))
    ]
    event = {"type": "impression", "request_id": "misfit", "recommender": "topical", "slate": slate}
    assert http.post("/v1/events", json=event).status_code == 202
    wait_until(lambda: any("misfit" in each["value"] for each in letters(http)))
    (letter,) = [each for each in letters(http) if "misfit" in each["value"]]
    assert (letter["reason"], letter["pointer"]) == ("schema", "/slate/1/features/topic")


def test_they_tell_where_why_and_what(service, http):
    offsets = append(service, b'{"type":"like"}', b"\xff{", LONG)
    wait_until(lambda: {each["offset"] for each in letters(http)} >= set(offsets))
    told = {each["offset"]: each for each in letters(http)}
    like, broken, long = (told[offset] for offset in offsets)
    assert (like["topic"], like["partition"], like["reason"]) == ("events", 0, "type")
    assert (like["pointer"], like["value"], like["encoding"]) == (
        "/type",
        '{"type":"like"}',
        "text",
    )
    assert like["detail"]
    assert like["stamp"] > 0
    assert (broken["reason"], broken["encoding"], broken["size"]) == ("encoding", "base64", 2)
    assert base64.b64decode(broken["value"]) == b"\xff{"
    assert (long["encoding"], long["size"]) == ("text", len(LONG))
    assert LONG.decode().startswith(long["value"])
    assert VALUE_BYTES - 4 < len(long["value"].encode()) <= VALUE_BYTES
    newest = [each["offset"] for each in letters(http, limit=2)]
    assert newest == sorted(told, reverse=True)[:2]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", "1.5", "9" * 30])
def test_a_limit_that_is_none_is_refused(http, limit):
    reply = http.get(PATH, params={"limit": limit})
    assert reply.status_code == 422
    assert reply.json()["type"] == "/problems/bad-request"
    assert "1 to 1000" in reply.json()["detail"]


def test_they_may_hold_anything_so_only_admins_read_them(tmp_path):
    keys = entry("web", "serve", SERVE) + entry("ops", "admin", ADMIN)
    running = Running(tmp_path, SETTINGS + keys)
    running.start()
    try:
        for key, status in ((SERVE, 403), (ADMIN, 200), ("sk_none", 401)):
            headers = {"x-api-key": key}
            assert httpx.get(running.url + PATH, headers=headers).status_code == status
    finally:
        assert running.stop() == 0
