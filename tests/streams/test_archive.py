"""An archive of a log is the log: every record where it stood, and the live state learned anew."""

import sqlite3
import threading
import uuid

import pytest

from engine.errors import ConfigError
from streams.errors import LogError, LostRecordsError, UnfitTopicError
from streams.events import Item, encode_event
from streams.learner import Learner
from streams.log.archive import APPLICATION, ArchiveLog, is_archive
from streams.log.archiving import write_archive
from streams.log.base import CATALOGUE, EVENTS, OUTCOMES, TOPICS
from streams.log.memory import MemoryLog
from streams.log.opening import name_log, read_log_as_of_now
from streams.log.prefix import Prefix
from streams.log.sqlite import SqliteLog
from streams.replay import replay_all
from streams.store import Store
from tests.streams.cases import HOUR, START, click, impression, settings
from tests.streams.fleet import Fleet, feed
from tests.streams.test_outcomes import pair, two


def everything(log, topic, partition, limit=7):
    records, offset = [], log.begin(topic, partition)
    while found := log.poll(topic, offset, limit, partition):
        records += found
        offset = found[-1].offset + 1
    return records


def archived(log, path) -> ArchiveLog:
    write_archive(log, path)
    return ArchiveLog(path)


def check_same(found, wanted) -> None:
    for topic in TOPICS:
        assert found.partitions(topic) == wanted.partitions(topic)
        for part in range(wanted.partitions(topic)):
            records = everything(wanted, topic, part)
            assert everything(found, topic, part) == records
            assert found.topic_id(topic) == wanted.topic_id(topic)
            assert found.begin(topic, part) == wanted.begin(topic, part)
            end = records[-1].offset + 1 if records else wanted.begin(topic, part)
            assert found.end(topic, part) == end


@pytest.fixture
def filled():
    """A log of three partitions with odd keys, empty values and an empty partition."""
    log = MemoryLog(START, partitions=3)
    for number in range(100):
        log.time_ms += number % 3
        log.append(EVENTS, [(f"kä\0{number}", bytes([number]) * (number % 40))], number % 2)
    log.append(CATALOGUE, [("i", encode_event(Item(ts=0, id="i")))])
    return log


def test_what_was_learned_live_is_learned_from_the_archive(tmp_path):
    fleet = Fleet(tmp_path, two("groupwise-greedy", "linear-ucb:half_life_seconds=20"))
    try:
        fleet.start()
        feed(fleet, pair, range(90))
        fleet.tick(5)
        fleet.learn()
        with_archive = archived(fleet.log, tmp_path / "a.archive")
        check_same(with_archive, fleet.log)
        assert sum(fleet.log.end(OUTCOMES, part) for part in range(3)) > 20
        found, source = replay_all(with_archive), replay_all(fleet.log)
        hashes = {key: shard.hash for key, shard in found.shards.items()}
        assert hashes == fleet.hashes() == {k: shard.hash for k, shard in source.shards.items()}
        assert {name: len(state) for name, state in found.states.items()} == {"left": 3, "right": 3}
        for name, state in source.states.items():
            assert found.states[name].hash() == state.hash()
        assert replay_all(with_archive, limit=1).shards.keys() == found.shards.keys()
        with_archive.close()
    finally:
        fleet.close()


def test_it_reads_as_every_log_does(tmp_path, filled):
    log = archived(filled, tmp_path / "a.archive")
    check_same(log, filled)
    assert log.poll(EVENTS, 50, 9, 0) == []
    assert log.poll(EVENTS, 0, 0, 0) == []
    assert [r.offset for r in log.poll(EVENTS, 48, 9, 1)] == [48, 49]
    assert (log.begin(EVENTS, 2), log.end(EVENTS, 2)) == (0, 0)
    assert log.now_ms() == filled.now_ms()
    with pytest.raises(LogError, match="'clicks'"):
        log.poll("clicks", 0, 1)
    for partition in (3, -1):
        with pytest.raises(LogError, match=f"partition is {partition}; .* has 3"):
            log.end(EVENTS, partition)
    with pytest.raises(LogError, match="for reading"):
        log.append(EVENTS, [("", b"")])
    again = archived(log, tmp_path / "copy.archive")
    check_same(again, filled)
    again.close()
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.poll(EVENTS, 0, 1)


