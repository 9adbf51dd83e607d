"""Sources and owners that die at any point, and wake up again: each outcome is learned once."""

import random

import pytest

from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.errors import FencedError
from streams.events import Control, Impression, decode_event, encode_event
from streams.learner import Learner
from streams.log.base import EVENTS, OUTCOMES
from streams.log.memory import MemoryLog
from streams.outcomes import OutcomeRecord, choose_owner, decode_outcomes
from streams.replay import replay_all
from streams.shard import Shard
from streams.store import Store
from tests.streams.cases import DEVICE, HOUR, START, random_event
from tests.streams.test_crashes import POINTS, CrashError, Fate

PARTITIONS = 3
SHARDS = [(topic, p) for topic in (EVENTS, OUTCOMES) for p in range(PARTITIONS)]
SPECS = ["groupwise-greedy", "groupwise-greedy:ridge=2", "linear-greedy"]


def settings_of(rng: random.Random) -> EngineConfig:
    """Policies that learn in order, and sometimes one that adds up, or none."""
    names = rng.choice([["default", "other"], ["default", "other"], ["other"]])
    return EngineConfig(
        policies={
            f"policy-{name}": PolicyConfig(
                spec=rng.choice(SPECS), features=rng.choice([(HOUR,), (HOUR, DEVICE)])
            )
            for name in names
        },
        recommenders={
            name: RecommenderConfig(
                policy=f"policy-{name}",
                window_seconds=rng.choice([0.001, 20, 100]),
                learn=rng.choice(["close", "first"]),
            )
            for name in names
        },
    )


CONFIG = EngineConfig(
    policies={
        f"policy-{name}": PolicyConfig(spec="groupwise-greedy", features=(HOUR,))
        for name in ("default", "other")
    },
    recommenders={
        "default": RecommenderConfig(policy="policy-default", window_seconds=20.0),
        "other": RecommenderConfig(policy="policy-other", window_seconds=5.0, learn="first"),
    },
)


def random_records(rng: random.Random, n: int, *, controls: bool) -> list[tuple[str, bytes]]:
    """Records with the request as the key; of the controls those that fit the policies here."""
    records = []
    while len(records) < n:
        value = random_event(rng)
        try:
            event = decode_event(value)
        except ValueError:
            event = None
        if isinstance(event, Control) and event.change == "configure":
            if not controls:
                continue
            value = encode_event(settings_of(rng).to_control(0))
        records.append((getattr(event, "request_id", str(rng.random())), value))
    return records


class Scene:
    """A log, a store, records to come, and a learner a shard that may die."""

    def __init__(self, folder, rng: random.Random, n: int, *, controls: bool) -> None:
        self.rng = rng
        self.log = MemoryLog(START, partitions=PARTITIONS)
        self.store = Store(folder / "state.db")
        self.arriving = random_records(rng, n, controls=controls)
        self.learners: dict[tuple[str, int], Learner] = {}

    def arrive(self) -> None:
        for _ in range(min(len(self.arriving), self.rng.randrange(6))):
            self.log.time_ms += self.rng.choice([0, 1, 700, 15_000, 40_000])
            self.log.append(EVENTS, [self.arriving.pop()])

    def new(self, key: tuple[str, int], **options: object) -> Learner:
        learner = Learner(self.log, self.store, CONFIG, topic=key[0], partition=key[1], **options)
        learner.recover()
        return learner

    def work(self, key: tuple[str, int], learner: Learner) -> None:
        """Some steps, and perhaps a commit."""
        for _ in range(self.rng.randrange(1, 4)):
            learner.step(self.rng.choice([1, 5, 50]))
        if self.rng.random() < 0.6:
            learner.commit()

    def finish(self) -> None:
        """Let every shard learn all there is; sources first, for they write what owners read."""
        for key in SHARDS:
            learner = self.learners[key] = self.new(key)
            while learner.step():
                learner.commit()
            learner.commit()

    def check(self) -> int:
        """All is exact; returns how many outcomes were written more than once."""
        whole = replay_all(self.log)
        for key, learner in self.learners.items():
            assert learner.hash() == whole.shards[key].hash
            assert learner.counts == whole.shards[key].counts
            assert learner.counts.exact
        joined = {source: joined_by(self.log, source) for source in range(PARTITIONS)}
        repeated = 0
        for owner in range(PARTITIONS):
            written, times = self._written(owner)
            wanted = {
                (source, offset, n): rest
                for source, outcomes in joined.items()
                for (to, offset, n), rest in outcomes.items()
                if to == owner
            }
            assert written == wanted
            counts = whole.shards[OUTCOMES, owner].counts.to_dict().get("outcomes", {})
            assert counts.get("applied", 0) + counts.get("dead", 0) == len(wanted)
            assert counts.get("duplicate", 0) == times - len(wanted)
            repeated += times - len(wanted)
        self.store.close()
        return repeated

    def _written(self, owner: int) -> tuple[dict, int]:
        """Outcomes in the log by source and mark, each the same however often it is there."""
        written: dict = {}
        times = 0
        for record in self.log.poll(OUTCOMES, 0, 10**6, owner):
            told = decode_outcomes(record.value)
            if not isinstance(told, OutcomeRecord):
                continue
            for outcome in told.outcomes:
                slots = tuple(slot.slot for slot in outcome.slate)
                rewards = tuple(slot.reward for slot in outcome.slate)
                rest = (outcome.policy, slots, rewards, outcome.time_ms, outcome.last)
                assert written.setdefault((told.source, *outcome.mark), rest) == rest
                times += 1
        return written, times


