"""Rewards fall, a record is logged, and state changes where it stands: live and in replay."""

from dataclasses import replace

import numpy as np
import pytest

from engine.drift import Drift
from engine.errors import ConfigError
from engine.models.base import Traits
from streams.config import EngineConfig, Forgetting
from streams.dead import read_dead_letters
from streams.events import Control, Feedback, Tick, decode_event, encode_event
from streams.learner import Learner
from streams.log.base import EVENTS, Record
from streams.log.memory import MemoryLog
from streams.log.sqlite import SqliteLog
from streams.publisher import Publisher
from streams.shard import Shard, replay_log
from streams.store import Store
from streams.views import ViewReader, ViewWriter
from tests.item_model import ItemRidge, register
from tests.streams.cases import HOUR, START, click, impression, settings
from tests.streams.test_learner import House

RESET = Drift(detector="adwin", action="reset")


def watched(drift: Drift, spec: str = "beta-greedy", **fields) -> EngineConfig:
    config = settings(HOUR, window=2.0, spec=spec, **fields)
    policy = replace(config.policies["main"], drift=drift)
    return replace(config, policies={"main": policy})


class Traffic:
    """Visitors who are shown mostly ``a``, and click by chances that may be swapped."""

    def __init__(self, house, seed: int = 0) -> None:
        self.house, self.rng = house, np.random.default_rng(seed)
        self.number = 0

    def flow(self, learner: Learner, chances: dict[str, float], slates: int = 400) -> None:
        for _ in range(slates):
            self.number += 1
            item = "a" if self.rng.random() < 0.8 else "b"
            request_id = f"r{self.number}"
            events = [impression(request_id, item)]
            if self.rng.random() < chances[item]:
                events.append(click(request_id, item, f"e{self.number}"))
            self.house.happen(*events, seconds=0.05)
            if self.number % 20 == 0:
                learner.step()
                learner.commit()


def controls(log) -> list[tuple[int, Control]]:
    found = []
    for record in log.poll(EVENTS, 0, 10**6):
        event = decode_event(record.value)
        if isinstance(event, Control) and event.change != "configure":
            found.append((record.offset, event))
    return found


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


BEFORE, AFTER = {"a": 0.7, "b": 0.1}, {"a": 0.1, "b": 0.7}


@pytest.mark.parametrize(
    "drift",
    [
        RESET,
        Drift(detector="page-hinkley"),
        Drift(action="decay", halvings=5),
    ],
)
def test_swapped_rewards_lead_to_a_record_and_that_to_forgetting(house, drift):
    learner = house.started(watched(drift))
    traffic = Traffic(house)
    traffic.flow(learner, BEFORE)
    assert controls(house.log) == []
    learned = learner.shard.states["main"].take(["a", "b"])["count"]
    swapped = house.log.end(EVENTS)
    traffic.flow(learner, AFTER)
    ((offset, control),) = controls(house.log)
    assert offset > swapped
    named = {"policy": "main", "cause": drift.detector}
    halved = {"halvings": 5} if drift.action == "decay" else {}
    assert (control.change, control.settings) == (drift.action, named | halved)
    kept = learner.shard.states["main"].take(["a", "b"])["count"]
    assert kept.sum() < learned.sum()
    posterior = learner.shard.policies["main"].derive(learner.shard.states["main"])
    a, b = (posterior.arrays[name][posterior.rows(["a", "b"])] for name in "ab")
    assert np.argmax(a / (a + b)) == 1  # what pays now
    whole = replay_log(house.log)
    assert learner.hash() == whole.hash == replay_log(house.log, limit=1).hash
    assert learner.counts == whole.counts
    assert whole.counts.to_dict()["control"]["applied"] == 2
    again = house.started(watched(drift))
    assert (again.hash(), again.counts) == (whole.hash, whole.counts)


def test_without_a_watch_nothing_is_logged(house):
    learner = house.started(settings(HOUR, window=2.0, spec="beta-greedy"))
    traffic = Traffic(house)
    traffic.flow(learner, BEFORE)
    traffic.flow(learner, AFTER)
    assert controls(house.log) == []


