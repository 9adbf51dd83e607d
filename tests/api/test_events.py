"""POST /v1/events: shapes of a batch, duplicates, mixed batches, and learning from them."""

import json
import uuid

from streams.events import decode_event
from streams.log.sqlite import SqliteLog
from tests.api.running import wait_until

ASK = {"k": 2, "pool": "base"}


def feedback(**fields):
    event = {"type": "feedback", "event_id": uuid.uuid4().hex, "request_id": uuid.uuid4().hex}
    return event | {"item_id": "base0", "kind": "click"} | fields


def events_of(service, request_id):
    log = SqliteLog(service.data_dir / "log.db", read_only=True)
    try:
        records = [r for r in log.poll("events", 0, 1_000_000) if r.key == request_id]
    finally:
        log.close()
    return [(record.stamp, decode_event(record.value)) for record in records]


def counts(http, kind):
    told = http.get("/v1/model").json()["conservation"]
    assert told["exact"]
    return told["counts"].get(kind, {})


def tallies(reply):
    body = reply.json()
    assert body.pop("version").startswith("0:")
    return body


def test_one_event_without_ts_gets_the_servers_time(service, http):
    event = feedback()
    reply = http.post("/v1/events", json=event)
    assert reply.status_code == 202
    assert tallies(reply) == {"accepted": 1, "duplicates": 0}
    ((stamp, kept),) = events_of(service, event["request_id"])
    assert abs(stamp - kept.ts) < 60_000
    dated = feedback(ts=12345)
    http.post("/v1/events", json=dated)
    ((_, kept),) = events_of(service, dated["request_id"])
    assert kept.ts == 12345


def test_arrays_and_ndjson(http):
    array = [feedback() for _ in range(3)]
    assert tallies(http.post("/v1/events", json=array)) == {"accepted": 3, "duplicates": 0}
    lines = "\n".join(json.dumps(feedback()) for _ in range(4)) + "\n\n"
    for kind in ("application/x-ndjson", "application/x-ndjson; charset=utf-8"):
        reply = http.post("/v1/events", content=lines, headers={"content-type": kind})
        assert reply.status_code == 202
    assert tallies(reply) == {"accepted": 0, "duplicates": 4}


def test_duplicates_within_a_batch_and_after_it(service, http):
    event = feedback()
    first = http.post("/v1/events", json=[event, event])
    assert tallies(first) == {"accepted": 1, "duplicates": 1}
    again = http.post("/v1/events", json=event)
    assert tallies(again) == {"accepted": 0, "duplicates": 1}
    assert again.json()["version"] == first.json()["version"], "where it stands already"
    assert len(events_of(service, event["request_id"])) == 1
    other = event | {"request_id": uuid.uuid4().hex}  # ids are told apart within a request
    assert http.post("/v1/events", json=other).json()["accepted"] == 1


def test_a_mixed_batch_says_which_were_refused(http):
    batch = [feedback(), {"type": "feedback"}, feedback(), feedback(value="x")]
    reply = http.post("/v1/events", json=batch)
    assert reply.status_code == 207
    body = reply.json()
    assert (body["accepted"], body["duplicates"]) == (2, 0)
    assert [each["index"] for each in body["results"]] == [1, 3]
    problem = body["results"][1]["problem"]
    assert problem["type"] == "/problems/bad-event"
    assert problem["errors"][0]["pointer"] == "/value"


