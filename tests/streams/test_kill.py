"""SIGKILL of a real learner process while records stream in: state is that of one clean pass."""

import os
import random
import signal
import subprocess
import sys
import time

import msgspec

from streams.events import encode_event
from streams.learner import Learner
from streams.log.appender import Appender
from streams.log.base import EVENTS
from streams.log.sqlite import SqliteLog
from streams.shard import replay_log
from streams.store import Store
from streams.views import ViewReader
from tests.streams.cases import HOUR, click, impression, settings

CHILD = """
import sys
from pathlib import Path
from streams.config import EngineConfig
from streams.host import Host, Pace
from streams.learner import Learner
from streams.log.sqlite import SqliteLog
from streams.membership import SoleOwner
from streams.publisher import Publisher
from streams.store import Store
from streams.views import ViewWriter
import msgspec
folder = Path(sys.argv[1])
config = EngineConfig.from_dict(msgspec.json.decode(sys.argv[2]))
log, store = SqliteLog(folder / "log.db"), Store(folder / "state.db")
host = Host(
    lambda topic, part: Learner(log, store, config, partition=part),
    SoleOwner([("events", 0)]),
    pace=Pace(shortest=0.02),
)
publisher = Publisher(store, ViewWriter(folder), config)
while True:
    host.turn()
    publisher.refresh()
"""
KILLS = 5


def traffic(appender: Appender, rng: random.Random, start: int) -> None:
    """Slates with clicks on some, some of them twice, some before their slate."""
    entries = []
    for number in range(start, start + 25):
        request_id = f"r{number}"
        slate = impression(request_id, "abc", context={"hour": rng.random() * 24})
        entries.append((request_id, encode_event(slate)))
        reply = click(request_id, rng.choice("abcd"), f"e{number}")
        for _ in range(rng.choice([0, 1, 2])):
            entries.insert(rng.randrange(len(entries) + 1), (request_id, encode_event(reply)))
    appender.submit_many(EVENTS, entries).result(30)


def test_a_learner_killed_again_and_again(tmp_path, root):
    rng = random.Random(5)
    config = settings(HOUR, window=0.1)
    log = SqliteLog(tmp_path / "log.db")
    appender = Appender(log)
    reader = ViewReader(tmp_path)
    sent = 0
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    for _ in range(KILLS):
        with subprocess.Popen([*command, msgspec.json.encode(config).decode()], cwd=root) as child:
            seen = reader.current()
            goal = (seen.offsets[0] if seen else 0) + rng.randrange(1, 600)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and child.poll() is None:
                traffic(appender, rng, sent)
                sent += 25
                seen = reader.current()
                if seen is not None and seen.offsets[0] >= goal:
                    break
                time.sleep(rng.random() * 0.02)
            assert child.poll() is None
            os.kill(child.pid, signal.SIGKILL)
    store = Store(tmp_path / "state.db")
    learner = Learner(log, store, config)
    learner.recover()
    recovered = learner.next_offset
    while learner.step(97):
        pass
    whole = replay_log(log)
    assert 0 < seen.offsets[0] <= recovered <= whole.next_offset
    assert (learner.hash(), learner.counts) == (whole.hash, whole.counts)
    assert learner.counts.exact
    assert learner.counts.to_dict()["impression"]["consumed"] == sent
    assert learner.counts.to_dict()["control"]["applied"] == 1
    appender.close()
    log.close()
    store.close()
