"""Keys: what each scope may do, that they are never logged, and who may bind where."""

import hashlib

import httpx
import pytest

from tests.api.running import SETTINGS, Running, run_cli

SERVE, ADMIN = "sk_serve_key_of_the_tests", "sk_admin_key_of_the_tests"


def entry(name, scope, key):
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    return f'\n[[keys]]\nname = "{name}"\nscope = "{scope}"\nsha256 = "{sha256}"\n'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    keys = entry("web", "serve", SERVE) + entry("ops", "admin", ADMIN)
    running = Running(tmp_path_factory.mktemp("guarded"), SETTINGS + keys)
    running.start()
    try:
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture
def call(guarded):
    def call(method, path, key=None, **options):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.request(method, guarded.url + path, headers=headers, **options)

    return call


def test_scopes(call):
    item = "/v1/items/i"
    assert call("PUT", item, ADMIN, json={}).status_code == 200
    assert call("PUT", "/v1/pools/p", ADMIN, json={"item_ids": ["i"]}).status_code == 200
    for key in (SERVE, ADMIN):
        assert call("GET", item, key).status_code == 200
        assert call("POST", "/v1/slates", key, json={"k": 1, "pool": "p"}).status_code == 200
        assert call("GET", "/v1/model", key).status_code == 200
    for method, path in (
        *(("PUT", item), ("DELETE", item)),
        *(("PUT", "/v1/pools/p"), ("PUT", "/v1/users/u")),
    ):
        refused = call(method, path, SERVE)
        assert refused.status_code == 403
        assert refused.json()["type"] == "/problems/forbidden"


def test_the_catalogue_cannot_be_written_through_events_either(call):
    item = {"type": "item", "id": "sneaked"}
    refused = call("POST", "/v1/events", SERVE, json=item)
    assert refused.status_code == 403
    assert call("GET", "/v1/items/sneaked", SERVE).status_code == 404
    assert call("POST", "/v1/events", ADMIN, json=item).status_code == 202


@pytest.mark.parametrize("key", [None, "sk_guess", ADMIN + "x", "ä"])
def test_without_a_known_key_nothing_opens(guarded, key):
    headers = {} if key is None else {"x-api-key": key.encode()}
    for method, path in (("POST", "/v1/slates"), ("GET", "/v1/items/i"), ("GET", "/v1/model")):
        reply = httpx.request(method, guarded.url + path, headers=headers)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["type"] == "/problems/unauthenticated"


def test_both_headers_carry_keys(guarded):
    url = f"{guarded.url}/v1/model"
    for headers in ({"x-api-key": SERVE}, {"authorization": f"bearer {SERVE}"}):
        assert httpx.get(url, headers=headers).status_code == 200


def test_health_metrics_and_the_page_need_none(call):
    for path in ("/health/live", "/health/ready", "/metrics", "/"):
        assert call("GET", path).status_code == 200


def test_keys_are_never_logged(guarded, call):
    call("GET", "/v1/model", SERVE)
    call("GET", "/v1/model", "sk_wrong_but_secret")
    told = guarded.errors.read_text() + (guarded.data_dir / "service.json").read_text()
    for secret in (SERVE, ADMIN, "sk_wrong_but_secret"):
        assert secret not in told
        assert hashlib.sha256(secret.encode()).hexdigest() not in told


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_the_service_stays_on_loopback(tmp_path, host):
    refused = run_cli("serve", "--host", host, "--port", "0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "no key is configured" in refused.stderr
    assert "--insecure" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_insecure_lets_it_out(tmp_path):
    running = Running(tmp_path)
    running.start("--host", "0.0.0.0", "--insecure")
    assert running.status()["host"] == "0.0.0.0"
    assert running.stop() == 0
