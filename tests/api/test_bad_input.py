"""Every bad input gets a problem document that says where and why; the service keeps serving."""

import json
import re
import socket
import time

import pytest

from tests.api.running import wait_until

ITEM = "/v1/items/bad"
FEEDBACK = {"type": "feedback", "event_id": "e", "request_id": "r", "item_id": "i", "kind": "click"}
IMPRESSION = {"type": "impression", "request_id": "r", "recommender": "default"}
SHOWN = {"item_id": "base0", "propensity": 0.5, "method": "exact"}

PINNED = {"k": 3, "pool": "base"}
TOPICAL = {"k": 1, "pool": "base", "recommender": "topical"}
HOURLY = (422, "bad-features", "/context/hour")

SLATES = [
    (b'{"k":1,"pool":"base"', 400, "bad-json", None),
    (b"", 400, "bad-json", None),
    (b'{"k":1,"pool":"base","context":{"hour":NaN}}', 400, "bad-json", None),
    (b'{"k":1,"pool":"base","context":{"hour":Infinity}}', 400, "bad-json", None),
    (b'{"k":1,"pool":"ba\xffse"}', 400, "bad-encoding", None),
    (b"\xff\xfe", 400, "bad-encoding", None),
    (b'{"k":1,"pool":"base","context":{"hour":1e999}}', 422, "bad-request", "/context/hour"),
    (b"[]", 422, "bad-request", ""),
    ({"pool": "base"}, 422, "bad-request", "/k"),
    ({"k": 0, "pool": "base"}, 422, "bad-request", "/k"),
    ({"k": -3, "pool": "base"}, 422, "bad-request", "/k"),
    ({"k": 2.5, "pool": "base"}, 422, "bad-request", "/k"),
    ({"k": "3", "pool": "base"}, 422, "bad-request", "/k"),
    ({"k": 1, "poool": "base"}, 422, "bad-request", "/poool"),
    ({"k": 1, "candidates": ["base0", 7]}, 422, "bad-request", "/candidates/1"),
    ({"k": 1, "candidates": [""]}, 422, "bad-request", "/candidates/0"),
    ({"k": 1, "pool": "base", "context": {"hour": [1]}}, 422, "bad-request", "/context/hour"),
    ({"k": 1, "context": {"ok": 1, "a/b~": []}}, 422, "bad-request", "/context/a~1b~0"),
    ({"k": 1, "candidates": ["a\0"]}, 422, "bad-request", ""),
    ({"k": 1, "a/b": 1}, 422, "bad-request", "/a~1b"),
    ({"k": 1, "pool": "base", "context": {"hour": "late"}}, 422, "bad-features", "/context/hour"),
    ({"k": 1, "pool": "base", "context": {"device": 3}}, 422, "bad-features", "/context/device"),
    ({"k": 1}, 422, "bad-request", "/pool"),
    ({"k": 1, "pool": "base", "candidates": ["base0"]}, 422, "bad-request", "/pool"),
    ({"k": 1, "pool": "base", "request_id": "x" * 300}, 422, "bad-request", "/request_id"),
    ({"k": 7, "pool": "base"}, 422, "k-too-large", "/k"),
    ({"k": 1, "pool": "none"}, 404, "unknown-pool", "/pool"),
    ({"k": 1, "pool": "base", "recommender": "none"}, 404, "unknown-recommender", "/recommender"),
    ({"k": 1, "candidates": []}, 422, "empty-candidates", "/candidates"),
    ({"k": 1, "candidates": ["nobody"]}, 422, "empty-candidates", "/candidates"),
    ({"k": 2, "pool": "base", "pins": {"2": "base0"}}, 422, "bad-request", "/pins/2"),
    ({"k": 2, "pool": "base", "pins": {"0": "nobody"}}, 422, "bad-request", "/pins/0"),
    ({**PINNED, "pins": {"1": "base0", "0": "base0"}}, 422, "bad-request", "/pins/1"),
    ({**PINNED, "exclude": ["base0"], "pins": {"0": "base0"}}, 422, "bad-request", "/pins/0"),
    ({**PINNED, "pins": {"0": "base0", "first": "base1"}}, 422, "bad-request", "/pins/first"),
    ({**PINNED, "pins": {"-1": "base0"}}, 422, "bad-request", "/pins/-1"),
    ({**PINNED, "pins": {"0": "base1", "1": 7}}, 422, "bad-request", "/pins/1"),
    ({**PINNED, "pins": ["base0"]}, 422, "bad-request", "/pins"),
    ({**TOPICAL, "context": {"taste": {"3": 1}}}, 422, "bad-features", "/context/taste"),
    ({**TOPICAL, "context": {"taste": {"1": "x"}}}, 422, "bad-request", "/context/taste/1"),
    ({**TOPICAL, "context": {"hour": {"1": 1}}, "recommender": "default"}, *HOURLY),
]

