"""A process that learns: it takes shards over, outlives trouble and gives shards away whole."""

import threading
import time

import pytest

from streams.config import EngineConfig
from streams.errors import FencedError, RefusedError, StoreError
from streams.events import encode_event
from streams.host import Host, Pace
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.log.sqlite import SqliteLog
from streams.membership import Change, SoleOwner
from streams.shard import replay_log
from streams.store import Store
from tests.streams.cases import HOUR, START, click, impression, settings

CONFIG = settings(HOUR, window=2.0)


class Group:
    """A membership that a test tells what to say."""

    def __init__(self, *changes: Change) -> None:
        self.rebalances = 0
        self.changes = list(changes)
        self.leaving: list[tuple[str, int]] = []
        self.told: dict[tuple[str, int], int] = {}

    def poll(self, release) -> Change:
        leaving, self.leaving = self.leaving, []
        release(leaving)
        return self.changes.pop(0) if self.changes else Change()

    def commit(self, offsets) -> None:
        self.told.update(offsets)

    def close(self) -> None:
        return


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "state.db")
    yield store
    store.close()


def host_of(log, store, membership, config: EngineConfig = CONFIG, **options) -> Host:
    make = lambda _, partition: Learner(log, store, config, partition=partition)  # noqa: E731
    return Host(make, membership, **options)


def happen(log: MemoryLog, *events, seconds: float = 0.0) -> None:
    log.time_ms += round(1000 * seconds)
    log.append(EVENTS, [(event.request_id, encode_event(event)) for event in events])


def test_a_host_learns_every_partition_it_is_given(store):
    log, clock = MemoryLog(START, partitions=3), Clock()
    group = Group(Change(assigned=[(EVENTS, 2), (EVENTS, 0)]))
    host = host_of(log, store, group, clock=clock)
    happen(log, *(impression(f"r{number}") for number in range(40)))
    host.turn()
    assert list(host.learners) == [(EVENTS, 0), (EVENTS, 2)]
    clock.now += 1
    while host.turn():
        pass
    assert group.told == {(EVENTS, p): log.end(EVENTS, p) for p in (0, 2)}
    group.changes.append(Change(assigned=[(EVENTS, 1)]))
    group.leaving = [(EVENTS, 2)]
    happen(log, *(click(f"r{number}") for number in range(40)))
    while host.turn():
        pass
    assert list(host.learners) == [(EVENTS, 0), (EVENTS, 1)]
    for (_, partition), learner in host.learners.items():
        assert learner.hash() == replay_log(log, partition=partition).hash


def test_what_leaves_is_committed_and_what_is_lost_is_not(store):
    log, clock = MemoryLog(START, partitions=2), Clock()
    group = Group(Change(assigned=[(EVENTS, 0), (EVENTS, 1)]))
    host = host_of(log, store, group, clock=clock, pace=Pace(shortest=5))
    host.turn()
    host.turn()
    happen(log, *(impression(f"r{number}") for number in range(40)))
    clock.now += 6
    host.turn()
    settled = dict(group.told)
    happen(log, *(click(f"r{number}") for number in range(40)))
    host.turn()
    assert group.told == settled
    group.leaving = [(EVENTS, 0)]
    group.changes = [Change(lost=[(EVENTS, 1)])]
    host.turn()
    assert host.learners == {}
    assert group.told == {**settled, (EVENTS, 0): log.end(EVENTS, 0)}
    assert store.claim(EVENTS, 1, log.topic_id(EVENTS), 2).next_offset == settled[EVENTS, 1]


def test_a_fenced_shard_is_dropped_and_taken_again_when_it_stays_assigned(store):
    log, clock = MemoryLog(START), Clock()
    host = host_of(log, store, SoleOwner([(EVENTS, 0)]), clock=clock)
    host.turn()
    happen(log, impression("r"))
    store.claim(EVENTS, 0, log.topic_id(EVENTS))  # an operator's hand
    clock.now += 1
    host.turn()
    assert host.learners == {}
    host.turn()
    assert host.learners == {}
    clock.now += 6
    while host.turn():
        pass
    assert host.learners[EVENTS, 0].hash() == replay_log(log).hash


