"""Health, metrics, the model, the pages and the OpenAPI description of the running service."""

import re

import pytest

PROBLEM = {"$ref": "#/components/schemas/Problem"}


def test_health(http):
    assert http.get("/health/live").json() == {"status": "live"}
    assert http.get("/health/ready").json() == {"status": "ready"}


def test_probes_may_ask_for_the_head_alone(http):
    for path in ("/health/live", "/health/ready"):
        reply = http.head(path)
        assert (reply.status_code, reply.content) == (200, b"")


def test_a_path_is_not_redirected_to_another(http):
    for path in ("/v1/model/", "/v1/slates/", "/health/live/"):
        assert http.get(path, follow_redirects=False).status_code == 404


def test_the_model_says_what_is_served_and_how_far_it_learned(http):
    body = http.get("/v1/model").json()
    assert body["view"] >= 1
    assert 1 <= body["offsets"]["0"] <= body["end"]
    assert {policy["name"] for policy in body["policies"]} == {"main", "random", "topical"}
    slate = http.post("/v1/slates", json={"k": 1, "pool": "base"}).json()
    (main,) = (policy for policy in body["policies"] if policy["name"] == "main")
    assert main["hash"] == slate["policy_hash"]
    assert main["fallback"] is None
    assert body["recommenders"] == {"default": "main", "control": "random", "topical": "topical"}
    assert body["conservation"]["exact"] is True


def metric(text, name, **labels):
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for line in text.splitlines():
        found = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
        if found and wanted <= set((found.group(1) or "").split(",")):
            return float(found.group(2))
    return 0.0


def test_metrics_count_slates_events_and_failures(http):
    seconds = "slatestream_http_request_seconds"
    before = http.get("/metrics").text
    http.post("/v1/slates", json={"k": 1, "pool": "base"})
    http.post("/v1/slates", json={"k": 1, "pool": "none"})
    http.get("/v1/elsewhere/with/an/id")
    after = http.get("/metrics").text

    def grew(name, **labels):
        return metric(after, name, **labels) - metric(before, name, **labels)

    assert grew(f"{seconds}_count", route="/v1/slates", status="200") == 1
    assert grew(f"{seconds}_count", route="/v1/slates", status="404") == 1
    assert grew(f"{seconds}_count", route="unmatched", status="404") == 1
    assert grew("slatestream_slates_total", recommender="default") == 1
    assert grew("slatestream_commit_records_sum") == 1
    assert grew("slatestream_commit_seconds_count") == 1
    assert metric(after, "slatestream_view_age_seconds") >= 0
    bounds = {float(bound) for bound in re.findall(r'seconds_bucket{le="([\d.]+)"', after)}
    assert {0.0001, 0.0005, 0.001, 0.005} <= bounds
    assert metric(after, "slatestream_view_version") >= 1
    assert metric(after, "slatestream_events", type="impression", fate="consumed") >= 0
    assert metric(after, "slatestream_ready") == 1


def test_the_page_needs_nothing_from_elsewhere(http):
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "slatestream" in page.text
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)


def test_every_problem_is_explained_under_its_type(http):
    problem = http.get("/v1/items/nobody").json()
    told = http.get(problem["type"])
    assert told.status_code == 200
    assert told.text.startswith("404 ")
    assert http.get("/problems/none").status_code == 404


@pytest.fixture(scope="module")
def openapi(http):
    return http.get("/openapi.json").json()


def test_openapi_describes_the_raw_routes(openapi):
    assert openapi["openapi"].startswith("3.1")
    expected = {
        "/v1/slates": {"post"},
        "/v1/events": {"post"},
        "/v1/items/{id}": {"get", "put", "delete"},
        "/v1/users/{id}": {"get", "put"},
        "/v1/pools/{name}": {"get", "put"},
        "/v1/policies/{name}/items/{id}": {"get"},
        "/v1/model": {"get"},
        "/v1/dead-letters": {"get"},
        "/health/live": {"get"},
        "/health/ready": {"get"},
        "/metrics": {"get"},
    }
    found = {path: set(methods) for path, methods in openapi["paths"].items()}
    assert expected.items() <= found.items()
    slates = openapi["paths"]["/v1/slates"]["post"]
    content = slates["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/SlateRequest"}
    events = openapi["paths"]["/v1/events"]["post"]
    assert set(events["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert {"202", "207", "422"} <= set(events["responses"])
    for status in ("400", "404", "409", "413", "422", "503"):
        assert slates["responses"][status]["content"]["application/problem+json"] == {
            "schema": PROBLEM
        }


def test_every_reference_of_openapi_resolves_and_parameters_are_named(openapi):
    schemas = openapi["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/([^\"']+)", str(openapi)):
        assert name in schemas
    for path, methods in openapi["paths"].items():
        for described in methods.values():
            in_path = [p["name"] for p in described.get("parameters", []) if p["in"] == "path"]
            assert in_path == re.findall(r"{(\w+)}", path)


def test_replies_hold_exactly_what_openapi_says(http, openapi):
    schemas = openapi["components"]["schemas"]
    slate = http.post("/v1/slates", json={"k": 1, "pool": "base"}).json()
    for name, body in {
        "SlateReply": slate,
        "Slot": slate["slate"][0],
        "PoolReply": http.get("/v1/pools/base").json(),
        "ItemReply": http.get("/v1/items/base0").json(),
        "ItemBelief": http.get("/v1/policies/main/items/base0").json(),
        "ModelReply": http.get("/v1/model").json(),
        "Problem": http.get("/v1/items/nobody").json(),
    }.items():
        required = set(schemas[name].get("required", []))
        assert required <= set(body) <= set(schemas[name]["properties"]), name
