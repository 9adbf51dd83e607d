"""What goes wrong around the worker, and how it goes on serving."""

import contextlib
import os
import signal
import sqlite3

import httpx
import psutil
import pytest

from tests.api.running import START_SECONDS, Running, wait_until

ASK = {"k": 1, "candidates": ["a", "b"]}


@pytest.fixture
def running(tmp_path):
    running = Running(tmp_path)
    yield running
    if running.process and running.process.poll() is None:
        assert running.stop() == 0


@contextlib.contextmanager
def prepare(running):
    with httpx.Client(base_url=running.url, timeout=30) as http:
        for item_id in ("a", "b"):
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
        yield http


def never_ready(running):
    """Start a service that runs, and waits for something."""
    running.launch()
    wait_until((running.data_dir / "service.json").exists, START_SECONDS)
    with pytest.raises(AssertionError, match="did not come about"):
        running.wait_ready(5)


def waits(http):
    return http.get("/health/ready").json().get("waiting_for")


def logged(running):
    with sqlite3.connect(running.data_dir / "log.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    return count


def test_without_learned_state_slates_are_uniform_and_say_so(running):
    running.data_dir.mkdir()
    (running.data_dir / "state.db").write_bytes(b"not a database" * 100)
    never_ready(running)
    with prepare(running) as http:
        assert http.get("/health/live").status_code == 200
        wait_until(lambda: waits(http) == ["view"], START_SECONDS)
        assert http.get("/health/ready").status_code == 503
        body = http.post("/v1/slates", json=ASK).json()
        assert (body["policy"], body["fallback"], body["view"]) == ("uniform", "no_view", 0)
        (slot,) = body["slate"]
        assert (slot["propensity"], slot["method"], slot["reason"]) == (0.5, "exact", "fallback")
        belief = http.get("/v1/policies/main/items/a")
        assert belief.status_code == 503
        assert belief.headers["retry-after"] == "1"
        assert running.status()["children"]["learner"]["restarts"] > 0
        (running.data_dir / "state.db").unlink()  # the operator's repair: learn anew from the log
        running.wait_ready()
        wait_until(lambda: http.post("/v1/slates", json=ASK).json()["fallback"] is None)


def test_a_log_that_cannot_be_written_is_told_and_nothing_is_shown(running):
    running.start()
    with prepare(running) as http:
        assert http.post("/v1/slates", json=ASK).status_code == 200
        holder = sqlite3.connect(running.data_dir / "log.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        before = logged(running)
        refused = http.post("/v1/slates", json=ASK)
        assert refused.status_code == 503
        assert refused.json()["type"] == "/problems/log-unavailable"
        assert refused.headers["retry-after"] == "1"
        assert logged(running) == before
        assert http.put("/v1/items/a", json={}).status_code == 503
        told = running.errors.read_text()
        assert told.count("records are refused: cannot append") == 1, "once a streak"
        holder.execute("ROLLBACK")
        holder.close()
        assert http.post("/v1/slates", json=ASK).status_code == 200


def test_serving_goes_on_while_the_learner_is_dead(running):
    running.start()
    with prepare(running) as http:
        pid = running.pid("learner")
        os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            body = http.post("/v1/slates", json=ASK).json()
            assert body["fallback"] is None
        wait_until(lambda: running.pid("learner") not in {0, pid}, START_SECONDS)
        metrics = http.get("/metrics").text
        assert 'slatestream_process_restarts_total{process="learner"} 1.0' in metrics


def test_connections_wait_while_the_api_worker_is_replaced(running):
    running.start()
    worker = psutil.Process(running.pid("api"))
    worker.kill()
    worker.wait()
    assert httpx.get(f"{running.url}/health/live", timeout=60).json() == {"status": "live"}


def test_what_was_learned_outlives_a_restart(running):
    running.start()
    with prepare(running) as http:
        for _ in range(5):
            slate = http.post("/v1/slates", json=ASK).json()
            click = {"type": "feedback", "event_id": "1", "request_id": slate["request_id"]}
            click |= {"item_id": slate["slate"][0]["item_id"], "kind": "click"}
            assert http.post("/v1/events", json=click).status_code == 202

        def learned(client):
            items = (client.get(f"/v1/policies/main/items/{i}").json() for i in ("a", "b"))
            return [(item["count"], item["mean"]) for item in items]

        wait_until(lambda: sum(count for count, _ in learned(http)) == 5)
        before = learned(http)
    assert running.stop() == 0
    running.start()
    with httpx.Client(base_url=running.url, timeout=30) as http:
        assert learned(http) == before


def test_views_of_an_earlier_run_do_not_make_a_service_ready(running):
    running.start()
    assert running.stop() == 0
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (running.data_dir / name).unlink(missing_ok=True)
    (running.data_dir / "state.db").write_bytes(b"not a database" * 100)
    never_ready(running)
    with prepare(running) as http:
        wait_until(lambda: waits(http) == ["view"], START_SECONDS)
        slate = http.post("/v1/slates", json=ASK).json()
        assert slate["fallback"] is None, "what was learned before still serves"
    assert "move it away to learn anew" in running.errors.read_text()
    assert "sqlalche" not in running.errors.read_text()
