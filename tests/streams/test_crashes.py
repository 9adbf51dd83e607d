"""A learner that dies at any point, any number of times, learns every record exactly once."""

import random

import pytest

from streams.config import EngineConfig
from streams.dead import read_dead_letters
from streams.errors import FencedError
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.publisher import Publisher
from streams.shard import replay_log
from streams.store import Store
from streams.views import ViewReader, ViewWriter
from tests.streams.cases import START, random_log

POINTS = (
    "claimed",
    "recovered",
    "polled",
    "decoded",
    "joined",
    "learned",
    "folded",
    "committing",
    "committed",
)


class CrashError(Exception):
    """The process is gone."""


class Fate:
    """Ends the learner when a point was passed a number of times."""

    def __init__(self, point: str, passes: int) -> None:
        self.point, self.passes = point, passes

    def __call__(self, point: str) -> None:
        self.passes -= point == self.point
        if self.passes == 0:
            raise CrashError


def follow(
    log: MemoryLog,
    arriving: list[bytes],
    learner: Learner,
    publisher: Publisher,
    rng: random.Random,
) -> None:
    """Let records arrive in portions while the learner works."""
    learner.recover()
    while arriving or learner.lag():
        for _ in range(min(len(arriving), rng.randrange(12))):
            log.time_ms += rng.choice([0, 1, 700, 15_000, 40_000, 130_000])
            log.append(EVENTS, [("", arriving.pop())])
        learner.step(rng.choice([1, 5, 50]))
        if rng.random() < 0.5:
            learner.commit()
            publisher.refresh()
    learner.commit()
    publisher.refresh()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("seed", range(3))
def test_dying_at_a_point_again_and_again(tmp_path, point, seed):
    rng = random.Random(f"{point} {seed}")
    arriving = [record.value for record in random_log(seed, 150).poll(EVENTS, 0, 200)][::-1]
    log, store = MemoryLog(START), Store(tmp_path / "state.db")
    publisher = Publisher(store, ViewWriter(tmp_path), EngineConfig())
    deaths = 0
    while True:
        passes = 1 if point in {"claimed", "recovered"} else rng.randint(1, 3)
        fate = Fate(point, passes if deaths < 4 else 10**9)
        learner = Learner(log, store, EngineConfig(), point=fate)
        try:
            follow(log, arriving, learner, publisher, rng)
            break
        except CrashError:
            deaths += 1
    whole = replay_log(log)
    assert deaths == 4
    assert learner.hash() == whole.hash
    assert learner.counts == whole.counts
    assert learner.counts.exact
    view = ViewReader(tmp_path).current()
    assert view.offsets == {0: learner.next_offset} == {0: whole.next_offset}
    dead = sum(counted["dead"] for counted in whole.counts.to_dict().values())
    assert len(read_dead_letters(tmp_path / "state.db", 1000)) == dead
    store.close()


def test_zombies_that_wake_up_are_fenced_whatever_they_do(tmp_path):
    rng = random.Random(11)
    arriving = [record.value for record in random_log(5, 200).poll(EVENTS, 0, 300)][::-1]
    log, store = MemoryLog(START), Store(tmp_path / "state.db")
    herd: list[Learner] = []
    fenced = 0
    while arriving:
        herd.append(Learner(log, store, EngineConfig()))
        herd[-1].recover()
        for _ in range(4):
            log.time_ms += rng.choice([0, 700, 40_000])
            log.append(EVENTS, [("", arriving.pop()) for _ in range(min(3, len(arriving)))])
            awake = rng.choice(herd[-3:])
            try:
                awake.step()
                awake.commit()
            except FencedError:
                fenced += 1
                herd.remove(awake)
            if not herd:
                break
    last = Learner(log, store, EngineConfig())
    last.recover()
    while last.step():
        last.commit()
    whole = replay_log(log)
    assert fenced > 5
    assert (last.hash(), last.counts) == (whole.hash, whole.counts)
    store.close()
