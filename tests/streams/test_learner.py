"""The loop: what is committed is exact, fenced, recovered, published and timed by the log."""

import numpy as np
import pytest

from streams.config import EngineConfig
from streams.dead import read_dead_letters
from streams.errors import FencedError, StoreError
from streams.events import Control, Tick, decode_event, encode_event
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.publisher import Publisher
from streams.shard import replay_log
from streams.store import Store
from streams.views import ViewReader, ViewWriter
from tests.streams.cases import DEVICE, HOUR, START, click, impression, settings

CONFIG = settings(HOUR, window=2.0)


class House:
    """A folder with a log, a store and views, and learners that come and go."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.log = MemoryLog(START)
        self.store = Store(folder / "state.db")
        self.reader = ViewReader(folder)
        self._publisher: Publisher | None = None
        self._config = CONFIG

    def learner(self, config: EngineConfig = CONFIG, **options: object) -> Learner:
        self._publisher, self._config = None, config
        return Learner(self.log, self.store, config, **options)

    def started(self, config: EngineConfig = CONFIG, **options: object) -> Learner:
        learner = self.learner(config, **options)
        learner.start()
        return learner

    def publish(self) -> int | None:
        """Publish as a host with the latest learner's settings does."""
        if self._publisher is None:
            self._publisher = Publisher(self.store, ViewWriter(self.folder), self._config)
        return self._publisher.refresh()

    def happen(self, *events, seconds: float = 0.0) -> None:
        self.log.time_ms += round(1000 * seconds)
        self.log.append(EVENTS, [("", encode_event(event)) for event in events])


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


def test_the_settings_enter_the_log_once(house):
    first = house.started()
    assert first.next_offset == house.log.end(EVENTS) == 1
    control = decode_event(house.log.poll(EVENTS, 0, 1)[0].value)
    assert isinstance(control, Control)
    assert house.started().next_offset == 1
    explores = settings(HOUR, window=2.0, spec="linear-thompson:floor=0.5,seed=4")
    assert house.started(explores).next_offset == 1
    house.publish()
    assert house.reader.current().config.policies["main"].spec == explores.policies["main"].spec
    assert house.started(settings(HOUR, window=3.0)).next_offset == 2
    assert house.started(CONFIG).next_offset == 3


def test_a_learner_without_a_claim_refuses_to_commit(house):
    with pytest.raises(StoreError, match="call start"):
        house.learner().commit()


def test_learning_commits_and_publishes_what_replay_finds(house):
    learner = house.started()
    house.happen(impression("r"), impression("s", "bc"))
    house.happen(click("r"), seconds=1)
    house.happen(click("s", "z"), seconds=2)
    assert learner.step() == 4
    assert learner.commit()
    assert not learner.commit()
    version = house.publish()
    assert house.publish() is None
    view = house.reader.current()
    assert (view.version, view.offsets) == (version, {0: 5})
    assert view.counts == learner.counts == replay_log(house.log).counts
    assert view.counts.exact
    assert learner.hash() == replay_log(house.log).hash
    main = view.policies["main"]
    shown = main.arrays["count"][main.rows(["a", "b", "c", "new"])]
    assert shown.tolist() == [1.0, 2.0, 1.0, 0.0]


def test_nothing_uncommitted_is_published(house):
    learner = house.started()
    house.happen(impression("r"))
    learner.step()
    house.publish()
    assert house.reader.current().offsets == {0: 1} != {0: learner.next_offset}


@pytest.mark.parametrize("half_life", ["", ":half_life_seconds=3"])
def test_published_beliefs_are_the_derived_ones_to_the_bit(house, half_life):
    learner = house.started(settings(HOUR, window=2.0, spec=f"linear-greedy{half_life}"))
    for number in range(12):
        items = "abcdefgh"[number % 5 : number % 5 + 3]
        house.happen(impression(f"r{number}", items, context={"hour": number}), seconds=0.9)
        house.happen(click(f"r{number}", items[1], f"e{number}"))
        learner.step()
        learner.commit()
        house.publish()
        shard = learner.shard
        derived = shard.policies["main"].derive(shard.states["main"])
        published = house.reader.current().policies["main"]
        assert published.item_ids == derived.item_ids
        for name, array in derived.arrays.items():
            np.testing.assert_array_equal(published.arrays[name], array)


def test_beliefs_fade_in_views_too_while_nothing_is_learned(house):
    learner = house.started(settings(HOUR, window=2.0, spec="linear-greedy:half_life_seconds=3"))
    house.happen(impression("r"), click("r"))
    for event in (Tick(ts=0), Tick(ts=0)):
        house.happen(event, seconds=60)
        learner.step()
        learner.commit()
        house.publish()
    policy = learner.shard.policies["main"]
    derived = policy.derive(learner.shard.states["main"])
    shown = house.reader.current().policies["main"]
    assert shown.item_ids == derived.item_ids == ["a", "b"]
    for name, array in derived.arrays.items():
        np.testing.assert_array_equal(shown.arrays[name], array)


