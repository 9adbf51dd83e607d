"""Vectors of frozen sets, served: looked up, ranked by, logged, learned, and switched."""

import tomllib

import httpx
import numpy as np
import pytest

from api.doctor.examine import examine
from api.ranking import Ranker
from api.settings import read_settings
from engine.embeddings.keys import hash_ids
from engine.embeddings.vectors import VectorSet
from streams.catalogue import Catalogue
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Item, encode_event
from streams.log.base import CATALOGUE
from streams.log.memory import MemoryLog
from streams.vector_features import open_vectors
from streams.vector_files import save_vectors
from tests.api.running import Running, run_cli, wait_until
from tests.api.test_slates import logged

SETTINGS = """
commit_interval_ms = 50

[policies.main]
spec = "hybrid-greedy:floor=0.1"
features = [
    { type = "numeric", name = "hour" },
    { type = "vector", name = "taste", count = 3, version = "VERSION" },
    { type = "vector", name = "style", of = "item", count = 3, version = "a" },
    { type = "interaction", left = "taste", right = "style" },
]

[recommenders.default]
policy = "main"
window_seconds = 0.2
"""
USERS, ITEMS = ["u0", "u1"], ["i0", "i1", "i2"]


def save(data_dir, version="a", count=3):
    rng = np.random.default_rng(len(version))
    for name, salt, ids in (("taste", "user_id", USERS), ("style", "item_id", ITEMS[:2])):
        vectors = rng.normal(size=(len(ids), count)).astype(np.float32)
        save_vectors(data_dir, name, VectorSet.of(hash_ids(salt, ids).keys, vectors, version))


def model(running):
    return httpx.get(f"{running.url}/v1/model").json()


def serve(running, version, slates):
    """Start on one version, have a slate shown and learned; returns how it was logged."""
    running.file.write_text(f'port = 0\ndata_dir = "{running.data_dir}"\n{with_version(version)}')
    running.start()
    try:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            for item_id in ITEMS:
                client.put(f"/v1/items/{item_id}", json={})
            ask = {"k": 3, "candidates": ITEMS, "user_id": "u1", "context": {"hour": 1}}
            reply = client.post("/v1/slates", json=ask)
            assert reply.status_code == 200, reply.text

        def learned():
            counts = model(running)["conservation"]["counts"].get("impression", {})
            return counts.get("applied", 0) == slates

        wait_until(learned)
        (impression,) = logged(running, reply.json()["request_id"])
    finally:
        assert running.stop() == 0
    return impression


def with_version(version):
    return SETTINGS.replace("VERSION", version)


def test_a_service_serves_logs_and_learns_vectors_and_goes_on_with_others(tmp_path):
    running = Running(tmp_path, with_version("a"))
    refused = run_cli("serve", "--config", str(running.file), cwd=tmp_path)
    assert refused.returncode == 2
    assert "feature 'taste' reads vectors of version 'a'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (running.data_dir / "state.db").exists()  # nothing was learned that way

    save(running.data_dir)
    before = serve(running, "a", 1)
    held = VectorSet.of(hash_ids("user_id", USERS).keys, taste_of("a")).lookup(
        hash_ids("user_id", ["u1"]).keys
    )[0][0]
    assert before.context == {"hour": 1, "taste": before.context["taste"]}
    assert before.context["taste"].keys() == {"v:a", "0", "1", "2"}
    sent = [before.context["taste"][str(place)] for place in range(3)]
    np.testing.assert_allclose(sent, held, rtol=1e-6)
    style = {shown.item_id: shown.features for shown in before.slate}
    assert style["i2"] == {}  # not in the set
    assert style["i0"]["style"]["v:a"] == 1

    save(running.data_dir, "bb")
    after = serve(running, "bb", 2)
    assert "v:bb" in after.context["taste"]
    assert {shown.item_id: shown.features for shown in after.slate} == style


def taste_of(version):
    return np.random.default_rng(len(version)).normal(size=(len(USERS), 3)).astype(np.float32)