def test_a_watch_is_no_part_of_the_settings_that_state_depends_on(house):
    house.started(settings(HOUR, window=2.0, spec="beta-greedy"))
    assert watched(RESET).state_hash == settings(HOUR, window=2.0, spec="beta-greedy").state_hash
    house.started(watched(RESET))
    assert house.log.end(EVENTS) == 1
    config = watched(Drift(action="decay", halvings=3, delta=0.01))
    control = decode_event(encode_event(config.to_control(0)))
    assert EngineConfig.from_control(control) == config


def test_the_record_is_obeyed_by_whoever_reads_it_next(house):
    """The learner ends right after it logged the record; commits lie before and behind it."""
    learner = house.started(watched(RESET))
    traffic = Traffic(house)
    traffic.flow(learner, BEFORE)
    while not controls(house.log):
        traffic.flow(learner, AFTER, slates=20)
    ((offset, _),) = controls(house.log)
    assert learner.committed_offset <= offset
    before = learner.shard.states["main"].take(["a"])["count"]
    other = house.learner(watched(RESET))
    other.recover()
    assert other.shard.states["main"].take(["a"])["count"] == before
    while other.step(7):
        other.commit()
    state = other.shard.states["main"]
    assert state.sums["count"].sum() < before / 2
    house.publish()
    view = house.reader.current().policies["main"]
    assert view.arrays["count"][1:].sum() == state.sums["count"].sum()
    assert other.hash() == replay_log(house.log).hash


def test_what_was_acted_upon_is_not_acted_upon_again(house, tmp_path):
    """Neither by a learner that starts later, nor by one that learns anew from the whole log."""
    learner = house.started(watched(RESET))
    traffic = Traffic(house)
    for chances in (BEFORE, AFTER):
        traffic.flow(learner, chances)
    assert len(controls(house.log)) == 1
    for store in (house.store, Store(tmp_path / "anew.db")):
        again = Learner(house.log, store, watched(RESET))
        again.start()
        traffic.flow(again, AFTER, slates=100)
        assert len(controls(house.log)) == 1
        store.close()


def test_a_fenced_learner_logs_nothing(house):
    zombie = house.started(watched(RESET))
    traffic = Traffic(house)
    traffic.flow(zombie, BEFORE)
    owner = house.started(watched(RESET))
    house.log.time_ms += 1
    with pytest.raises(Exception, match="claimed"):
        traffic.flow(zombie, AFTER)
    assert controls(house.log) == []
    traffic.flow(owner, BEFORE, slates=100)
    traffic.flow(owner, AFTER)
    assert len(controls(house.log)) == 1


def test_on_a_log_in_a_file_too(tmp_path):
    """The service's own pieces, stamps by the real clock: replay of the file is the live state."""
    log, store = SqliteLog(tmp_path / "log.db"), Store(tmp_path / "state.db")
    config = watched(RESET, learn="first")
    learner = Learner(log, store, config)
    learner.start()
    rng = np.random.default_rng(4)
    for number in range(2400):
        chance = 0.8 if number < 1200 else 0.1
        value = float(rng.random() < chance)
        seen = impression(f"r{number}", "a")
        reaction = Feedback(
            ts=0, event_id="e", request_id=f"r{number}", item_id="a", kind="click", value=value
        )
        log.append(EVENTS, [("", encode_event(seen)), ("", encode_event(reaction))])
        if number % 100 == 99:
            learner.step(10_000)
            learner.commit()
    learner.step()
    learner.commit()
    Publisher(store, ViewWriter(tmp_path), config).refresh()
    ((offset, control),) = controls(log)
    assert control.change == "reset"
    assert offset > 2400
    whole = replay_log(log)
    assert learner.hash() == whole.hash
    assert whole.states["main"].sums["count"].sum() < 1200
    view = ViewReader(tmp_path).current()
    assert view.policies["main"].total == whole.states["main"].sums["count"].sum()
    store.close()
    log.close()


