"""Snapshots, restores and resets, under learners and publishers that run on."""

import random
from dataclasses import replace

import pytest

from engine.errors import SnapshotError
from streams.errors import FencedError, RefusedError, StoreError
from streams.join import Joiner, JoinPoint
from streams.learner import Learner
from streams.log.base import EVENTS, OUTCOMES
from streams.log.memory import MemoryLog
from streams.log.sqlite import SqliteLog
from streams.publisher import Publisher
from streams.renewal import find_topics, reset, restore
from streams.replay import replay_all
from streams.shard import Shard, replay_log
from streams.snapshots import open_snapshot, write_snapshot
from streams.store import Store
from streams.views import ViewReader, ViewWriter
from tests.streams.cases import HOUR, START, settings
from tests.streams.fleet import Fleet, feed
from tests.streams.hosting import Hosting, check_against_replay, traffic, wait_until
from tests.streams.test_models import FEATURES, shown

CONFIG = settings(HOUR, window=2.0)


class House:
    """Two partitions, a learner of each that may have been fenced, and a publisher."""

    def __init__(self, where: str, folder) -> None:
        self.folder, self.where = folder, where
        self.log, self.store = MemoryLog(START, partitions=2), Store(where)
        self.rng, self.slates = random.Random(2), 0
        self.reader = ViewReader(folder / "views")
        self.publisher = Publisher(self.store, ViewWriter(folder / "views"), CONFIG)
        self.learners = [self.learner(part) for part in range(2)]
        for learner in self.learners:
            learner.start()

    def learner(self, partition: int) -> Learner:
        return Learner(self.log, self.store, CONFIG, partition=partition)

    def happen(self, rounds: int = 3) -> None:
        """Traffic, learned and committed by whoever still owns a shard."""
        for _ in range(rounds):
            self.log.time_ms += 1500
            self.log.append(EVENTS, traffic(self.rng, self.slates))
            self.slates += 25
            for partition, learner in enumerate(self.learners):
                try:
                    learner.step()
                    learner.commit()
                except FencedError:
                    self.learners[partition] = self.learner(partition)
                    self.learners[partition].recover()
        self.publisher.refresh()

    def snapshot(self, name: str = "snapshot"):
        return write_snapshot(self.store.database, self.folder / name)

    def restore(self, snapshot, **options: bool):
        return restore(self.store.database, snapshot, find_topics(self.log), **options)

    def reset(self, **options: bool):
        return reset(self.store.database, find_topics(self.log), **options)

    def catch_up(self) -> None:
        for learner in self.learners:
            while learner.step():
                learner.commit()
        self.publisher.refresh()

    def check(self) -> None:
        """State is that of one pass over the log, and so is what is served."""
        self.catch_up()
        check_against_replay(self.log, self.store, CONFIG)
        whole = [replay_log(self.log, partition=part) for part in range(2)]
        view = self.reader.current()
        assert view.offsets == {part: each.next_offset for part, each in enumerate(whole)}
        policy = CONFIG.policies["main"].build("main")
        served, learned = (
            view.policies["main"],
            policy.derive(policy.merge([each.states["main"] for each in whole])),
        )
        assert sorted(served.item_ids) == sorted(learned.item_ids)
        items = served.item_ids
        for name, array in learned.arrays.items():
            assert (served.arrays[name][served.rows(items)] == array[learned.rows(items)]).all()


@pytest.fixture
def house(where, tmp_path):
    house = House(where, tmp_path)
    yield house
    house.store.close()


def test_a_restored_state_goes_on_to_what_replay_gives(house):
    house.happen()
    snapshot = house.snapshot()
    before = list(house.learners)
    house.happen(5)
    seqs = [learner.position.seq for learner in house.learners]
    epochs = [learner.position.epoch for learner in house.learners]
    restored = house.restore(snapshot)
    assert [each.next_offset for each in restored] == [
        row["next_offset"] for row in snapshot.shards
    ]
    assert all(each.seq > seq for each, seq in zip(restored, seqs, strict=True))
    assert all(each.epoch > epoch for each, epoch in zip(restored, epochs, strict=True))
    house.publisher.refresh()
    offsets = {row["part"]: row["next_offset"] for row in snapshot.shards}
    assert house.reader.current().offsets == offsets
    for learner in house.learners:
        with pytest.raises(FencedError):
            learner.check_owned()
    house.happen(5)  # the old learners commit, are fenced and take over again
    assert not set(before) & set(house.learners)
    house.check()


