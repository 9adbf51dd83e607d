"""SIGKILL of learner, API worker and whole service, 20 times under load: nothing is lost."""

import contextlib
import os
import random
import signal
import time

import httpx
import pytest

from streams.config import EngineConfig
from streams.events import Feedback, Impression, decode_event
from streams.learner import Learner
from streams.log.sqlite import SqliteLog
from streams.shard import replay_log
from streams.store import Store
from tests.api.load import Load
from tests.api.running import Running, wait_until

KILLS = ["learner"] * 6 + ["views"] * 3 + ["api"] * 6 + ["service"] * 5
SEED = 20


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(tmp_path):
    running = Running(tmp_path)
    running.start()
    with httpx.Client(base_url=running.url, timeout=30) as http:
        ids = [f"base{number}" for number in range(6)]
        for item_id in ids:
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
        assert http.put("/v1/pools/base", json={"item_ids": ids}).status_code == 200
    rng = random.Random(SEED)
    victims = rng.sample(KILLS, len(KILLS))
    with Load(running, seed=SEED) as load:
        for victim in victims:
            time.sleep(rng.uniform(0.05, 0.8))
            kill(running, victim, rng)
        time.sleep(0.5)
    assert not load.errors
    model = settle(running)
    assert running.stop() == 0
    check_log(running, load)
    check_state(running, model["conservation"]["counts"])


def kill(running, victim, rng):
    """Kill, then mostly wait until the victim works again; else the next blow meets it half up."""
    if victim == "service":
        children = [running.pid(name) for name in ("learner", "views", "api")]
        running.process.kill()
        if rng.random() < 0.5:
            for pid in filter(None, children):
                with contextlib.suppress(ProcessLookupError):  # it noticed and left
                    os.kill(pid, signal.SIGKILL)
        running.process.wait()
        running.start()
        return
    wait_until(lambda: running.pid(victim))
    pid = running.pid(victim)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running.pid(victim) not in {0, pid})
    if rng.random() < 0.3:
        return
    if victim == "api":
        running.wait_ready()
    else:
        view = served(running)["view"]
        wait_until(lambda: served(running)["view"] > view)


def served(running):
    running.wait_ready()  # the worker, too, may be coming back
    return httpx.get(f"{running.url}/v1/model", timeout=30).json()


def settle(running):
    """Wait until every window is closed and everything consumed."""

    def settled():
        model = served(running)
        counts = model["conservation"]["counts"].values()
        behind = model["end"] - model["offsets"]["0"]
        return not behind and not any(each["pending"] for each in counts)

    wait_until(settled)
    model = served(running)
    assert model["conservation"]["exact"]
    return model


def open_log(running):
    return SqliteLog(running.data_dir / "log.db", read_only=True)


def check_log(running, load):
    log = open_log(running)
    events = [decode_event(record.value) for record in log.poll("events", 0, 10_000_000)]
    log.close()
    shown = {event.request_id for event in events if isinstance(event, Impression)}
    clicked = {(e.request_id, e.event_id) for e in events if isinstance(e, Feedback)}
    assert len(load.slates) > 500
    assert len(load.clicks) > 200
    assert load.slates.keys() <= shown
    assert load.clicks <= clicked


def check_state(running, counts):
    log = open_log(running)
    store = Store(running.data_dir / "state.db")
    learner = Learner(log, store, EngineConfig())
    learner.recover()
    stored, states = learner.hash(), learner.shard.states
    consumed = sum(each["consumed"] for each in counts.values())
    assert consumed == learner.next_offset == log.end("events")
    # One outcome for every slot ever shown, one reward for every click that came in time.
    events = [decode_event(record.value) for record in log.poll("events", 0, 10_000_000)]
    shown = {event.request_id for event in events if isinstance(event, Impression)}
    learned = sum(state.sums["count"].sum() for state in states.values())
    assert learned == 2 * len(shown)
    rewards = states["main"].sums["reward"].sum() + states["random"].sums["success"].sum()
    assert rewards == counts["feedback"]["applied"]
    for limit in (7, 10_000):  # a clean single run, cut otherwise
        assert replay_log(log, limit=limit).hash == stored
    store.close()
    log.close()
