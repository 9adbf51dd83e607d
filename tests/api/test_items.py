"""Items, users and pools over HTTP."""

import urllib.parse

import pytest


def test_an_item_is_put_read_replaced_and_deleted(http):
    path = "/v1/items/lamp"
    put = http.put(path, json={"features": {"price": 9.5, "kind": "lamp"}, "available_from": 5})
    assert put.status_code == 200
    body = put.json()
    assert body["id"] == "lamp"
    assert body["features"] == {"price": 9.5, "kind": "lamp"}
    assert (body["available_from"], body["expires_at"]) == (5, None)
    assert body["ts"] > 0
    assert http.get(path).json() == body
    replaced = http.put(path, json={"ts": 7}).json()
    assert (replaced["features"], replaced["available_from"], replaced["ts"]) == ({}, None, 7)
    deleted = http.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert http.get(path).status_code == 404
    assert http.delete(path).status_code == 404
    assert http.put(path, json={}).status_code == 200
    assert http.get(path).status_code == 200


@pytest.mark.parametrize("item_id", ["a/b", "ä ö", "50%", "a?b#c"])
def test_ids_may_hold_any_text(http, item_id):
    path = f"/v1/items/{urllib.parse.quote(item_id, safe='')}"
    assert http.put(path, json={}).json()["id"] == item_id
    assert http.get(path).json()["id"] == item_id
    slate = http.post("/v1/slates", json={"k": 1, "candidates": [item_id]}).json()
    assert slate["slate"][0]["item_id"] == item_id


def test_a_deleted_item_leaves_its_pools(http):
    for item_id in ("stays", "goes"):
        http.put(f"/v1/items/{item_id}", json={})
    pool = http.put("/v1/pools/pair", json={"item_ids": ["stays", "goes", "unborn"]}).json()
    assert pool["missing_ids"] == ["unborn"]
    http.delete("/v1/items/goes")
    assert http.get("/v1/pools/pair").json()["missing_ids"] == ["goes", "unborn"]
    slate = http.post("/v1/slates", json={"k": 1, "pool": "pair"}).json()["slate"]
    assert slate[0]["item_id"] == "stays"
    assert http.post("/v1/slates", json={"k": 2, "pool": "pair"}).status_code == 422
    http.put("/v1/items/unborn", json={})
    assert http.post("/v1/slates", json={"k": 2, "pool": "pair"}).status_code == 200


def test_a_pool_replaced_has_a_later_version(http):
    first = http.put("/v1/pools/grows", json={"item_ids": ["base0"]}).json()
    second = http.put("/v1/pools/grows", json={"item_ids": ["base0", "base1"]}).json()
    assert second["version"] > first["version"]
    assert http.get("/v1/pools/grows").json() == second


def test_a_user_is_put_and_read(http):
    put = http.put("/v1/users/ann", json={"features": {"hour": 7}})
    assert put.json()["features"] == {"hour": 7}
    assert http.get("/v1/users/ann").json() == put.json()