def test_threads_share_it(tmp_path, filled):
    log = archived(filled, tmp_path / "a.archive")
    wanted = everything(filled, EVENTS, 0)
    found: list[bool] = []
    read = lambda: found.append(everything(log, EVENTS, 0, 3) == wanted)  # noqa: E731
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4
    log.close()


def test_topics_that_there_were_not_are_told(tmp_path):
    source = SqliteLog(tmp_path / "log.db")
    source.append(EVENTS, [("k", b"v")])
    log = archived(source, tmp_path / "a.archive")
    assert [log.partitions(topic) for topic in TOPICS] == [1, 1, 0]
    with pytest.raises(LogError, match="has no topic outcomes"):
        log.topic_id(OUTCOMES)
    log.close()
    source.close()
    with pytest.raises(LogError, match="nothing to archive"):
        write_archive(MemoryLog(partitions=0, outcomes=0), tmp_path / "b.archive")


class Sparse:
    """A log whose partitions begin at 7 and hold every third offset, as others may leave them."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.partitions, self.now_ms, self.topic_id = log.partitions, log.now_ms, log.topic_id
        self.close = log.close

    def append(self, topic, entries, partition=None):
        places = self._log.append(topic, entries, partition)
        return [place._replace(offset=7 + 3 * place.offset) for place in places]

    def poll(self, topic, offset, limit, partition=0):
        if offset < 7:
            raise LostRecordsError(f"{topic}-{partition} begins at 7")
        found = self._log.poll(topic, (offset - 7 + 2) // 3, limit, partition)
        return [record._replace(offset=7 + 3 * record.offset) for record in found]

    def begin(self, topic, partition=0):
        return 7 + self._log.begin(topic, partition)

    def end(self, topic, partition=0):
        return 7 + 3 * self._log.end(topic, partition)


def test_offsets_that_begin_above_zero_and_have_gaps_are_kept(tmp_path):
    memory = MemoryLog(START, partitions=2)
    log, store = Sparse(memory), Store(tmp_path / "state.db")
    config = settings(HOUR, window=2.0)
    learners = [Learner(log, store, config, partition=part) for part in range(2)]
    for learner in learners:
        learner.start()
    for number in range(40):
        memory.time_ms += 300
        events = (impression(f"r{number}"), click(f"r{number}"))
        log.append(EVENTS, [(event.request_id, encode_event(event)) for event in events])
    for learner in learners:
        while learner.step(9):
            pass
        learner.commit()
    copy = archived(log, tmp_path / "a.archive")
    check_same(copy, log)
    with pytest.raises(LostRecordsError, match="records 3 to 6 of events-1 are not in archive"):
        copy.poll(EVENTS, 3, 1, 1)
    found = replay_all(copy)
    assert found.begins[EVENTS, 1] == 7
    assert sum(shard.outcomes["main"] for shard in found.shards.values() if shard.outcomes) > 40
    for part, learner in enumerate(learners):
        assert found.shards[EVENTS, part].hash == learner.hash()
        assert found.shards[EVENTS, part].counts == learner.counts
    copy.close()
    store.close()


def test_what_comes_meanwhile_is_left_out(tmp_path, filled):
    prefix = Prefix(filled)
    wanted = {part: everything(filled, EVENTS, part) for part in range(3)}
    for part in range(3):
        filled.append(EVENTS, [("late", b"late")] * 3, part)
    assert {part: everything(prefix, EVENTS, part) for part in range(3)} == wanted
    assert prefix.poll(EVENTS, 48, 9, 0) == wanted[0][48:]
    assert prefix.poll(EVENTS, 51, 9, 0) == []
    with pytest.raises(LogError, match="for reading"):
        prefix.append(EVENTS, [("", b"")])
    copy = archived(prefix, tmp_path / "a.archive")
    assert [copy.end(EVENTS, part) for part in range(3)] == [50, 50, 0]
    copy.close()


def test_progress_comes_to_its_end(tmp_path, filled):
    told = []
    write_archive(filled, tmp_path / "a.archive", lambda *given: told.append(given))
    assert told == sorted(told)
    assert told[-1] == (101, 101)


def test_nothing_is_overwritten_and_what_fails_leaves_nothing(tmp_path, filled, monkeypatch):
    path = tmp_path / "a.archive"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists; give another file"):
        write_archive(filled, path)
    assert path.read_bytes() == b"mine"
    path.unlink()
    works = filled.poll

    def fail(topic, offset, limit, partition=0):
        if (topic, partition) == (EVENTS, 1):
            raise LostRecordsError("records 0 to 9 are gone")
        return works(topic, offset, limit, partition)

    monkeypatch.setattr(filled, "poll", fail)
    with pytest.raises(LostRecordsError):
        write_archive(filled, path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / "a.archive.part").write_bytes(b"of one that was killed" * 1000)
    archived(filled, path).close()
    assert [each.name for each in tmp_path.iterdir()] == ["a.archive"]
    with pytest.raises(LogError, match=r"cannot be written: .*No such file"):
        write_archive(filled, tmp_path / "nowhere" / "a.archive")
    with pytest.raises(LogError, match="cannot be written"):
        write_archive(filled, path / "a.archive")


def test_a_topic_made_anew_meanwhile_is_told(tmp_path, filled, monkeypatch):
    prefix = Prefix(filled)
    monkeypatch.setattr(filled, "_identity", uuid.uuid4().hex)
    with pytest.raises(UnfitTopicError, match="made anew"):
        write_archive(prefix, tmp_path / "a.archive")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def whole(tmp_path, filled):
    path = tmp_path / "whole.archive"
    write_archive(filled, path)
    return path


@pytest.mark.parametrize("kept", [0, 50, 100, 4096, -4096, -1])
def test_a_file_cut_short_is_refused(tmp_path, whole, kept):
    cut = tmp_path / "cut.archive"
    cut.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(LogError, match="is not whole" if kept not in {0, 50} else "no archive"):
        ArchiveLog(cut)


def test_what_is_no_archive_is_refused(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"not a database, but long enough to have a header" * 30)
    SqliteLog(tmp_path / "log.db").close()
    for path in (foreign, tmp_path / "log.db"):
        assert not is_archive(path)
        with pytest.raises(
            LogError, match="no archive of a log; give a file that 'slatestream exp"
        ):
            ArchiveLog(path)
    with pytest.raises(LogError, match="cannot be read: No such file"):
        ArchiveLog(tmp_path / "nowhere")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute(f"PRAGMA application_id = {APPLICATION}")
    other.execute("CREATE TABLE t (a)")
    other.close()
    with pytest.raises(LogError, match=r"cannot open archive .*no such table"):
        ArchiveLog(tmp_path / "other.db")


def test_a_later_format_is_refused(whole):
    change(whole, "UPDATE meta SET format = 2")
    with pytest.raises(LogError, match="has format 2; this release reads 1: install"):
        ArchiveLog(whole)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events_1 SET value = x'00' WHERE offset = 20",
        "UPDATE events_1 SET stamp = stamp + 1 WHERE offset = 20",
        "UPDATE events_1 SET key = 'other' WHERE offset = 20",
        "UPDATE events_1 SET value = 5 WHERE offset = 20",
        "UPDATE events_1 SET offset = 1000 WHERE offset = 20",
    ],
)
def test_a_record_that_changed_is_not_read(whole, damage):
    change(whole, damage)
    log = ArchiveLog(whole)
    assert len(everything(log, EVENTS, 0)) == 50
    with pytest.raises(LogError, match="events-1"):
        everything(log, EVENTS, 1)
    with pytest.raises(LogError, match="damaged"):
        log.check()
    log.close()


def test_a_record_that_is_missing_is_told(whole):
    change(whole, "DELETE FROM events_1 WHERE offset = 20")
    log = ArchiveLog(whole)
    with pytest.raises(LogError, match="events-1 has 49 records up to 50 and should have 50"):
        log.check()
    log.close()


def change(path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_places_open_as_what_they_are(tmp_path, whole, filled):
    source = SqliteLog(tmp_path / "log.db")
    source.append(EVENTS, [("k", b"v")])
    for place in (tmp_path, tmp_path / "log.db", str(tmp_path)):
        log = read_log_as_of_now(place)
        source.append(EVENTS, [("k", b"later")])
        assert len(everything(log, EVENTS, 0)) == log.end(EVENTS)
        log.close()
    source.close()
    log = read_log_as_of_now(str(whole))
    check_same(log, filled)
    log.close()
    with pytest.raises(ConfigError, match=r"does not exist; give a log\.db"):
        read_log_as_of_now(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="kafka://"):
        read_log_as_of_now("kafka://")
    shown = name_log("kafka://h:1/p?sasl_plain_password=secret")
    assert shown == "kafka://h:1/p"
    assert name_log(tmp_path) == str(tmp_path)