DEEP = "/slate/0/features/a/b"
EVENTS = [
    (b"{", 422, "json", ""),
    (b'{"type":"feedback","kind":"cl\xffick"}', 422, "encoding", ""),
    ({**FEEDBACK, "type": "nothing"}, 422, "type", "/type"),
    ({key: FEEDBACK[key] for key in FEEDBACK if key != "type"}, 422, "type", "/type"),
    ({**FEEDBACK, "colour": "red"}, 422, "schema", "/colour"),
    ({**FEEDBACK, "value": "much"}, 422, "schema", "/value"),
    ({**FEEDBACK, "event_id": ""}, 422, "value", "/event_id"),
    ({**FEEDBACK, "ts": -1}, 422, "value", "/ts"),
    ({**FEEDBACK, "ts": None}, 422, "schema", "/ts"),
    ({"type": "tick"}, 422, "type", "/type"),
    ({"type": "control", "change": "configure", "settings": {}}, 422, "type", "/type"),
    ({"type": "control", "change": "reset", "settings": {"policy": "main"}}, 422, "type", "/type"),
    ({**IMPRESSION, "slate": []}, 422, "value", "/slate"),
    ({**IMPRESSION, "slate": [{**SHOWN, "propensity": -0.1}]}, 422, "value", "/slate/0/propensity"),
    ({**IMPRESSION, "slate": [{**SHOWN, "propensity": 1.1}]}, 422, "value", "/slate/0/propensity"),
    ({**IMPRESSION, "slate": [{**SHOWN, "propensity": 0}]}, 422, "value", "/slate/0/propensity"),
    ({**IMPRESSION, "slate": [SHOWN, SHOWN]}, 422, "value", "/slate/1/item_id"),
    ({**IMPRESSION, "slate": [{**SHOWN, "recurrence": 0}]}, 422, "value", "/slate/0/recurrence"),
    ({**IMPRESSION, "slate": [{**SHOWN, "features": {"a": {"b": []}}}]}, 422, "schema", DEEP),
]


def send(http, method, path, body, kind="application/json"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.request(method, path, content=content, headers={"content-type": kind})


def check(reply, status, kind, path):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == path
    return problem.get("errors", [])


@pytest.mark.parametrize(("body", "status", "kind", "pointer"), SLATES)
def test_slates(http, body, status, kind, pointer):
    errors = check(send(http, "POST", "/v1/slates", body), status, kind, "/v1/slates")
    assert [error["pointer"] for error in errors] == ([] if pointer is None else [pointer])
    assert http.post("/v1/slates", json={"k": 1, "pool": "base"}).status_code == 200


@pytest.mark.parametrize("slot", ["first", "-1", "01", "1000", "0\n", ""])
def test_a_slot_that_is_no_number_is_told_in_words(http, slot):
    body = {**PINNED, "pins": {slot: "base0"}}
    errors = check(send(http, "POST", "/v1/slates", body), 422, "bad-request", "/v1/slates")
    assert errors[0]["pointer"] == f"/pins/{slot}"
    assert repr(slot) in errors[0]["detail"]
    assert "whole numbers from 0" in errors[0]["detail"]


@pytest.mark.parametrize(("body", "status", "code", "pointer"), EVENTS)
def test_events(http, body, status, code, pointer):
    errors = check(send(http, "POST", "/v1/events", body), status, "bad-event", "/v1/events")
    assert [(error["code"], error["pointer"]) for error in errors] == [(code, pointer)]


def test_a_number_out_of_range_in_an_event(http):
    body = json.dumps(FEEDBACK)[:-1].encode() + b',"value":1e999}'
    errors = check(send(http, "POST", "/v1/events", body), 422, "bad-event", "/v1/events")
    assert errors[0]["pointer"] == "/value"


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_not_json_in_an_event(http, word):
    body = json.dumps(FEEDBACK)[:-1].encode() + b',"value":' + word + b"}"
    errors = check(send(http, "POST", "/v1/events", body), 422, "bad-event", "/v1/events")
    assert errors[0]["code"] == "json"


def test_batches_that_cannot_be_read(http):
    path = "/v1/events"
    check(send(http, "POST", path, b"[{},"), 400, "bad-json", path)
    check(send(http, "POST", path, b"[]"), 422, "bad-request", path)
    check(send(http, "POST", path, b"[" + b"{}," * 1000 + b"{}]"), 422, "bad-request", path)
    check(send(http, "POST", path, b"\n\n", "application/x-ndjson"), 422, "bad-request", path)
    check(send(http, "POST", path, b"{}", "text/csv"), 415, "unsupported-media-type", path)


def test_a_body_beyond_the_limit_is_not_read(http):
    path = "/v1/events"
    check(send(http, "POST", path, b" " * 70_000), 413, "body-too-large", path)

    def endless():  # no Content-Length: the limit is met while reading
        for _ in range(100):
            yield b" " * 1024

    reply = http.post(path, content=endless(), headers={"content-type": "application/json"})
    check(reply, 413, "body-too-large", path)


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/items/bad", {"feature": {}}, "/feature"),
        ("/v1/items/bad", {"expires_at": "soon"}, "/expires_at"),
        ("/v1/users/bad", {"features": {"a": []}}, "/features/a"),
        ("/v1/items/bad", {"features": {"a": 1, "": 1}}, "/features/"),
        ("/v1/items/bad", {"features": {"a": {"1": 0.5, "2": "x"}}}, "/features/a/2"),
        (
            "/v1/items/bad",
            {"features": {"a": dict.fromkeys(map(str, range(1001)), 0)}},
            "/features/a",
        ),
        ("/v1/pools/bad", {}, "/item_ids"),
        ("/v1/pools/bad", {"item_ids": "base0"}, "/item_ids"),
        ("/v1/items/" + "x" * 300, {}, "/id"),
    ],
)
def test_items_users_and_pools(http, path, body, pointer):
    errors = check(http.put(path, json=body), 422, "bad-request", path)
    assert [error["pointer"] for error in errors] == [pointer]


