"""``slatestream table``: of a service, of a store alone, and frozen copies that are read."""

import json
import tomllib

import httpx
import numpy as np
import pytest

from engine.embeddings.keys import hash_ids
from streams.committed import read_tables
from streams.store import Store
from streams.vector_files import load_vectors
from tests.api.running import Running, run_cli, wait_until

SETTINGS = """
commit_interval_ms = 50

[policies.main]
spec = "mf-epsilon:dimension=4,max_rows=1000"
features = [{ type = "id", name = "user_id" }]

[policies.plain]
spec = "beta-thompson"

[recommenders.default]
policy = "main"
window_seconds = 0.2
"""
USERS, ITEMS = 20, 6


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("tables"), SETTINGS)
    running.start()
    try:
        click_on(running)
        wait_until(lambda: stats(running)["admitted"] >= USERS + ITEMS)
        yield running
    finally:
        assert running.stop() == 0


def click_on(running):
    """Every user is shown two items, and clicks the first."""
    items = [f"i{number}" for number in range(ITEMS)]
    with httpx.Client(base_url=running.url, timeout=30) as http:
        for item in items:
            assert http.put(f"/v1/items/{item}", json={}).status_code == 200
        for number in range(USERS):
            ask = {"k": 2, "candidates": items, "user_id": f"u{number}"}
            slate = http.post("/v1/slates", json=ask).json()
            click = {
                "type": "feedback",
                "event_id": f"e{number}",
                "request_id": slate["request_id"],
                "item_id": slate["slate"][0]["item_id"],
                "kind": "click",
            }
            assert http.post("/v1/events", json=click).status_code == 202


def cli(running, *arguments, code=0):
    done = run_cli("table", *arguments, "--config", str(running.file), cwd=running.folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def stats(running, *arguments):
    (told,) = json.loads(cli(running, "stats", "--json", *arguments).stdout)["tables"] or [
        {"admitted": 0}
    ]
    return told


def test_what_became_of_ids_is_told_of_what_is_served_and_in_metrics(running):
    told = stats(running, "--policy", "main")
    assert (told["policy"], told["table"], told["rows"]) == ("main", "table", USERS + ITEMS)
    assert told["as of"].startswith("served, view ")
    assert told["bytes"] > 0 < told["watermark"]
    assert "admitted" in cli(running, "stats").stdout
    label = '{policy="main",table="table"}'

    def shown():
        lines = httpx.get(f"{running.url}/metrics").text.splitlines()
        return (
            f"slatestream_table_rows{label} {USERS + ITEMS}.0" in lines
            and f'slatestream_table_ids{{fate="admitted",policy="main",table="table"}} '
            f"{USERS + ITEMS}.0"
            in lines
        )

    wait_until(shown)


def test_a_policy_without_a_table_is_told_so(running):
    error = cli(running, "stats", "--policy", "plain", code=2).stderr
    assert "policy 'plain' has no embedding table" in error
    assert "without vectors" in cli(running, "freeze", "plain", "a", "b", code=2).stderr
    error = cli(running, "freeze", "main", "user", "taste", code=2).stderr
    assert "did you mean 'user_id'?" in error


def test_a_frozen_copy_is_the_committed_vectors_and_is_read_as_a_feature(running):
    told = json.loads(cli(running, "freeze", "main", "user_id", "taste", "--json").stdout)
    vectors = load_vectors(running.data_dir, "taste", told["version"])
    store = Store(running.data_dir / "state.db")
    (found,) = read_tables(store)
    store.close()
    keys = hash_ids("user_id", [f"u{number}" for number in range(USERS)]).keys
    frozen, known = vectors.lookup(keys)
    assert known.all()
    assert told["vectors"] == len(vectors) == USERS
    assert np.array_equal(frozen, found.table.lookup(keys, found.table.number("user_id"))[0][:, 1:])
    entry = cli(running, "freeze", "main", "item_id", "style").stdout.strip()
    feature = tomllib.loads(f"x = {entry}")["x"]
    assert feature["of"] == "item"
    written = running.file.read_text().replace(
        'spec = "beta-thompson"', f'spec = "linear-greedy"\nfeatures = [{entry}]'
    )
    other = running.folder / "other.toml"
    other.write_text(written)
    # Settings that name the set are taken: the doctor opens it.
    done = run_cli("doctor", "--config", str(other), cwd=running.folder)
    assert feature["version"] in done.stdout + done.stderr


def test_without_a_view_the_store_is_asked(running, tmp_path):
    served = stats(running)
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text(
        running.file.read_text()
        .replace(str(running.data_dir), str(tmp_path / "data"))
        .replace("port = 0", f'port = 0\nstore = "sqlite:///{running.data_dir / "state.db"}"')
    )
    done = run_cli("table", "stats", "--json", "--config", str(elsewhere), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["tables"]
    assert told["as of"].startswith("committed, events-0 up to ")
    for name in ("rows", "admitted", "rejected", "evicted", "watermark", "bytes"):
        assert told[name] == served[name]