def after(*controls: Control, config: EngineConfig | None = None, fixed: bool = False) -> Shard:
    """A shard that learned something and then read control records."""
    log = MemoryLog(START)
    log.append(EVENTS, [("", encode_event((config or settings(HOUR)).to_control(0)))])
    log.append(EVENTS, [("", encode_event(event)) for event in (impression("r"), click("r"))])
    log.time_ms += 60_000
    log.append(EVENTS, [("", encode_event(event)) for event in (Tick(ts=0), *controls)])
    shard = Shard(settings(HOUR) if fixed else None, fixed=fixed)
    shard.fold(log.poll(EVENTS, 0, 100))
    return shard


def test_decay_halves_every_sum_and_reset_empties_the_state():
    before = after().states["main"].take(["a"])
    halved = after(Forgetting(policy="main", halvings=3).to_control(0)).states["main"]
    for name, sums in before.items():
        np.testing.assert_array_equal(halved.take(["a"])[name], sums / 8)
    empty = after(Forgetting(policy="main").to_control(0))
    assert empty.states["main"].item_ids == []
    fresh = Shard(settings(HOUR))
    fresh.fold([Record(0, empty.joiner.clock, "", encode_event(Tick(ts=0)))])
    assert empty.hash() == fresh.hash()


def test_what_closes_at_the_record_is_learned_before_it():
    log = MemoryLog(START)
    events = [settings(HOUR).to_control(0), impression("r"), click("r")]
    log.append(EVENTS, [("", encode_event(event)) for event in events])
    log.time_ms += 60_000
    log.append(EVENTS, [("", encode_event(Forgetting(policy="main").to_control(0)))])
    assert replay_log(log).states["main"].item_ids == []
    assert replay_log(log).outcomes == {"main": 2}


@pytest.mark.parametrize(
    ("change", "given", "told"),
    [
        ("reset", {"policy": "mian"}, "did you mean 'main'"),
        ("reset", {}, "missing required field `policy`"),
        ("reset", {"policy": "main", "why": "x"}, "unknown field `why`"),
        ("decay", {"policy": "main"}, "halvings is 0"),
        ("decay", {"policy": "main", "halvings": -1}, "halvings is -1"),
        ("decay", {"policy": "main", "halvings": 1001}, "halvings is 1001"),
        ("decay", {"policy": "main", "halvings": 0.5}, "halvings"),
    ],
)
def test_a_record_that_cannot_be_obeyed_is_a_dead_letter(change, given, told):
    plain = after()
    shard = after(Control(ts=0, change=change, settings=given))
    (letter,) = shard.joiner.dead
    assert (letter.reason, letter.pointer) == ("config", "/settings")
    assert told in letter.detail
    assert shard.hash() == plain.hash()
    assert shard.counts.exact
    assert shard.counts.to_dict()["control"]["dead"] == 1


def test_a_model_that_cannot_forget_is_reset_and_nothing_else(monkeypatch):
    register(monkeypatch)
    monkeypatch.setattr(ItemRidge, "traits", Traits(family="normal", pooled=True, forgets=False))
    config = settings(HOUR, spec="items-greedy")
    shard = after(Forgetting(policy="main", halvings=1).to_control(0), config=config)
    assert "cannot forget" in shard.joiner.dead[0].detail
    assert after(Forgetting(policy="main").to_control(0), config=config).joiner.dead == []
    drift = Drift(action="decay")
    with pytest.raises(ConfigError, match="cannot forget"):
        EngineConfig.from_dict(watched(drift, "items-greedy").to_dict())
    EngineConfig.from_dict(watched(RESET, "items-greedy").to_dict())


def test_learning_anew_under_other_settings_passes_over_what_another_policy_forgot():
    control = Forgetting(policy="main").to_control(0)
    assert after(control, fixed=True).hash() == after(fixed=True).hash()


def test_dead_controls_are_stored_with_their_reason(house):
    learner = house.started(watched(RESET))
    house.happen(Forgetting(policy="gone").to_control(0))
    learner.step()
    learner.commit()
    (letter,) = read_dead_letters(house.folder / "state.db", 9)
    assert (letter.reason, letter.pointer) == ("config", "/settings")