def test_a_snapshot_is_restored_into_another_database(house, tmp_path):
    house.happen(6)
    snapshot = house.snapshot()
    house.happen(2)
    other = Store(tmp_path / "other.db")
    restore(other.database, snapshot, find_topics(house.log))
    for partition in range(2):
        learner = Learner(house.log, other, CONFIG, partition=partition)
        learner.recover()
        whole = replay_log(house.log, partition=partition)
        while learner.step():
            learner.commit()
        assert (learner.hash(), learner.counts) == (whole.hash, whole.counts)
    other.close()


def test_a_publisher_notices_that_the_store_it_follows_is_an_older_one(house, tmp_path):
    house.happen(2)
    snapshot = house.snapshot()
    house.happen(6)
    other = Store(tmp_path / "other.db")
    restore(other.database, snapshot, find_topics(house.log))
    house.publisher._store = other  # as when the database behind the URL is another
    house.publisher.refresh()
    assert house.reader.current().offsets == {
        row["part"]: row["next_offset"] for row in snapshot.shards
    }
    other.close()


def test_a_snapshot_is_taken_and_restored_while_learners_run(where, tmp_path):
    rng = random.Random(9)
    log, store = SqliteLog(tmp_path / "log.db"), Store(where)
    operator = Store(where)
    with Hosting(log, store, CONFIG) as hosting:
        for number in range(8):
            log.append(EVENTS, traffic(rng, 25 * number))
            hosting.wait_committed()
            snapshot = write_snapshot(operator.database, tmp_path / f"snapshot-{number}")
            assert snapshot.shards[0]["next_offset"] <= log.end(EVENTS)
        learner = hosting.host.learners[EVENTS, 0]
        restore(operator.database, open_snapshot(tmp_path / "snapshot-3"), find_topics(log))
        log.append(EVENTS, traffic(rng, 1000))
        wait_until(lambda: hosting.host.learners.get((EVENTS, 0)) not in {None, learner})
        hosting.wait_committed()
        learner = hosting.host.learners[EVENTS, 0]
        reset(operator.database, find_topics(log))
        # Nothing is appended: who owns a shard looks after it also when there is no news.
        wait_until(lambda: hosting.host.learners.get((EVENTS, 0)) not in {None, learner})
        hosting.wait_committed()
    check_against_replay(log, store, CONFIG)
    for each in (store, operator, log):
        each.close()


def test_what_was_learned_since_by_shards_not_in_the_snapshot_is_learned_anew(where, tmp_path):
    log, store = MemoryLog(START, partitions=2), Store(where)
    Learner(log, store, CONFIG).start()
    snapshot = write_snapshot(store.database, tmp_path / "snapshot")
    Learner(log, store, CONFIG, partition=1).start()
    epoch = store.claim(EVENTS, 1, log.topic_id(EVENTS), 2).epoch
    _, second = restore(store.database, snapshot, find_topics(log))
    assert (second.next_offset, second.config.policies) == (0, {})
    assert second.epoch == epoch + 1
    store.close()


@pytest.mark.parametrize("place", [0, 25, 60, -200, -10])
def test_a_damaged_file_is_refused_and_the_store_is_as_before(house, place):
    house.happen()
    snapshot = house.snapshot()
    body = bytearray(snapshot.path.read_bytes())
    body[place] ^= 0x40
    snapshot.path.write_bytes(body)
    with pytest.raises(SnapshotError, match=r"damaged|is no snapshot|later release"):
        open_snapshot(snapshot.path)
    with pytest.raises(SnapshotError):
        house.restore(snapshot)
    for learner in house.learners:
        learner.check_owned()
    house.happen()
    house.check()