def test_trouble_passes_and_is_told_once(store, monkeypatch, caplog):
    log, clock = MemoryLog(START), Clock()
    host = host_of(log, store, SoleOwner([(EVENTS, 0)]), clock=clock)
    host.turn()
    works, failures = store.commit, []

    def fail_twice(*given: object) -> object:
        if len(failures) < 2:
            failures.append(dict(host.troubled))
            raise StoreError("cannot commit to store: disk full")
        return works(*given)

    monkeypatch.setattr(store, "commit", fail_twice)
    happen(log, impression("r"))
    for _ in range(6):
        clock.now += 1
        host.turn()
    assert [str(list(each.values())) for each in failures] == [
        "[]",
        "[StoreError('cannot commit to store: disk full')]",
    ]
    assert host.troubled == {}
    assert host.learners[EVENTS, 0].committed_offset == 2
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "learning events-0 waits: cannot commit to store: disk full",
        "learning events-0 goes on",
    ]


def test_state_of_another_topic_stops_the_host(store):
    host_of(MemoryLog(START), store, SoleOwner([(EVENTS, 0)])).turn()
    with pytest.raises(RefusedError, match="slatestream reset"):
        host_of(MemoryLog(START), store, SoleOwner([(EVENTS, 0)])).turn()


def test_a_topic_with_more_partitions_than_before_stops_the_host(store):
    log = MemoryLog(START, partitions=2)
    host_of(log, store, SoleOwner([(EVENTS, 0)])).turn()
    log._records[EVENTS].append([])
    with pytest.raises(RefusedError, match="3 partitions and had 2"):
        host_of(log, store, SoleOwner([(EVENTS, 2)])).turn()


def test_records_that_retention_removed_before_they_were_learned_are_missed(store, monkeypatch):
    log, clock = MemoryLog(START), Clock()
    host = host_of(log, store, SoleOwner([(EVENTS, 0)]), clock=clock)
    happen(log, impression("r"))
    for _ in range(3):
        clock.now += 1
        host.turn()
    monkeypatch.setattr(log, "begin", lambda *_: 2)
    with pytest.raises(RefusedError, match="retention removed"):
        host_of(log, store, SoleOwner([(EVENTS, 0)])).turn()


def test_of_two_hosts_that_believe_they_own_a_shard_one_writes(store):
    log, clock = MemoryLog(START), Clock()
    zombie = host_of(log, store, SoleOwner([(EVENTS, 0)]), clock=clock)
    zombie.turn()
    late = zombie.learners[EVENTS, 0]
    owner = host_of(log, store, SoleOwner([(EVENTS, 0)]), clock=clock)
    owner.turn()
    happen(log, impression("r"), click("r"))
    late.step()
    with pytest.raises(FencedError):
        late.commit()
    clock.now += 1
    while owner.turn():
        pass
    assert owner.learners[EVENTS, 0].committed_offset == log.end(EVENTS)


@pytest.mark.parametrize(
    ("size", "shards", "seconds"), [(1, 1, 0.5), (8e6, 1, 1.0), (8e6, 5, 5.0), (8e8, 1, 10.0)]
)
def test_large_commits_come_more_seldom(size, shards, seconds):
    assert Pace().after(size, shards) == seconds


def test_run_closes_windows_of_an_idle_log_by_itself(tmp_path, store):
    log = SqliteLog(tmp_path / "log.db")
    host = host_of(
        log, store, SoleOwner([(EVENTS, 0)]), settings(window=0.05), pace=Pace(shortest=0.01)
    )
    stop = threading.Event()
    running = threading.Thread(target=host.run, args=(stop,))
    running.start()
    while not log.end(EVENTS):  # the settings come first
        time.sleep(0.01)
    log.append(EVENTS, [("", encode_event(impression("r"))), ("", encode_event(click("r")))])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not _applied(log):
        time.sleep(0.01)
    stop.set()
    running.join()
    counts = replay_log(log).counts.to_dict()
    assert counts["impression"]["applied"] == 1
    assert counts["tick"]["applied"] >= 1
    assert store.claim(EVENTS, 0, log.topic_id(EVENTS)).next_offset == log.end(EVENTS)
    log.close()


def _applied(log: SqliteLog) -> int:
    return replay_log(log).counts.to_dict().get("impression", {}).get("applied", 0)
