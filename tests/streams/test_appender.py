"""Group commit: every caller gets its own offset or hears why not, and a kill loses none given."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.errors import LogError
from streams.log.appender import Appender
from streams.log.base import CATALOGUE, EVENTS
from streams.log.memory import MemoryLog
from streams.log.sqlite import SqliteLog


class GatedLog(MemoryLog):
    """Appends wait for the gate; counts how many transactions there were."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []

    def append(self, topic, entries):
        self.entered.set()
        assert self.gate.wait(10)
        self.sizes.append(len(entries))
        if any(value == b"bad" for _, value in entries):
            raise LogError("cannot append: disk full")
        return super().append(topic, entries)


def test_each_caller_gets_the_offset_of_its_record(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    appender = Appender(log)

    def submit(number: int) -> tuple[int, int]:
        return number, appender.submit(EVENTS, "k", b"%d" % number).result(10).offset

    with ThreadPoolExecutor(8) as pool:
        placed = dict(pool.map(submit, range(500)))
    records = log.poll(EVENTS, 0, 1000)
    assert sorted(placed.values()) == list(range(500))
    assert all(records[offset].value == b"%d" % number for number, offset in placed.items())
    appender.close()
    log.close()


def test_what_waits_is_committed_together_topics_apart():
    log = GatedLog()
    appender = Appender(log, batch=4)
    futures = [appender.submit(EVENTS, "", b"first")]
    assert log.entered.wait(10)
    futures += [appender.submit(EVENTS, "", b"x") for _ in range(5)]
    futures += [appender.submit(CATALOGUE, "", b"y")]
    many = appender.submit_many(EVENTS, [("", b"z")] * 6)  # more than a batch: still whole
    log.gate.set()
    assert [future.result(10).offset for future in futures] == [0, 1, 2, 3, 4, 5, 0]
    assert [place.offset for place in many.result(10)] == [6, 7, 8, 9, 10, 11]
    assert log.sizes == [1, 4, 1, 1, 6]
    assert appender.waiting == 0
    appender.close()


def test_a_full_queue_refuses_at_once():
    log = GatedLog()
    appender = Appender(log, capacity=3)
    held = [appender.submit(EVENTS, "", b"x") for _ in range(3)]
    with pytest.raises(LogError, match="try again later"):
        appender.submit(EVENTS, "", b"y")
    log.gate.set()
    assert [future.result(10).offset for future in held] == [0, 1, 2]
    assert appender.submit(EVENTS, "", b"y").result(10).offset == 3
    appender.close()


def test_a_failed_commit_reaches_all_its_callers_and_the_next_goes_on():
    log = GatedLog()
    appender = Appender(log)
    first = appender.submit(EVENTS, "", b"ok")
    assert log.entered.wait(10)
    failing = [appender.submit(EVENTS, "", value) for value in (b"ok", b"bad")]
    log.gate.set()
    assert first.result(10).offset == 0
    for future in failing:
        with pytest.raises(LogError, match="disk full"):
            future.result(10)
    assert appender.submit(EVENTS, "", b"ok").result(10).offset == 1
    appender.close()


def test_foreign_failures_become_ours():
    appender = Appender(MemoryLog())
    with pytest.raises(LogError, match="cannot append"):
        appender.submit_many(EVENTS, [("only a key",)]).result(10)
    assert appender.submit(EVENTS, "", b"x").result(10).offset == 0
    appender.close()


def test_close_appends_what_waits_and_refuses_more():
    log = GatedLog()
    appender = Appender(log)
    futures = [appender.submit(EVENTS, "", b"x") for _ in range(5)]
    closer = threading.Thread(target=appender.close)
    closer.start()
    log.gate.set()
    closer.join(10)
    assert [future.result(0).offset for future in futures] == list(range(5))
    with pytest.raises(LogError, match="closed"):
        appender.submit(EVENTS, "", b"y")


def test_giving_up_does_not_cancel_an_append():
    log = GatedLog()
    appender = Appender(log)
    future = appender.submit(EVENTS, "", b"x")
    assert not future.cancel()
    log.gate.set()
    assert future.result(10).offset == 0
    appender.close()


CHILD = """
import sys
from streams.log.appender import Appender
from streams.log.sqlite import SqliteLog
appender = Appender(SqliteLog(sys.argv[1]))
number = 0
while True:
    futures = [appender.submit("events", "", b"%d" % (number + i)) for i in range(20)]
    for future in futures:
        print(future.result().offset, number, flush=True)
        number += 1
"""


@pytest.mark.parametrize("lines", [1, 130, 777])
def test_every_offset_given_survives_a_kill(tmp_path, root, lines):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "log.db")], stdout=subprocess.PIPE, cwd=root
    )
    with child:
        given = [child.stdout.readline() for _ in range(lines)]
        os.kill(child.pid, signal.SIGKILL)
        given += child.stdout.read().splitlines(keepends=True)
    whole = [line.split() for line in given if line.endswith(b"\n")]
    log = SqliteLog(tmp_path / "log.db")
    records = log.poll(EVENTS, 0, 1_000_000)
    assert [record.offset for record in records] == list(range(len(records)))
    for offset, number in whole:
        assert records[int(offset)].value == number
    assert len(whole) >= lines
    assert log.append(EVENTS, [("", b"after")]) == [(0, len(records))]
    log.close()