def test_a_file_cut_short_or_of_something_else_is_refused(house):
    house.happen()
    snapshot = house.snapshot()
    whole = snapshot.path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 50, 100, 3):
        snapshot.path.write_bytes(whole[:size])
        with pytest.raises(SnapshotError, match=r"not whole|is no snapshot"):
            open_snapshot(snapshot.path)
    snapshot.path.write_bytes(whole + b"\0")
    with pytest.raises(SnapshotError, match="damaged"):
        open_snapshot(snapshot.path)
    with pytest.raises(SnapshotError, match="cannot be read"):
        open_snapshot(house.folder / "nowhere")


def test_a_snapshot_overwrites_nothing_and_leaves_no_half(house):
    house.happen()
    house.snapshot()
    with pytest.raises(SnapshotError, match="exists"):
        house.snapshot()
    with pytest.raises(SnapshotError, match="cannot be written"):
        write_snapshot(house.store.database, house.folder / "nowhere" / "snapshot")
    (house.folder / "snapshot").unlink()
    with house.store.database.writing("damage") as connection:
        connection.exec_driver_sql("DELETE FROM delta WHERE seq = (SELECT max(seq) FROM delta)")
    with pytest.raises(RefusedError, match="missing"):
        house.snapshot()
    assert not list(house.folder.glob("snapshot*"))


def test_an_empty_store_has_no_snapshot(where, tmp_path):
    store = Store(where)
    with pytest.raises(StoreError, match="holds nothing yet"):
        write_snapshot(store.database, tmp_path / "snapshot")
    store.close()


def test_a_snapshot_of_another_topic_is_refused_unless_forced(house):
    house.happen()
    snapshot = house.snapshot()
    copied = MemoryLog(house.log.time_ms, partitions=2)
    copied._records = house.log._records  # every record at its old offset
    house.log = copied
    with pytest.raises(RefusedError, match="--force"):
        house.restore(snapshot)
    house.restore(snapshot, force=True)
    house.learners = [house.learner(part) for part in range(2)]
    for learner in house.learners:
        learner.recover()
    house.happen()
    house.check()


def test_a_snapshot_that_the_log_does_not_lead_on_from_is_refused(house):
    house.happen()
    snapshot = house.snapshot()
    topics = find_topics(house.log)
    whole = topics[EVENTS]
    for kept, why in (
        (tuple(range(span.stop - 5) for span in whole.kept), "the log holds 0 to"),
        (tuple(range(span.stop - 1, span.stop) for span in whole.kept), "needs records from"),
        (whole.kept[:1], "had 2 partitions and the log's has 1"),
    ):
        with pytest.raises(RefusedError, match=why):
            restore(house.store.database, snapshot, {EVENTS: replace(whole, kept=kept)})
    for learner in house.learners:
        learner.check_owned()


def test_after_a_reset_all_is_learned_anew(house):
    house.happen(4)
    seqs = [learner.position.seq for learner in house.learners]
    forgotten = house.reset()
    assert [each.next_offset for each in forgotten] == [0, 0]
    assert all(each.seq > seq for each, seq in zip(forgotten, seqs, strict=True))
    house.publisher.refresh()
    view = house.reader.current()
    assert view.offsets == {0: 0, 1: 0}
    assert view.policies["main"].item_ids == []  # slates are still made, of what is believed first
    house.happen(4)
    house.check()


def test_a_reset_takes_up_a_topic_created_anew(house):
    house.happen()
    house.log = MemoryLog(house.log.time_ms, partitions=2)
    with pytest.raises(RefusedError, match="slatestream reset"):
        house.learner(0).recover()
    house.reset()
    house.learners = [house.learner(part) for part in range(2)]
    for learner in house.learners:
        learner.start()
    house.happen()
    house.check()


def test_a_reset_takes_up_another_number_of_partitions(house):
    house.happen()
    house.log = MemoryLog(house.log.time_ms, partitions=1)
    first, ghost = house.reset()
    assert (first.partitions, ghost.partitions, ghost.next_offset) == (1, 1, 0)
    learner = house.learner(0)
    learner.start()
    house.publisher.refresh()
    assert house.reader.current().counts == learner.counts


