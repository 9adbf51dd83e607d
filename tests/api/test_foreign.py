"""A service without keys answers its own machine only, whatever page a browser shows there."""

import pytest

from api.auth import Keyring
from api.problems import ProblemError

ASK = {"k": 1, "pool": "base"}


def kind_of(headers, server="127.0.0.1"):
    try:
        Keyring([]).refuse_foreign(headers, server)
    except ProblemError as error:
        return error.kind
    return None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "192.168.0.7", "[bad", "::"])
def test_a_foreign_name_for_loopback_is_refused(http, host):
    reply = http.post("/v1/slates", json=ASK, headers={"host": host})
    assert reply.status_code == 403
    assert reply.json()["type"] == "/problems/foreign-request"


@pytest.mark.parametrize("host", ["localhost:8000", "LOCALHOST", "127.0.0.1", "[::1]:8000"])
def test_names_of_this_machine_are_answered(http, host):
    assert http.post("/v1/slates", json=ASK, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"]
)
def test_a_page_of_another_site_is_refused(http, origin):
    for method, path in (("POST", "/v1/slates"), ("GET", "/v1/model"), ("PUT", "/v1/items/i")):
        reply = http.request(method, path, json=ASK, headers={"origin": origin})
        assert reply.status_code == 403
        assert reply.json()["type"] == "/problems/foreign-request"


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8000"])
def test_pages_of_this_machine_are_answered(http, origin):
    assert http.post("/v1/slates", json=ASK, headers={"origin": origin}).status_code == 200


def test_let_out_on_purpose_any_name_will_do_but_no_other_site():
    assert kind_of({"host": "box.lan:80"}, "192.168.0.7") is None
    assert kind_of({"host": "box.lan:80", "origin": "http://box.lan:80"}, "192.168.0.7") is None
    foreign = {"host": "box.lan:80", "origin": "http://evil.example"}
    assert kind_of(foreign, "192.168.0.7") == "foreign-request"