def joined_by(log: MemoryLog, source: int) -> dict:
    """What a shard that nothing happens to has to send, by owner, offset and place."""
    shard, found = Shard(apart=True), {}
    shard.fold(log.poll(EVENTS, 0, 10**6, source))
    for each in shard.outgoing:
        to = choose_owner(each.policy, PARTITIONS)
        n = sum(key[:2] == (to, each.offset) for key in found)
        rest = (each.policy, each.slots, each.rewards, each.time_ms, each.last)
        found[to, each.offset, n] = rest
    return found


@pytest.mark.parametrize("controls", [False, True])
@pytest.mark.parametrize("point", [*POINTS, "sent"])
@pytest.mark.parametrize("seed", range(2))
def test_dying_at_a_point_again_and_again(tmp_path, point, seed, controls):
    rng = random.Random(f"{point} {seed} {controls}")
    scene = Scene(tmp_path, rng, 200, controls=controls)
    deaths = 0
    while scene.arriving or deaths < 6:
        scene.arrive()
        key = rng.choice(SHARDS)
        passes = 1 if point in {"claimed", "recovered"} else rng.randint(1, 4)
        try:
            if key not in scene.learners:
                fate = Fate(point, passes if deaths < 12 else 10**9)
                scene.learners[key] = scene.new(key, point=fate)
            scene.work(key, scene.learners[key])
        except CrashError:
            deaths += 1
            scene.learners.pop(key, None)
        if not scene.arriving and rng.random() < 0.2:
            scene.arriving = random_records(rng, 5, controls=controls)
    scene.finish()
    repeated = scene.check()
    if point in {"sent", "committing"} and not controls:
        assert repeated > 0


@pytest.mark.parametrize("controls", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_zombies_that_wake_up_write_only_what_is_known(tmp_path, seed, controls):
    rng = random.Random(f"{seed} {controls}")
    scene = Scene(tmp_path, rng, 300, controls=controls)
    herd: dict[tuple[str, int], list[Learner]] = {key: [] for key in SHARDS}
    fenced = 0
    while scene.arriving:
        scene.arrive()
        key = rng.choice(SHARDS)
        if not herd[key] or rng.random() < 0.3:
            herd[key].append(scene.new(key))
        awake = rng.choice(herd[key][-3:])
        try:
            scene.work(key, awake)
        except FencedError:
            fenced += 1
            herd[key].remove(awake)
    scene.finish()
    assert scene.check() > 0
    assert fenced > 5


def test_random_records_hold_what_is_to_be_tried():
    rng = random.Random(0)
    scene = random_records(rng, 400, controls=True)
    kinds = [type(decode_event(v)) for _, v in scene if v.startswith(b'{"type":"imp')]
    assert kinds.count(Impression) > 100
    assert sum(b'"configure"' in value for _, value in scene) > 3
