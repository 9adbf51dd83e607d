"""All logs keep the same promises; the file also keeps them between processes."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.errors import LogError
from streams.log.base import CATALOGUE, EVENTS, EventLog, Place, Record
from streams.log.kafka import KafkaLog
from streams.log.memory import MemoryLog
from streams.log.sqlite import SqliteLog
from tests.streams.kafka_cases import config_of


def offsets(places: list[Place]) -> list[int]:
    return [place.offset for place in places]


@pytest.fixture(params=["memory", "process", "power", "kafka"])
def log(request, tmp_path) -> Iterator[EventLog]:
    made: EventLog
    if request.param == "memory":
        made = MemoryLog(5)
    elif request.param == "kafka":
        made = KafkaLog(config_of(request.getfixturevalue("kafka"), partitions=1))
        made.create_topics()
    else:
        made = SqliteLog(tmp_path / "log.db", durability=request.param)
    yield made
    made.close()


def test_offsets_count_from_zero_in_each_topic(log):
    assert offsets(log.append(EVENTS, [("k", b"a"), ("", b"b")])) == [0, 1]
    assert offsets(log.append(EVENTS, [("k", b"c")])) == [2]
    assert offsets(log.append(CATALOGUE, [("i", b"d")])) == [0]
    assert offsets(log.append(EVENTS, [])) == []
    assert (log.end(EVENTS), log.end(CATALOGUE)) == (3, 1)


def test_poll_returns_what_was_appended(log):
    log.append(EVENTS, [(str(number), b"%d" % number) for number in range(10)])
    records = log.poll(EVENTS, 3, 4)
    assert [(r.offset, r.key, r.value) for r in records] == [
        (number, str(number), b"%d" % number) for number in range(3, 7)
    ]
    assert log.poll(EVENTS, 10, 4) == []
    assert log.poll(CATALOGUE, 0, 4) == []


def test_an_unknown_topic_is_refused(log):
    with pytest.raises(LogError, match="'clicks'"):
        log.append("clicks", [("", b"")])
    with pytest.raises(LogError, match="'clicks'"):
        log.poll("clicks", 0, 1)


def test_stamps_never_go_back_when_the_clock_does():
    log = MemoryLog(100)
    for time_ms in (100, 70, 130, 90):
        log.time_ms = time_ms
        log.append(EVENTS, [("", b"")])
    assert [record.stamp for record in log.poll(EVENTS, 0, 9)] == [100, 100, 130, 130]


def test_stamps_of_the_file_never_go_back(tmp_path, monkeypatch):
    log = SqliteLog(tmp_path / "log.db")
    for now in (100, 70, 130):
        monkeypatch.setattr(log, "now_ms", lambda now=now: now)
        log.append(EVENTS, [("", b"")])
    assert [record.stamp for record in log.poll(EVENTS, 0, 9)] == [100, 100, 130]
    log.close()


def test_a_log_of_given_records():
    records = [Record(0, 7, "a", b"x"), Record(1, 9, "b", b"y")]
    log = MemoryLog.of(EVENTS, records)
    assert log.poll(EVENTS, 0, 5) == records
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.end(EVENTS)


def test_a_file_is_found_again_and_known_by_its_identity(tmp_path):
    first = SqliteLog(tmp_path / "log.db")
    first.append(EVENTS, [("", b"kept")])
    other = SqliteLog(tmp_path / "other.db")
    first.close()
    first.close()
    again = SqliteLog(tmp_path / "log.db")
    assert again.topic_id(EVENTS) == first.topic_id(EVENTS) != other.topic_id(EVENTS)
    assert again.poll(EVENTS, 0, 1)[0].value == b"kept"
    again.close()
    other.close()


def test_two_connections_append_without_gaps(tmp_path):
    logs = [SqliteLog(tmp_path / "log.db") for _ in range(2)]
    taken: list[list[int]] = [[], []]

    def append(number: int) -> None:
        for _ in range(100):
            taken[number] += offsets(logs[number].append(EVENTS, [("", b"%d" % number)] * 2))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken[0] + taken[1]) == list(range(400))
    records = logs[0].poll(EVENTS, 0, 500)
    assert all(record.value == b"%d" % (record.offset in taken[1]) for record in records)
    assert [r.stamp for r in records] == sorted(r.stamp for r in records)
    for log in logs:
        log.close()


def test_a_reader_sees_appends_of_others_and_may_not_append(tmp_path):
    writer = SqliteLog(tmp_path / "log.db")
    reader = SqliteLog(tmp_path / "log.db", read_only=True)
    writer.append(EVENTS, [("", b"new")])
    assert reader.poll(EVENTS, 0, 9)[0].value == b"new"
    with pytest.raises(LogError, match="read-only"):
        reader.append(EVENTS, [("", b"")])
    reader.close()
    writer.close()


def test_a_locked_file_fails_the_append_and_nothing_is_written(tmp_path):
    log = SqliteLog(tmp_path / "log.db", busy_seconds=0.05)
    blocker = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="locked"):
        log.append(EVENTS, [("", b"")])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert offsets(log.append(EVENTS, [("", b"")])) == [0]
    log.close()


def test_a_full_disk_fails_the_append_whole_and_later_ones_go_on(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    pages = log._writer.execute("PRAGMA page_count").fetchone()[0]
    log._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(LogError, match="full"):
        log.append(EVENTS, [("", bytes(1000))] * 100)
    assert log.end(EVENTS) == 0
    log._writer.execute("PRAGMA max_page_count = 1000000")
    assert offsets(log.append(EVENTS, [("", bytes(1000))] * 100)) == list(range(100))
    log.close()


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to have a header" * 30, None]
)
def test_what_is_not_a_log_is_refused(tmp_path, content):
    path = Path(tmp_path / "log.db")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LogError, match="cannot open"):
        SqliteLog(path, read_only=True)


def test_another_format_is_refused(tmp_path):
    SqliteLog(tmp_path / "log.db").close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE meta SET format = 99")
    connection.close()
    with pytest.raises(LogError, match="format 99"):
        SqliteLog(tmp_path / "log.db")


def test_the_ahead_file_is_copied_back_while_appending(tmp_path, monkeypatch):
    monkeypatch.setattr("streams.log.sqlite.CHECKPOINT_SECONDS", 0.01)
    monkeypatch.setattr("streams.log.sqlite.TRUNCATE_BYTES", 100_000)
    log = SqliteLog(tmp_path / "log.db")
    ahead = tmp_path / "log.db-wal"
    log.append(EVENTS, [("", bytes(5000))] * 100)
    deadline = time.monotonic() + 30
    while ahead.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ahead.stat().st_size == 0
    log.append(EVENTS, [("", b"after")])
    assert [len(record.value) for record in log.poll(EVENTS, 98, 9)] == [5000, 5000, 5]
    log.close()


def test_checkpoints_begin_as_soon_as_the_file_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("streams.log.sqlite.CHECKPOINT_SECONDS", 0.01)
    (tmp_path / "here").mkdir()
    log = SqliteLog(tmp_path / "here" / "log.db")
    (tmp_path / "here").rename(tmp_path / "away")
    try:
        log.append(EVENTS, [("", bytes(200_000))])
        time.sleep(0.2)  # rounds that cannot open it
        (tmp_path / "away").rename(tmp_path / "here")
        file, deadline = tmp_path / "here" / "log.db", time.monotonic() + 20
        while file.stat().st_size < 200_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.stat().st_size > 200_000
    finally:
        log.close()