def test_an_empty_pool_is_kept_and_gives_no_slate(http):
    assert http.put("/v1/pools/empty", json={"item_ids": []}).status_code == 200
    reply = http.post("/v1/slates", json={"k": 1, "pool": "empty"})
    check(reply, 422, "empty-candidates", "/v1/slates")


def test_unknown_paths_methods_and_names(http):
    check(http.get("/v2/slates"), 404, "not-found", "/v2/slates")
    wrong = http.get("/v1/slates")
    check(wrong, 405, "method-not-allowed", "/v1/slates")
    assert wrong.headers["allow"] == "POST"
    check(http.get("/v1/items/nobody"), 404, "unknown-item", "/v1/items/nobody")
    check(http.delete("/v1/items/nobody"), 404, "unknown-item", "/v1/items/nobody")
    check(http.get("/v1/users/nobody"), 404, "unknown-user", "/v1/users/nobody")
    check(http.get("/v1/pools/nobody"), 404, "unknown-pool", "/v1/pools/nobody")
    path = "/v1/policies/none/items/base0"
    check(http.get(path), 404, "unknown-policy", path)
    path = "/v1/policies/main/items/nobody"
    check(http.get(path), 404, "unknown-item", path)


def test_contexts_that_do_not_fit_in_the_query(http):
    path = "/v1/policies/main/items/base0"
    check(http.get(path, params={"context": "{"}), 400, "bad-json", path)
    check(http.get(path, params={"context": "[]"}), 422, "bad-request", path)
    check(http.get(path, params={"context": '{"hour":"x"}'}), 422, "bad-features", path)


@pytest.mark.parametrize("path", ["/v1/items/%ff", "/v1/users/a%00", "/v1/pools/%c3%28"])
def test_paths_that_are_no_text(http, path):
    for method in ("GET", "PUT"):
        reply = http.request(method, path, json={"item_ids": []} if "pools" in path else {})
        assert reply.status_code == 400
        assert reply.json()["type"] == "/problems/bad-encoding"
    assert http.get("/v1/items/%c3%a4%ef%bf%bd").status_code == 404  # U+FFFD itself is text


def test_a_client_that_hangs_up_within_its_body_leaves_no_traceback(service, http):
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    def unread():
        text = http.get("/metrics").text
        found = re.search(r'request_seconds_count{[^}]*/v1/events",status="422"} (\S+)', text)
        return float(found.group(1)) if found else 0.0

    before = unread()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(head + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.1)
    wait_until(lambda: unread() > before)
    assert "Traceback" not in service.errors.read_text()
