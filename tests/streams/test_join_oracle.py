"""Over columns, however the log is cut, the joiner does what the one by dicts does."""

import random

import numpy as np
import pytest

import tests.naive.join
from streams.agenda import request_key
from streams.columns import EventColumns, RecordSpans
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import BadEventError
from streams.events import Event, decode_event, encode_event
from streams.join import Joiner, JoinPoint
from streams.log.base import EVENTS, Record
from streams.scan import decode_columns
from tests.naive.join import NaiveJoiner
from tests.streams.cases import (
    START,
    click,
    comparable,
    impression,
    random_log,
    settings,
    take_in,
    told,
)

CUTS = [1, 1, 2, 5, 30, 200]


def decoded(record: Record) -> Event | BadEventError:
    try:
        return decode_event(record.value)
    except BadEventError as error:
        return error


def add_all(naive: NaiveJoiner, records: list[Record]) -> None:
    for record in records:
        naive.add(record, decoded(record))


def assert_same(joiner: Joiner, naive: NaiveJoiner) -> None:
    found = [comparable(outcome) for outcome in told(joiner.outcomes)]
    assert found == [comparable(outcome) for outcome in naive.outcomes]
    assert joiner.counts == naive.counts
    assert joiner.counts.exact
    assert joiner.pending() == naive.pending() == joiner.counts.pending
    assert (joiner.clock, joiner.next_offset) == (naive.clock, naive.next_offset)
    assert joiner.next_deadline == naive.next_deadline
    assert joiner.join_point() == naive.join_point()
    assert joiner.closed.to_dict() == naive.closed.to_dict()
    assert joiner.remembered.to_dict() == naive.remembered.to_dict()
    assert joiner.config == naive.config
    assert joiner.dead == naive.dead


def restored(stored: tuple, records: list[Record], fixed: bool) -> tuple[Joiner, NaiveJoiner]:
    start, next_offset, counts, closed = stored
    part = records[start.offset : next_offset]
    joiner, naive = Joiner(start, fixed=fixed), NaiveJoiner(start, fixed=fixed)
    for each in (joiner, naive):
        each.skip(closed)
    take_in(joiner, part)
    add_all(naive, part)
    for each in (joiner, naive):
        each.resume(Counts(counts.to_dict()), closed)
    return joiner, naive


@pytest.mark.parametrize("seed", range(60))
def test_random_logs_with_random_cuts_and_restores(seed):
    rng = random.Random(seed)
    records = list(random_log(1000 + seed, 400).poll(EVENTS, 0, 500))
    start = JoinPoint(0, 0, decode_config(records[0]))
    fixed = seed % 10 == 0
    joiner, naive = Joiner(start, fixed=fixed), NaiveJoiner(start, fixed=fixed)
    while joiner.next_offset < len(records):
        part = records[joiner.next_offset :][: rng.choice(CUTS)]
        take_in(joiner, part)
        add_all(naive, part)
        assert_same(joiner, naive)
        if rng.random() < 0.3:
            joiner.outcomes.clear()
            naive.outcomes.clear()
        if rng.random() < 0.2:
            joiner.mark_committed()
            naive.mark_committed()
        if rng.random() < 0.1:
            stored = (joiner.join_point(), joiner.next_offset, joiner.counts, joiner.closed)
            joiner, naive = restored(stored, records, fixed)
            assert_same(joiner, naive)


def decode_config(record: Record) -> EngineConfig:
    return EngineConfig.from_control(decode_event(record.value))


def weakened(columns: EventColumns) -> EventColumns:
    """The same columns with hashes of one bit."""
    hashes = ("request_hash", "event_hash", "target_hash", "item_hash")
    return columns._replace(**{name: getattr(columns, name) & np.uint64(1) for name in hashes})


@pytest.mark.parametrize("seed", range(20))
def test_texts_of_one_hash_are_told_apart_while_open(seed, monkeypatch):
    monkeypatch.setattr(tests.naive.join, "request_key", lambda text: request_key(text) & 1)
    rng = random.Random(seed)
    records = list(random_log(2000 + seed, 300).poll(EVENTS, 0, 500))
    start = JoinPoint(0, 0, EngineConfig())
    joiner, naive = Joiner(start), NaiveJoiner(start)
    while joiner.next_offset < len(records):
        part = records[joiner.next_offset :][: rng.choice(CUTS)]
        spans = RecordSpans.of(part)
        while spans.n:
            columns = decode_columns(joiner.plan, spans)
            joiner.add(weakened(columns))
            spans = spans.cut(columns.n, spans.n)
        add_all(naive, part)
        assert_same(joiner, naive)


@pytest.mark.parametrize("seed", range(3))
def test_many_open_requests(seed):
    """Tables, arena and heap grow, what is given back is used again, all of it closes at once."""
    rng = random.Random(seed)
    config = settings(learn=rng.choice(["first", "close"]), window=30)
    joiner, naive = Joiner(JoinPoint(0, 0, config)), NaiveJoiner(JoinPoint(0, 0, config))
    time_ms, offset = START, 0
    for _ in range(6):
        records = []
        for _ in range(3000):
            time_ms += rng.choice([0, 1, 9])
            name = f"request-{rng.randrange(offset // 2 + 5)}"
            event = (
                impression(name, "abcdefgh"[: rng.randint(1, 8)], deferred=rng.random() < 0.1)
                if rng.random() < 0.6
                else click(name, rng.choice("abc"), f"e{rng.randrange(9)}")
            )
            records.append(Record(offset, time_ms, "", encode_event(event)))
            offset += 1
        take_in(joiner, records)
        add_all(naive, records)
        time_ms += rng.choice([0, 200_000])
        assert_same(joiner, naive)


@pytest.mark.parametrize("seed", range(4))
def test_many_event_ids_of_one_request(seed):
    """Some come early, many are repeated; a list of them becomes a table."""
    rng = random.Random(seed)
    config = settings(window=30)
    joiner, naive = Joiner(JoinPoint(0, 0, config)), NaiveJoiner(JoinPoint(0, 0, config))
    events: list[Event] = [
        click(rng.choice("rs"), rng.choice("abc"), f"e{rng.randrange(40)}") for _ in range(300)
    ]
    events.insert(rng.randrange(60), impression("r", "abcd"))
    events.insert(rng.randrange(60), impression("s", "ab"))
    times = sorted(rng.randrange(60_000) for _ in events)
    records = [
        Record(at, START + time_ms, "", encode_event(event))
        for at, (time_ms, event) in enumerate(zip(times, events, strict=True))
    ]
    while joiner.next_offset < len(records):
        part = records[joiner.next_offset :][: rng.choice(CUTS)]
        take_in(joiner, part)
        add_all(naive, part)
        assert_same(joiner, naive)
    assert joiner.counts.by_type["feedback"]["duplicate"] > 20


def test_more_is_learned_at_one_record_than_fits_into_a_call():
    config = settings(window=5)
    joiner, naive = Joiner(JoinPoint(0, 0, config)), NaiveJoiner(JoinPoint(0, 0, config))
    items = "".join(map(chr, range(0x4E00, 0x4E00 + 200)))
    events = [impression(f"r{number}", items) for number in range(400)]
    values = [*map(encode_event, events), b'{"type":"tick","ts":0}']
    records = [Record(at, START, "", value) for at, value in enumerate(values)]
    take_in(joiner, records)
    add_all(naive, records)
    records = [Record(401, START + 10**6, "", values[-1])]
    take_in(joiner, records)
    add_all(naive, records)
    assert_same(joiner, naive)
    assert len(naive.outcomes) == 400