def test_a_broken_line_does_not_take_its_neighbours_along(http):
    good = json.dumps(feedback()).encode()
    for broken in (b"{", b'{"type":"feedback","kind":"\xff"}', b'{"type":"feedback","value":NaN}'):
        lines = b"\n".join([good, broken, json.dumps(feedback()).encode()])
        reply = http.post(
            "/v1/events", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert reply.status_code == 207
        assert [each["index"] for each in reply.json()["results"]] == [1]


def test_broken_utf8_within_an_array_is_pointed_at(http):
    good = json.dumps(feedback()).encode()
    body = b"[" + good + b',{"type":"feedback","kind":"\xff"}]'
    reply = http.post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 207
    ((index, problem),) = [tuple(each.values()) for each in reply.json()["results"]]
    assert (index, problem["errors"][0]["code"]) == (1, "encoding")


def test_a_batch_without_a_good_event_is_refused_whole(http):
    reply = http.post("/v1/events", json=[{"type": "feedback"}, feedback(value="x")])
    assert reply.status_code == 422
    problem = reply.json()
    assert problem["type"] == "/problems/bad-events"
    assert [each["pointer"].split("/")[1] for each in problem["errors"]] == ["0", "1"]


def test_the_catalogue_may_be_posted_too(http):
    batch = [
        {"type": "item", "id": "posted", "features": {"size": 3}},
        {"type": "user", "id": "posted", "features": {"hour": 3}},
        {"type": "pool", "name": "posted", "item_ids": ["posted"]},
    ]
    assert http.post("/v1/events", json=batch).json()["accepted"] == 3
    assert http.get("/v1/items/posted").json()["features"] == {"size": 3}
    assert http.get("/v1/users/posted").json()["features"] == {"hour": 3}
    assert http.get("/v1/pools/posted").json()["item_ids"] == ["posted"]
    slate = http.post("/v1/slates", json={"k": 1, "pool": "posted"})
    assert slate.json()["slate"][0]["item_id"] == "posted"


def test_feedback_for_an_unknown_request_ends_as_an_orphan(http):
    before = counts(http, "feedback").get("orphan", 0)
    assert http.post("/v1/events", json=feedback()).status_code == 202
    wait_until(lambda: counts(http, "feedback").get("orphan", 0) > before)


def test_feedback_on_an_item_not_shown_is_counted_as_such(http):
    before = counts(http, "feedback").get("not_shown", 0)
    slate = http.post("/v1/slates", json=ASK).json()
    event = feedback(request_id=slate["request_id"], item_id="elsewhere")
    assert http.post("/v1/events", json=event).status_code == 202
    wait_until(lambda: counts(http, "feedback").get("not_shown", 0) > before)


def test_an_impression_from_outside_is_learned(http):
    http.put("/v1/items/outside", json={})
    request_id = uuid.uuid4().hex
    impression = {
        "type": "impression",
        "request_id": request_id,
        "recommender": "default",
        "slate": [{"item_id": "outside", "propensity": 0.25, "method": "exact"}],
    }
    click = feedback(request_id=request_id, item_id="outside")
    assert http.post("/v1/events", json=[impression, click]).json()["accepted"] == 2
    belief = "/v1/policies/main/items/outside"
    wait_until(lambda: http.get(belief).json()["count"] == 1)


def test_clicks_move_the_belief_of_an_item(http):
    for item_id in ("liked", "disliked"):
        http.put(f"/v1/items/{item_id}", json={})
    start = http.get("/v1/policies/main/items/liked").json()
    assert start["count"] == 0
    for _ in range(20):
        ask = {"k": 2, "candidates": ["liked", "disliked"], "context": {"device": "web"}}
        slate = http.post("/v1/slates", json=ask).json()
        http.post("/v1/events", json=feedback(request_id=slate["request_id"], item_id="liked"))

    def belief(item_id):
        query = {"context": '{"device":"web"}'}
        return http.get(f"/v1/policies/main/items/{item_id}", params=query).json()

    wait_until(lambda: belief("liked")["count"] == 20)
    liked, disliked = belief("liked"), belief("disliked")
    assert liked["low"] < liked["mean"] < liked["high"]
    assert liked["low"] > disliked["high"]
    assert liked["high"] - liked["low"] < start["high"] - start["low"]
    slate = http.post("/v1/slates", json={**ask, "k": 1}).json()["slate"]
    assert slate[0]["reason"] in {"exploit", "explore"}


def test_a_deeply_nested_event_is_refused_and_its_neighbours_taken(service, http):
    good = feedback()
    deep = b'{"q":' + b"[" * 1500 + b"]" * 1500 + b"}"
    lines = json.dumps(good).encode() + b"\n" + deep
    headers = {"content-type": "application/x-ndjson"}
    reply = http.post("/v1/events", content=lines, headers=headers)
    assert reply.status_code == 207
    assert [each["index"] for each in reply.json()["results"]] == [1]
    assert len(events_of(service, good["request_id"])) == 1
    for path in ("/v1/slates", "/v1/events"):
        body = b"[" * 5000
        reply = http.post(path, content=body, headers={"content-type": "application/json"})
        assert reply.status_code in {400, 422}


def test_a_deeply_nested_event_of_an_array_is_refused_alone(service, http):
    first, last = feedback(kind='cl"[],ick'), feedback()
    deep = b'{"q":' + b'[{"a":' * 1500 + b"1" + b"}]" * 1500 + b"}"
    parts = [json.dumps(first).encode(), deep, json.dumps(last).encode()]
    headers = {"content-type": "application/json"}
    body = b" [" + b" ,\n".join(parts) + b"] "
    reply = http.post("/v1/events", content=body, headers=headers)
    assert reply.status_code == 207, reply.text
    ((index, problem),) = [tuple(each.values()) for each in reply.json()["results"]]
    assert (index, problem["errors"][0]["code"]) == (1, "json")
    assert "nested deeper" in problem["detail"]
    for event in (first, last):
        assert len(events_of(service, event["request_id"])) == 1
    for broken in (body + b"x", body.strip()[:-1], body.strip()[:-1] + b",]"):
        status = http.post("/v1/events", content=broken, headers=headers).status_code
        assert status in {400, 207}
    assert status == 207  # a part that is empty is refused, those known already are duplicates


def test_a_body_of_no_stated_type_is_refused(http):
    """As a page of another site may send one without being asked."""
    for path in ("/v1/slates", "/v1/events"):
        assert http.post(path, content=b"{}").status_code == 415
