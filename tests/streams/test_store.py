"""Commits are whole, fenced and compact."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import event as hooks

from streams.agenda import Remembered
from streams.config import EngineConfig, PolicyConfig
from streams.counts import Counts
from streams.dead import read_dead_letters
from streams.errors import FencedError, StoreError
from streams.join import JoinPoint
from streams.positions import Commit, Position
from streams.requests import DeadLetter
from streams.store import Store
from tests.streams.cases import HOUR, settings


@pytest.fixture
def store(where) -> Iterator[Store]:
    store = Store(where)
    yield store
    store.close()


def commit(offset: int, *, base: bool = False, **fields: object) -> Commit:
    given = {
        "clock": offset * 10,
        "join_point": JoinPoint(offset - 1, offset * 10 - 5, EngineConfig()),
        "counts": Counts({"tick": {"consumed": offset, "applied": offset}}),
        "config": settings(HOUR),
        "bodies": {"main": b"%d" % offset},
        "remembered": Remembered.of({}),
        "dead": [],
        **fields,
    }
    return Commit(next_offset=offset, base=base, **given)


def letter(offset: int, detail: str = "bad") -> DeadLetter:
    return DeadLetter(offset, 5, "json", detail, "/x", b"{")


def test_a_new_shard_starts_at_nothing(store):
    position = store.claim("events", 0, "log")
    assert position == replace(Position.fresh("events", 0, "log", 1), epoch=1)
    saved = store.load(position)
    assert (saved.base, saved.deltas, saved.closed.to_dict()) == ({}, [], {})


def test_what_was_committed_is_claimed_again(store):
    position = store.commit(store.claim("events", 0, "log"), commit(7))
    again = store.claim("events", 0, "log")
    assert again.epoch == position.epoch + 1
    for field in ("seq", "next_offset", "clock", "join_point", "counts", "delta_bytes"):
        assert getattr(again, field) == getattr(position, field)
    assert again.config.state_hash == settings(HOUR).state_hash


def test_partitions_do_not_meet(store):
    first, second = (store.claim("events", part, "log") for part in (0, 1))
    store.commit(first, commit(3, remembered=Remembered.of({114: 99})))
    store.commit(second, commit(4, base=True, remembered=Remembered.of({114: 77})))
    saved = [store.load(store.claim("events", part, "log")) for part in (0, 1)]
    assert [s.closed.to_dict() for s in saved] == [{114: 99}, {114: 77}]
    assert [(s.base, len(s.deltas)) for s in saved] == [({}, 1), ({"main": b"4"}, 0)]


def test_an_earlier_claim_is_fenced_and_writes_nothing(store, where):
    zombie = store.claim("events", 0, "log")
    owner = store.claim("events", 0, "log")
    with pytest.raises(FencedError, match="another learner"):
        store.commit(zombie, commit(5, remembered=Remembered.of({114: 999}), dead=[letter(1)]))
    assert store.load(owner).deltas == []
    assert store.load(owner).closed.to_dict() == {}
    assert read_dead_letters(where, 100) == []
    owner = store.commit(owner, commit(5))
    with pytest.raises(FencedError):
        store.commit(zombie, commit(6))


def test_a_position_commits_once(store):
    position = store.claim("events", 0, "log")
    store.commit(position, commit(5))
    with pytest.raises(FencedError):
        store.commit(position, commit(5))


def test_a_failure_in_the_middle_writes_nothing(store):
    position = store.claim("events", 0, "log")

    def fail(conn, cursor, statement, parameters, context, executemany):
        if statement.startswith("INSERT INTO dead_letter"):
            raise sqlite3.OperationalError("disk full")

    hooks.listen(store.database._writer, "before_cursor_execute", fail)
    with pytest.raises(StoreError, match="disk full"):
        store.commit(position, commit(5, remembered=Remembered.of({114: 99}), dead=[letter(1)]))
    hooks.remove(store.database._writer, "before_cursor_execute", fail)
    assert store.load(position).closed.to_dict() == {}
    assert store.commit(position, commit(5, dead=[letter(1)])).seq == 1


def test_a_base_replaces_what_came_before(store):
    position = store.claim("events", 0, "log")
    for offset in (1, 2):
        position = store.commit(position, commit(offset))
    position = store.commit(position, commit(3, base=True))
    for offset in (4, 5):
        position = store.commit(position, commit(offset))
    saved = store.load(position)
    assert saved.base == {"main": b"3"}
    assert saved.deltas == [{"main": b"4"}, {"main": b"5"}]


def test_a_base_is_wanted_when_deltas_outgrew_it(store):
    position = store.claim("events", 0, "log")
    position = store.commit(position, commit(1, base=True, bodies={"main": bytes(100_000)}))
    wanted = []
    for offset in range(2, 6):
        position = store.commit(position, commit(offset, bodies={"main": bytes(40_000)}))
        wanted.append(position.wants_base)
    assert wanted == [False, False, True, True]
    assert not store.commit(position, commit(6, base=True, bodies={"main": b""})).wants_base


def test_closed_requests_are_updated_and_forgotten(store):
    position = store.claim("events", 0, "log")
    position = store.commit(position, commit(1, remembered=Remembered.of({97: 15, 98: 25, 99: 5})))
    assert store.load(position).closed.to_dict() == {97: 15, 98: 25}
    position = store.commit(position, commit(2, remembered=Remembered.of({97: 40})))
    assert store.load(position).closed.to_dict() == {97: 40, 98: 25}
    position = store.commit(position, commit(3))
    assert store.load(position).closed.to_dict() == {97: 40}


def test_dead_letters_are_kept_once_by_their_source(store, where):
    position = store.claim("events", 2, "log")
    position = store.commit(position, commit(1, dead=[letter(0), letter(1)]))
    store.commit(position, commit(2, dead=[letter(1, "worse")]))
    stored = read_dead_letters(where, 100)
    found = {(each.topic, each.partition, each.offset): each for each in stored}
    assert sorted(found) == [("events", 2, 0), ("events", 2, 1)]
    assert found["events", 2, 1].detail == "worse"
    first = found["events", 2, 0]
    assert (first.reason, first.pointer) == ("json", "/x")
    assert first.value == b"{"
    assert len(read_dead_letters(where, 1)) == 1


def test_state_of_another_log_is_refused(store):
    store.claim("events", 0, "log")
    with pytest.raises(StoreError, match="has id another now"):
        store.claim("events", 0, "another")


@pytest.mark.parametrize("durability", ["process", "power"])
def test_commits_are_there_when_the_file_is_opened_again(tmp_path, durability):
    store = Store(tmp_path / "state.db", durability=durability)
    store.commit(store.claim("events", 0, "log"), commit(9))
    store.close()
    again = Store(tmp_path / "state.db")
    assert again.claim("events", 0, "log").next_offset == 9
    again.close()


def test_large_states_and_numbers_come_back(store):
    far = (1 << 62) + 1
    body = bytes(range(256)) * 40_000  # 10 MB
    position = store.claim("events", 0, "log", begin=far - 1)
    known = Remembered.of({(1 << 64) - 1: far, 0: far})
    fields = {"bodies": {"main": body, "other": b""}, "clock": far - 10, "remembered": known}
    point = JoinPoint(far - 1, far - 20, EngineConfig())
    store.commit(position, commit(far, **fields, join_point=point, chain={"outcomes-3": (far, 7)}))
    again = store.claim("events", 0, "log")
    assert (again.next_offset, again.clock, again.join_point.offset) == (far, far - 10, far - 1)
    assert again.chain == {"outcomes-3": (far, 7)}
    saved = store.load(again)
    assert saved.deltas == [{"main": body, "other": b""}]
    assert saved.closed.to_dict() == {(1 << 64) - 1: far, 0: far}


def test_letters_may_hold_what_text_columns_refuse(store, where):
    position = store.claim("events", 0, "log")
    odd = "\0nul \ud800 surrogate"
    letters = [DeadLetter(n, 5, "schema", odd, f"/{odd}", b"\0\xff") for n in range(2)]
    store.commit(position, commit(5, dead=letters))
    read = read_dead_letters(where, 9)
    assert [each.offset for each in read] == [1, 0]
    assert read[0].detail == "\ufffdnul ? surrogate"
    long = DeadLetter(2, 6, "type", "x" * 5000, "", b"long")
    store.commit(store.claim("events", 0, "log"), commit(6, dead=[long]))
    assert read_dead_letters(where, 1)[0].detail == "x" * 1000 + "…"
    assert (read[0].value, read[0].size) == (b"\0\xff", 2)


def test_names_may_hold_anything(store):
    name = "\0" + "ä" * 128
    config = EngineConfig(policies={name: PolicyConfig(spec="uniform")})
    position = store.claim("events", 0, "log")
    store.commit(position, commit(5, config=config, bodies={name: b"1"}))
    again = store.claim("events", 0, "log")
    assert list(again.config.policies) == [name]
    assert store.load(again).deltas == [{name: b"1"}]


def test_a_shard_claimed_anew_before_it_was_read_is_not_read(store):
    position = store.claim("events", 0, "log")
    store.check_owned(position)
    store.claim("events", 0, "log")
    with pytest.raises(StoreError, match="claimed by another"):
        store.load(position)
    with pytest.raises(FencedError):
        store.check_owned(position)