def test_a_reset_from_the_end_learns_only_what_comes(house):
    house.happen()
    ends = [house.log.end(EVENTS, part) for part in range(2)]
    assert [each.next_offset for each in house.reset(from_end=True)] == ends
    house.happen(4)
    house.catch_up()
    for partition, end in enumerate(ends):
        learner = house.learner(partition)
        learner.recover()
        assert learner.shard.config == CONFIG
        records = house.log.poll(EVENTS, end, 10**6, partition)
        expected = Shard(CONFIG)
        expected.joiner = Joiner(JoinPoint(end, 0, CONFIG))
        expected.fold(records)
        assert (learner.hash(), learner.counts) == (expected.hash(), expected.counts)
        assert learner.counts.exact


def test_a_reset_begins_at_the_oldest_record_kept(house, monkeypatch):
    house.happen(4)
    begin = [house.log.end(EVENTS, part) // 2 for part in range(2)]
    monkeypatch.setattr(house.log, "begin", lambda _, part=0: begin[part])
    house.reset()
    house.happen(2)
    house.catch_up()
    for partition, offset in enumerate(begin):
        learner = house.learner(partition)
        learner.recover()
        # The record with the settings is gone: they are those known when all was forgotten.
        expected = Shard(CONFIG)
        expected.joiner = Joiner(JoinPoint(offset, 0, CONFIG))
        expected.fold(house.log.poll(EVENTS, offset, 10**6, partition))
        assert (learner.hash(), learner.counts) == (expected.hash(), expected.counts)


def test_an_empty_store_may_begin_at_the_end(where):
    log, store = MemoryLog(START, partitions=2), Store(where)
    log.append(EVENTS, traffic(random.Random(1), 0))
    ends = [log.end(EVENTS, part) for part in range(2)]
    reset(store.database, find_topics(log), from_end=True)
    learner = Learner(log, store, CONFIG, partition=1)
    learner.start()
    assert learner.counts.to_dict()["control"]["applied"] == 1
    assert learner.counts.to_dict().keys() == {"control"}
    assert learner.next_offset == ends[1] + 1
    store.close()


@pytest.fixture
def in_order(tmp_path):
    """Learners of a policy that is learned by one owner, from a topic of outcomes."""
    fleet = Fleet(tmp_path, settings(*FEATURES, window=2.0, spec="river-greedy"), partitions=2)
    fleet.start()
    feed(fleet, shown, range(24))
    yield fleet
    fleet.close()


def go_on(fleet: Fleet, numbers: range) -> int:
    """New learners take over and more happens; returns the slots learned of all that did."""
    fleet.start()
    feed(fleet, shown, numbers)
    fleet.tick(5)
    fleet.learn()
    fleet.learn()  # what was written again
    owners = [shard for (topic, _), shard in fleet.learners.items() if topic == OUTCOMES]
    states = [each.shard.states.get("main") for each in owners]
    return sum(int(state.sums["count"].sum()) for state in states if state is not None)


def test_what_is_learned_in_order_goes_on_after_a_restore(in_order, tmp_path):
    fleet = in_order
    snapshot = write_snapshot(fleet.store.database, tmp_path / "snapshot")
    feed(fleet, shown, range(24, 40))
    restore(fleet.store.database, snapshot, find_topics(fleet.log))
    assert go_on(fleet, range(40, 60)) == 60 * 3
    alone = replay_all(fleet.log).shards
    assert fleet.hashes() == {key: shard.hash for key, shard in alone.items()}


def test_what_is_learned_in_order_is_learned_anew_after_a_reset(in_order):
    fleet = in_order
    fleet.tick(5)
    fleet.learn()
    reset(fleet.store.database, find_topics(fleet.log))
    assert go_on(fleet, range(24, 40)) == 40 * 3
    alone = replay_all(fleet.log).shards
    assert fleet.hashes() == {key: shard.hash for key, shard in alone.items()}
    assert fleet.view().policies["main"].item_ids


def test_what_is_learned_in_order_begins_at_the_end_too(in_order):
    fleet = in_order
    fleet.tick(5)
    fleet.learn()
    reset(fleet.store.database, find_topics(fleet.log), from_end=True)
    assert go_on(fleet, range(24, 40)) == 16 * 3
