"""Dead letters: read, counted and appended again, in either database."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import ConfigError
from streams.dead import (
    VALUE_BYTES,
    Source,
    count_dead_letters,
    read_dead_letter,
    read_dead_letters,
    requeue,
)
from streams.events import encode_event
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.renewal import find_topics, reset
from streams.shard import replay_log
from streams.store import Store
from tests.streams.cases import START, click, impression, settings

CONFIG = settings(window=2.0)
LONG = b'{"type":"\xc3' + b"a" * VALUE_BYTES


class House:
    """A learner of partition 1 of 2, and dead letters at offsets 1 to 4."""

    def __init__(self, where: str) -> None:
        self.where, self.store = where, Store(where)
        self.log = MemoryLog(START, partitions=2)
        self.learner = Learner(self.log, self.store, CONFIG, partition=1)
        self.learner.start()
        self.append(b"{", b'{"type":"like"}', LONG, b"\xff")

    def append(self, *values: bytes) -> None:
        for value in values:
            self.log.time_ms += 1000
            self.log.append(EVENTS, [("", value)], 1)
        self.learn()

    def learn(self) -> None:
        while self.learner.step():
            pass
        self.learner.commit()

    def requeue(self, offset: int, **options):
        return requeue(self.store.database, self.log, Source(EVENTS, 1, offset), **options)


@pytest.fixture
def house(where):
    house = House(where)
    yield house
    house.store.close()


def test_they_are_counted_by_reason_and_read_by_reason(house):
    assert count_dead_letters(house.where) == {"encoding": 2, "json": 1, "type": 1}
    assert [each.offset for each in read_dead_letters(house.where, 9)] == [4, 3, 2, 1]
    assert [each.offset for each in read_dead_letters(house.where, 2)] == [4, 3]
    assert [each.offset for each in read_dead_letters(house.where, 9, reason="encoding")] == [4, 3]
    assert read_dead_letters(house.where, 9, reason="none") == []


def test_a_store_that_nobody_opened_yet_has_none(where):
    assert read_dead_letters(where, 9) == []
    assert count_dead_letters(where) == {}


def test_one_is_read_whole(house):
    (listed,) = [each for each in read_dead_letters(house.where, 9) if each.offset == 3]
    assert (len(listed.value), listed.size) == (VALUE_BYTES, len(LONG))
    letter = read_dead_letter(house.where, Source.parse("events-1-3"))
    assert (letter.value, letter.size, letter.stamp) == (LONG, len(LONG), START + 3000)
    with pytest.raises(ConfigError, match="no dead letter events-1-9"):
        read_dead_letter(house.where, Source(EVENTS, 1, 9))


@pytest.mark.parametrize("text", ["events", "events-1", "events-1-x", "events--1-2x", "1-2", ""])
def test_what_names_no_place_is_refused(text):
    with pytest.raises(ConfigError, match="topic-partition-offset"):
        Source.parse(text)


def test_a_place_is_read_as_it_is_written():
    source = Source("events.eu-west", 3, 12)
    assert Source.parse(str(source)) == source


def test_a_repaired_value_is_appended_where_it_came_from_and_learned(house):
    value = encode_event(impression("r", context={}))
    place = house.requeue(2, value=value)
    assert (place.partition, place.offset) == (1, 5)
    record = house.log.poll(EVENTS, 5, 1, 1)[0]
    assert (record.key, record.value) == ("r", value)
    letter = read_dead_letter(house.where, Source(EVENTS, 1, 2))
    assert (letter.requeued_ms, letter.requeued_offset) == (house.log.time_ms, 5)
    house.learn()
    assert house.learner.counts.to_dict()["impression"]["consumed"] == 1
    assert (house.learner.hash(), house.learner.counts) == (
        (whole := replay_log(house.log, partition=1)).hash,
        whole.counts,
    )


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (1, None, "json"),
        (2, None, "type: .*--value"),
        (4, None, "encoding"),
        (2, b'{"type":"tick"}', "schema"),
        (2, b'{"type":"item","ts":0,"id":"a"}', "routes"),
        (9, b'{"type":"tick","ts":0}', "no dead letter events-1-9"),
    ],
)
def test_what_would_be_dead_again_is_not_appended(house, offset, value, why):
    with pytest.raises(ConfigError, match=why):
        house.requeue(offset, value=value)
    assert house.log.end(EVENTS, 1) == 5
    assert all(each.requeued_ms is None for each in read_dead_letters(house.where, 9))


def test_records_of_other_topics_are_not_appended(house):
    with pytest.raises(ConfigError, match="only those of events"):
        requeue(house.store.database, house.log, Source("outcomes", 0, 1))


def test_once_appended_it_is_appended_again_only_when_that_is_asked_for(house):
    house.requeue(2, value=encode_event(click("r")))
    with pytest.raises(ConfigError, match="at offset 5; pass --again"):
        house.requeue(2, value=encode_event(click("r")))
    assert house.requeue(2, value=encode_event(click("r")), again=True).offset == 6


def test_of_two_operators_one_appends(house):
    start = threading.Barrier(4)

    def operate(_: int) -> int:
        store = Store(house.where)
        start.wait()
        try:
            value = encode_event(click("r"))
            return requeue(store.database, house.log, Source(EVENTS, 1, 2), value=value).offset
        except ConfigError:
            return 0
        finally:
            store.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(operate, range(4))) == [0, 0, 0, 5]
    assert house.log.end(EVENTS, 1) == 6


def test_a_log_that_refuses_leaves_the_letter_as_it_was(house):
    house.log.close()
    with pytest.raises(Exception, match="the log is closed"):
        house.requeue(2, value=encode_event(click("r")))
    assert read_dead_letter(house.where, Source(EVENTS, 1, 2)).requeued_ms is None


def test_the_note_outlives_learning_anew(house):
    house.requeue(2, value=encode_event(click("r")))
    reset(house.store.database, find_topics(house.log))
    house.learner = Learner(house.log, house.store, CONFIG, partition=1)
    house.learner.start()
    assert count_dead_letters(house.where) == {"encoding": 2, "json": 1, "type": 1}
    assert read_dead_letter(house.where, Source(EVENTS, 1, 2)).requeued_offset == 5
