"""SIGKILL of learner, publisher, worker and service while a policy learns an embedding table."""

import random
import time

import httpx
import numpy as np
import pytest

from engine.embeddings.keys import hash_ids
from streams.config import EngineConfig
from streams.learner import Learner
from streams.log.sqlite import SqliteLog
from streams.shard import replay_log
from streams.store import Store
from streams.views import ViewReader
from tests.api.load import Load
from tests.api.running import Running
from tests.api.test_kill import kill, settle

KILLS = ["learner"] * 4 + ["views"] * 3 + ["api"] * 2 + ["service"] * 3
USERS, ITEMS, ROWS = 400, 40, 150
SETTINGS = f"""
commit_interval_ms = 50

[policies.main]
spec = "mf-epsilon:dimension=8,max_rows={ROWS}"
features = [{{ type = "id", name = "user_id" }}]

[policies.random]
spec = "uniform"

[recommenders.default]
policy = "main"
window_seconds = 0.3

[recommenders.control]
policy = "random"
window_seconds = 0.3
"""


@pytest.mark.slow
def test_a_table_is_what_the_log_says_whoever_is_killed(tmp_path):
    running = Running(tmp_path, SETTINGS)
    running.start()
    with httpx.Client(base_url=running.url, timeout=30) as http:
        ids = [f"i{number}" for number in range(ITEMS)]
        for item_id in ids:
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
        assert http.put("/v1/pools/base", json={"item_ids": ids}).status_code == 200
    rng = random.Random(8)
    with Load(running, seed=8, users=USERS) as load:
        for victim in rng.sample(KILLS, len(KILLS)):
            time.sleep(rng.uniform(0.05, 0.8))
            kill(running, victim, rng)
        time.sleep(0.5)
    assert not load.errors
    assert len(load.slates) > 300
    settle(running)
    served = ViewReader(running.data_dir).current().policies["main"].parts["table"]
    assert running.stop() == 0
    log = SqliteLog(running.data_dir / "log.db", read_only=True)
    store = Store(running.data_dir / "state.db")
    learner = Learner(log, store, EngineConfig())
    learner.recover()
    table = learner.shard.states["main"].parts["table"].table
    assert len(table) == ROWS
    assert table.statistics().evicted > 0
    for limit in (7, 10_000):  # never killed, and cut otherwise
        replayed = replay_log(log, limit=limit)
        assert replayed.hash == learner.hash()
        assert replayed.states["main"].parts["table"].digest() == (
            learner.shard.states["main"].parts["table"].digest()
        )
    for salt, count, letter in (("user_id", USERS, "u"), ("item_id", ITEMS, "i")):
        keys = hash_ids(salt, [f"{letter}{number}" for number in range(count)]).keys
        asked = (keys, table.number(salt))
        for told, known in zip(served.lookup(*asked), table.lookup(*asked), strict=True):
            assert np.array_equal(told, known)
    store.close()
    log.close()