def ranker_of(tmp_path):
    config = EngineConfig(
        policies={
            "main": PolicyConfig(
                spec="hybrid-greedy",
                features=(
                    {"type": "vector", "name": "taste", "count": 3, "version": "a"},
                    {"type": "vector", "name": "style", "of": "item", "count": 3, "version": "a"},
                ),
            )
        },
        recommenders={"default": RecommenderConfig(policy="main")},
    )
    log = MemoryLog()
    log.append(CATALOGUE, [("", encode_event(Item(ts=0, id=item_id))) for item_id in ITEMS])
    catalogue = Catalogue(log)
    catalogue.refresh()
    save(tmp_path)
    schemas = [config.policies["main"].schema]
    return Ranker(config, catalogue, open_vectors(schemas, tmp_path))


def test_what_is_ranked_by_is_to_the_bit_what_is_learned(tmp_path):
    ranker = ranker_of(tmp_path)
    schema = ranker.policies["main"].schema
    shown = [ranker.shown_features("main", item_id) for item_id in ITEMS]
    rows = ranker.item_rows("main", tuple(ITEMS))
    np.testing.assert_array_equal(rows, schema.encode_items(shown))
    assert rows[:2].all()
    assert not rows[2].any()


def test_the_doctor_misses_sets(tmp_path):
    file = tmp_path / "slatestream.toml"
    file.write_text(with_version("a"))
    settings = read_settings(file, data_dir=tmp_path / "data")

    def found():
        report = examine(settings, file)
        return [(each.status, each.found) for each in report.findings if each.check == "vectors"]

    ((status, told),) = found()
    assert status == "problem"
    assert "not there" in told
    save(tmp_path / "data", count=4)
    ((status, told),) = found()
    assert status == "problem"
    assert "they have 4" in told


def test_the_doctor_finds_sets(tmp_path):
    file = tmp_path / "slatestream.toml"
    file.write_text(with_version("a"))
    save(tmp_path / "data")
    report = examine(read_settings(file, data_dir=tmp_path / "data"), file)
    (found,) = (each for each in report.findings if each.check == "vectors")
    assert found.status == "ok"
    assert found.found == "taste a: 2 vectors of 3 numbers; style a: 2 vectors of 3 numbers"


LEARNING = """
commit_interval_ms = 50

[policies.tastes]
spec = "mf-greedy:dimension=3,floor=0.5"
features = [{ type = "id", name = "user_id" }]

[policies.main]
spec = "linear-greedy:floor=0.1"
features = [{ type = "numeric", name = "hour" }]

[recommenders.default]
policy = "tastes"
window_seconds = 0.2

[recommenders.second]
policy = "main"
window_seconds = 0.2
"""


@pytest.mark.slow
def test_what_one_policy_learned_of_users_is_a_feature_of_another(tmp_path):
    running = Running(tmp_path, LEARNING)
    running.start(seconds=400)
    try:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            for item_id in ITEMS:
                client.put(f"/v1/items/{item_id}", json={})
            for number in range(20):
                ask = {"k": 2, "candidates": ITEMS, "user_id": USERS[number % 2]}
                assert client.post("/v1/slates", json=ask).status_code == 200

        def learned():
            counts = model(running)["conservation"]["counts"].get("impression", {})
            return counts.get("applied", 0) == 20

        wait_until(learned)
        frozen = run_cli(
            *("table", "freeze", "tastes", "user_id", "taste", "--config", str(running.file)),
            cwd=running.folder,
        )
        assert frozen.returncode == 0, frozen.stderr
    finally:
        assert running.stop() == 0
    assert "2 vectors of 3 numbers" in frozen.stderr
    more = LEARNING.replace('name = "hour" }', f'name = "hour" }}, {frozen.stdout.strip()}')
    running.file.write_text(f'port = 0\ndata_dir = "{running.data_dir}"\n{more}')
    running.start(seconds=400)
    try:
        ask = {"k": 2, "candidates": ITEMS, "user_id": "u1", "recommender": "second"}
        reply = httpx.post(f"{running.url}/v1/slates", json=ask, timeout=30)
        assert reply.status_code == 200, reply.text
        (impression,) = logged(running, reply.json()["request_id"])
    finally:
        assert running.stop() == 0
    version = tomllib.loads(f"it = {frozen.stdout}")["it"]["version"]
    assert impression.context["taste"].keys() == {f"v:{version}", "0", "1", "2"}
