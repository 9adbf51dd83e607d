"""POST /v1/slates: what a reply holds, what is logged, and what repeats."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.events import Impression, decode_event
from streams.log.sqlite import SqliteLog

ASK = {"k": 3, "pool": "base"}


def logged(service, request_id):
    log = SqliteLog(service.data_dir / "log.db", read_only=True)
    try:
        records = log.poll("events", 0, 1_000_000)
    finally:
        log.close()
    return [decode_event(r.value) for r in records if r.key == request_id]


def test_a_slate_has_its_shape_and_is_logged_before_the_reply(service, http):
    context = {"hour": 21, "device": "ios"}
    reply = http.post("/v1/slates", json={**ASK, "user_id": "u1", "context": context})
    assert reply.status_code == 200
    body = reply.json()
    assert set(body) == {
        *("request_id", "recommender", "policy", "policy_hash", "view", "version"),
        *("slate", "fallback", "missing_ids"),
    }
    assert (body["recommender"], body["policy"], body["fallback"]) == ("default", "main", None)
    assert [slot["slot"] for slot in body["slate"]] == [0, 1, 2]
    for slot in body["slate"]:
        assert set(slot) == {
            *("item_id", "slot", "score", "propensity", "error", "method", "reason"),
        }
        assert 0 < slot["propensity"] <= 1
        assert slot["reason"] in {"exploit", "explore", "cold_start"}
    (impression,) = logged(service, body["request_id"])
    assert isinstance(impression, Impression)
    assert impression.context == context
    assert impression.user_id == "u1"
    assert impression.pool == "base"
    assert impression.policy_hash == body["policy_hash"]
    shown = [(s.item_id, s.propensity, s.method, s.error) for s in impression.slate]
    assert shown == [
        (s["item_id"], s["propensity"], s["method"], s["error"]) for s in body["slate"]
    ]


def test_a_users_features_are_overlaid_by_the_request(service, http):
    http.put("/v1/users/overlaid", json={"features": {"hour": 3, "device": "web"}})
    ask = {**ASK, "user_id": "overlaid", "context": {"hour": 5}}
    body = http.post("/v1/slates", json=ask).json()
    (impression,) = logged(service, body["request_id"])
    assert impression.context == {"hour": 5, "device": "web"}


@pytest.mark.parametrize(
    ("asked", "context"),
    [
        ({"user_id": "u1"}, {"user_id": "u1"}),
        ({"user_id": "u1", "context": {"page": "/é"}}, {"page": "/é", "user_id": "u1"}),
        ({"user_id": "u1", "context": {"user_id": "household"}}, {"user_id": "household"}),
        ({"user_id": "u1", "context": {"user_id": None}}, {"user_id": "u1"}),
        ({"context": {"user_id": "u2"}}, {"user_id": "u2"}),
        ({}, {}),
    ],
)
def test_a_policy_that_reads_the_user_s_id_has_it_logged_with_the_context(
    service, http, asked, context
):
    ask = {**ASK, "recommender": "control", **asked}
    body = http.post("/v1/slates", json=ask).json()
    (impression,) = logged(service, body["request_id"])
    assert impression.context == context
    assert impression.user_id == asked.get("user_id")


def test_what_is_no_id_is_refused_and_a_policy_without_ids_has_none_logged(service, http):
    ask = {**ASK, "recommender": "control", "user_id": "u1", "context": {"user_id": 7}}
    reply = http.post("/v1/slates", json=ask)
    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert error["pointer"] == "/context/user_id"
    assert "must be a string" in error["detail"]
    body = http.post("/v1/slates", json={**ASK, "user_id": "u1"}).json()
    (impression,) = logged(service, body["request_id"])
    assert impression.context == {}


def test_explicit_candidates_exclusions_and_missing_ids(http):
    ask = {"k": 2, "candidates": ["base0", "nobody", "base1", "base2"], "exclude": ["base0"]}
    body = http.post("/v1/slates", json=ask).json()
    assert {slot["item_id"] for slot in body["slate"]} == {"base1", "base2"}
    assert body["missing_ids"] == ["nobody"]


def test_the_random_recommender_states_exact_even_propensities(http):
    body = http.post("/v1/slates", json={**ASK, "recommender": "control"}).json()
    assert [slot["propensity"] for slot in body["slate"]] == pytest.approx([1 / 6, 1 / 5, 1 / 4])
    assert {slot["method"] for slot in body["slate"]} == {"exact"}


def test_a_repeated_request_id_repeats_the_reply_and_is_logged_once(service, http):
    ask = {**ASK, "request_id": uuid.uuid4().hex}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: http.post("/v1/slates", json=ask).content, range(8)))
    assert len(set(replies)) == 1
    assert len(logged(service, ask["request_id"])) == 1
    other = http.post("/v1/slates", json={**ask, "k": 2})
    assert other.status_code == 409
    assert other.json()["errors"][0]["pointer"] == "/request_id"


def test_a_failed_request_does_not_use_up_its_id(http):
    ask = {"k": 3, "pool": "later", "request_id": uuid.uuid4().hex}
    assert http.post("/v1/slates", json=ask).status_code == 404
    http.put("/v1/pools/later", json={"item_ids": ["base0", "base1", "base2"]})
    assert http.post("/v1/slates", json=ask).status_code == 200


def test_a_dry_run_logs_nothing_and_the_request_id_seeds_the_draw(service, http):
    ask = {**ASK, "recommender": "control", "request_id": uuid.uuid4().hex, "dry_run": True}
    first, second = (http.post("/v1/slates", json=ask).json() for _ in range(2))
    assert first["slate"] == second["slate"]
    assert not logged(service, ask["request_id"])
    others = [
        http.post("/v1/slates", json={**ask, "request_id": str(number)}).json()["slate"]
        for number in range(20)
    ]
    assert any(other != first["slate"] for other in others)


def test_items_not_available_are_not_shown(http):
    http.put("/v1/items/future", json={"available_from": 2**52})
    http.put("/v1/items/past", json={"expires_at": 1})
    ask = {"k": 1, "candidates": ["future", "past", "base0"]}
    body = http.post("/v1/slates", json=ask).json()
    assert body["slate"][0]["item_id"] == "base0"
    assert body["missing_ids"] == ["future", "past"]


def test_a_user_s_own_features_are_blamed_on_the_user(http):
    assert http.put("/v1/users/odd", json={"features": {"hour": "evening"}}).status_code == 200
    reply = http.post("/v1/slates", json={"k": 1, "pool": "base", "user_id": "odd"})
    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert error["pointer"] == "/user_id"
    assert "odd" in error["detail"]
    mine = {"k": 1, "pool": "base", "user_id": "odd", "context": {"hour": 3}}
    assert http.post("/v1/slates", json=mine).status_code == 200


def test_dry_runs_are_not_counted_as_served(http):
    def served():
        lines = http.get("/metrics").text.splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.startswith("slatestream_slates_total{"))

    http.post("/v1/slates", json={"k": 1, "pool": "base"})
    before = served()
    http.post("/v1/slates", json={"k": 1, "pool": "base", "dry_run": True})
    assert served() == before


def test_pins_are_shown_where_they_were_put_and_logged_as_such(service, http):
    ask = {**ASK, "k": 4, "pins": {"2": "base5", "0": "base3"}, "request_id": uuid.uuid4().hex}
    body = http.post("/v1/slates", json=ask).json()
    pinned = [slot["item_id"] for slot in body["slate"] if slot["method"] == "pinned"]
    assert (
        pinned == ["base3", "base5"] == [body["slate"][0]["item_id"], body["slate"][2]["item_id"]]
    )
    for slot in body["slate"]:
        assert (slot["method"] == "pinned") == (slot["reason"] == "pinned")
        assert slot["propensity"] == 1.0 or slot["method"] != "pinned"
    (impression,) = logged(service, ask["request_id"])
    assert [shown.method for shown in impression.slate] == [s["method"] for s in body["slate"]]
    assert impression.slate[2].propensity == 1.0
    assert (
        http.post("/v1/slates", json={**ask, "pins": {"0": "base3", "2": "base5"}}).json() == body
    )
    assert http.post("/v1/slates", json={**ask, "pins": {"0": "base3"}}).status_code == 409


def test_pins_of_the_random_recommender_leave_the_rest_even(http):
    ask = {**ASK, "recommender": "control", "pins": {"1": "base0"}}
    body = http.post("/v1/slates", json=ask).json()
    assert [slot["propensity"] for slot in body["slate"]] == pytest.approx([1 / 5, 1, 1 / 4])


def test_what_is_shown_is_logged_with_the_features_that_the_policy_reads(service, http):
    features = {"price": 3, "topic": {"2": 0.5}, "colour": "red"}
    for number in range(3):
        item = {"features": features if number else {}}
        assert http.put(f"/v1/items/topical{number}", json=item).status_code == 200
    assert http.get("/v1/items/topical1").json()["features"] == features
    ask = {
        "k": 3,
        "candidates": [f"topical{number}" for number in range(3)],
        "recommender": "topical",
        "context": {"taste": {"0": 0.75, "2": 0.25}},
    }
    body = http.post("/v1/slates", json=ask).json()
    (impression,) = logged(service, body["request_id"])
    assert impression.context == ask["context"]
    shown = {item.item_id: item.features for item in impression.slate}
    assert shown.pop("topical0") == {}
    assert list(shown.values()) == [{"price": 3, "topic": {"2": 0.5}}] * 2
    (impression,) = logged(service, http.post("/v1/slates", json=ASK).json()["request_id"])
    assert {item.features for item in impression.slate} == {None}
    belief = http.get("/v1/policies/topical/items/topical1")
    assert belief.status_code == 200


def test_an_item_whose_features_do_not_fit_is_named(http):
    assert http.put("/v1/items/odd", json={"features": {"price": "dear"}}).status_code == 200
    ask = {"k": 1, "candidates": ["base0", "odd"], "recommender": "topical"}
    reply = http.post("/v1/slates", json=ask)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/bad-features")
    (error,) = reply.json()["errors"]
    assert error["pointer"] == "/candidates/1"
    assert "item 'odd'" in error["detail"]
    assert "price" in error["detail"]
    http.put("/v1/pools/odd", json={"item_ids": ["base0", "odd"]})
    (error,) = http.post("/v1/slates", json={**ask, "candidates": None, "pool": "odd"}).json()[
        "errors"
    ]
    assert error["pointer"] == "/pool"
    assert http.post("/v1/slates", json={**ask, "recommender": "default"}).status_code == 200
    belief = http.get("/v1/policies/topical/items/odd")
    assert (belief.status_code, belief.json()["type"]) == (422, "/problems/bad-features")
    http.delete("/v1/items/odd")
    assert http.post("/v1/slates", json=ask).status_code == 200