def test_recovery_goes_on_as_if_it_never_stopped(house):
    learner = house.started()
    for number in range(30):
        house.happen(impression(f"r{number}"), click(f"r{number - 1}"), seconds=0.7)
        if number % 3 == 0:
            learner.step()
            learner.commit()
        if number % 7 == 0:
            learner = house.started()
    learner = house.started()
    whole = replay_log(house.log)
    assert learner.next_offset == whole.next_offset
    assert (learner.hash(), learner.counts) == (whole.hash, whole.counts)
    assert learner.counts.pending


def test_of_two_learners_the_earlier_is_fenced_and_nothing_is_lost(house):
    zombie, owner = house.started(), None
    house.happen(impression("r"), click("r"))
    zombie.step()
    owner = house.started()
    with pytest.raises(FencedError):
        zombie.commit()
    house.happen(impression("s"), seconds=3)
    owner.step()
    owner.commit()
    assert house.started().hash() == owner.hash() == replay_log(house.log).hash


def test_a_lost_tail_of_the_log_is_refused(house):
    learner = house.started()
    house.happen(impression("r"))
    learner.step()
    learner.commit()
    del house.log._records[EVENTS][0][1:]
    with pytest.raises(StoreError, match="records were lost"):
        house.started()


def test_the_owner_may_go_on_until_the_moment_of_the_claim(house):
    owner = house.started()

    def go_on(*key: object) -> str:
        house.happen(impression("r"), click("r"))
        owner.step()
        owner.commit()
        return MemoryLog.topic_id(house.log, EVENTS)

    taking_over = house.learner()
    house.log.topic_id = go_on  # asked for just before the claim
    taking_over.recover()
    assert taking_over.next_offset == house.log.end(EVENTS) == owner.committed_offset


def test_another_log_is_refused(house):
    house.started()
    house.log = MemoryLog(START)
    with pytest.raises(StoreError, match="was created anew"):
        house.started()


def test_ticks_are_appended_only_where_the_clock_is_all_that_is_missing(house):
    learner = house.started()
    assert not learner.tick()
    house.happen(impression("r"))
    learner.step()
    house.log.time_ms += 1999
    assert not learner.tick()
    house.log.time_ms += 200
    assert not learner.tick()  # there may be more
    house.happen(click("r"))
    learner.step()
    assert not learner.tick()  # that closed the window
    house.happen(impression("s"))
    learner.step()
    learner.step()
    house.log.time_ms += 2099
    assert not learner.tick()  # a moment for traffic to close it
    house.log.time_ms += 1
    assert learner.tick()
    learner.step()
    assert learner.counts.to_dict()["impression"]["applied"] == 2
    assert learner.counts.to_dict()["tick"]["applied"] == 1
    assert not learner.tick()


def test_a_control_record_changes_state_where_it_stands_in_the_log(house):
    learner = house.started()
    house.happen(impression("r"), click("r"))
    house.happen(impression("s"), seconds=3)
    learner.step()
    learner.commit()
    before = learner.shard.states["main"].take(["a"])
    learner = house.started(settings(HOUR, DEVICE, window=2.0))
    after = learner.shard.states["main"].take(["a"])
    assert after["moment"][0, :2].tolist() == before["moment"][0].tolist()
    assert after["moment"][0, 2:].tolist() == [0.0, 0.0]
    house.happen(impression("t"), seconds=9)
    learner.step()
    learner.commit()
    house.publish()
    assert learner.hash() == replay_log(house.log).hash == house.started(learner._config).hash()
    assert house.reader.current().policies["main"].arrays["theta"].shape[1] == 4


def test_dead_letters_are_stored_with_their_reason(house):
    learner = house.started()
    house.log.append(EVENTS, [("", b"{"), ("", b"\xff")])
    learner.step()
    learner.commit()
    house.started()
    letters = read_dead_letters(house.folder / "state.db", 100)
    stored = {(each.topic, each.partition, each.offset): each.reason for each in letters}
    assert stored == {("events", 0, 1): "json", ("events", 0, 2): "encoding"}


def test_a_store_that_fails_for_a_while_loses_nothing(house, monkeypatch):
    learner = house.started()
    house.happen(impression("r"))
    house.log.append(EVENTS, [("", b"{")])
    house.happen(click("r", "b"), seconds=9)
    learner.step()
    works = house.store.commit

    def full(*_: object) -> None:
        raise StoreError("cannot commit to store: disk full")

    monkeypatch.setattr(house.store, "commit", full)
    with pytest.raises(StoreError):
        learner.commit()
    monkeypatch.setattr(house.store, "commit", works)
    assert learner.commit()
    assert len(read_dead_letters(house.folder / "state.db", 100)) == 1
    again = house.started()
    assert again.hash() == learner.hash() == replay_log(house.log).hash
    assert again.shard.joiner.closed.to_dict() == learner.shard.joiner.closed.to_dict() != {}
