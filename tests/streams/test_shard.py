"""State is a function of the log: not of batch cuts, stops, or how often it was settled."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from msgspec import structs

from engine.batches import Outcomes
from engine.features import Schema
from engine.registry import make_policy
from streams.align import align_state
from streams.errors import StoreError
from streams.events import Event, Tick, encode_event
from streams.log.base import EVENTS, Record
from streams.log.batches import RecordBatch
from streams.log.memory import MemoryLog
from streams.shard import Shard, Snapshot, replay_log
from tests.item_model import register
from tests.streams.cases import (
    DEVICE,
    HOUR,
    START,
    click,
    impression,
    random_log,
    settings,
)

CUTS = [1, 2, 3, 7, 40, 1000]


def log_of(*timed: tuple[float, Event]) -> MemoryLog:
    log = MemoryLog(START)
    for seconds, event in timed:
        log.time_ms = START + round(seconds * 1000)
        log.append(EVENTS, [("", encode_event(event))])
    return log


@pytest.mark.parametrize("seed", range(12))
def test_how_the_log_is_cut_leaves_no_trace(seed):
    rng = random.Random(seed)
    log = random_log(seed, 300)
    whole = replay_log(log)
    shard = Shard()
    while records := log.poll(EVENTS, shard.next_offset, rng.choice(CUTS)):
        shard.fold(records)
        if rng.random() < 0.3:
            shard.settle()
    assert shard.hash() == whole.hash == replay_log(log, limit=1).hash
    assert shard.counts == whole.counts
    assert whole.counts.exact
    assert whole.next_offset == 301


def test_the_hash_tells_states_and_settings_apart():
    seen = [
        (0, settings(HOUR).to_control(0)),
        (0, impression("r")),
        (1, click("r")),
        (50, Tick(ts=0)),
    ]
    hashes = {
        replay_log(log_of(*seen)).hash,
        replay_log(log_of(*seen[:2], *seen[3:])).hash,
        replay_log(log_of((0, settings(DEVICE).to_control(0)), *seen[1:])).hash,
        replay_log(log_of(*seen[:-1])).hash,
    }
    assert len(hashes) == 4
    again = settings(HOUR, spec="linear-thompson:floor=0.1").to_control(0)
    assert replay_log(log_of((0, again), *seen[1:])).hash in hashes


def test_a_log_can_be_learned_anew_under_other_settings():
    log = log_of(
        (0, settings(HOUR).to_control(0)),
        (1, impression("r")),
        (2, click("r")),
        (60, settings(DEVICE).to_control(0)),
    )
    anew = replay_log(log, settings(HOUR, window=5, spec="beta-greedy"))
    assert anew.states["main"].take(["a"])["success"].tolist() == [1.0]
    assert anew.counts.to_dict()["control"]["applied"] == 2
    plain = replay_log(log_of((1, impression("r")), (2, click("r")), (60, Tick(ts=0))), settings())
    assert plain.states["main"].take(["a"])["reward"].tolist() == [1.0]


def test_progress_is_told():
    offsets: list[int] = []
    replay_log(random_log(1, 25), limit=10, progress=offsets.append)
    assert offsets == [10, 20, 26]


def sums(*events: tuple[float, Event]) -> dict[str, np.ndarray]:
    state = replay_log(log_of(*events)).states["main"]
    return state.take(["a"])


def test_a_feature_added_by_a_control_record_leaves_old_sums_as_they_were():
    before = [
        (0, settings(HOUR).to_control(0)),
        (0, impression("r", context={"hour": 18, "device": "web"})),
        (1, click("r")),
        (30, Tick(ts=0)),
    ]
    old = sums(*before)
    new = sums(*before, (40, settings(DEVICE, HOUR).to_control(0)))
    # Columns were (1, hour), are (1, ios, web, hour); the triangle is packed row by row.
    assert old["moment"].tolist() == [[1.0, 1.0]]
    assert new["moment"].tolist() == [[1.0, 0.0, 0.0, 1.0]]
    assert new["gram"].tolist() == [[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]]
    assert new["count"].tolist() == old["count"].tolist()
    back = sums(
        *before,
        (40, settings(DEVICE, HOUR).to_control(0)),
        (50, settings(HOUR).to_control(0)),
    )
    for name, values in old.items():
        np.testing.assert_array_equal(back[name], values)


@pytest.mark.parametrize("half_life", ["", "half_life_seconds=20"])
def test_alignment_agrees_with_learning_under_the_other_schema(half_life):
    rng = np.random.default_rng(3)
    spec = f"linear-greedy:{half_life}"
    names = ["p", "q", "r", "s"]
    frame = rng.normal(size=(50, 4))

    def policy(*kept: str):
        return make_policy(
            spec, schema=Schema.from_list([{"type": "numeric", "name": name} for name in kept])
        )

    def learned(*kept: str):
        made = policy(*kept)
        state = made.init()
        columns = [frame[:, names.index(name)] for name in kept]
        made.update(
            state,
            Outcomes(
                item_ids=["a", "b"] * 25,
                x=np.column_stack([np.ones(50), *columns]),
                reward=frame.sum(axis=1),
                weight=np.ones(50),
                time_ms=np.arange(50, dtype=np.int64) * 1000,
            ),
        )
        return made, state

    four, state = learned("p", "q", "r", "s")
    expected_policy, expected = learned("s", "q")
    found = align_state(expected_policy, four, state)
    expected_policy.decay(found, 60_000)
    expected_policy.decay(expected, 60_000)
    for name, values in expected.take(["a", "b"]).items():
        np.testing.assert_allclose(found.take(["a", "b"])[name], values, rtol=1e-12)


def test_other_changes_start_afresh_and_no_change_keeps_the_state():
    one = make_policy("linear-greedy")
    state = one.init()
    state.ensure_rows(["a"])
    assert align_state(make_policy("linear-ucb"), one, state) is state
    for other in ("linear-greedy:ridge=2", "beta-greedy", "linear-greedy:half_life_seconds=9"):
        assert align_state(make_policy(other), one, state).item_ids == []
    rescaled = Schema.from_list([{**HOUR, "scale": 2}])
    hour = make_policy("linear-greedy", schema=Schema.from_list([HOUR]))
    learned = hour.init()
    learned.put(["a"], {name: np.ones((1, *shape)) for name, shape in learned.shapes.items()})
    moved = align_state(make_policy("linear-greedy", schema=rescaled), hour, learned)
    assert moved.take(["a"])["moment"].tolist() == [[1.0, 0.0]]


def test_restoring_from_the_wrong_log_is_refused():
    log = random_log(5, 100)
    shard = Shard()
    shard.fold(log.poll(EVENTS, 0, 80))
    stored = Snapshot(
        join_point=shard.joiner.join_point(),
        next_offset=shard.next_offset,
        clock=shard.joiner.clock,
        config=shard.config,
        counts=shard.counts,
        closed=shard.joiner.closed,
        states=shard.states,
    )
    assert stored.join_point.offset < stored.next_offset
    assert stored.counts.pending
    with pytest.raises(StoreError, match="records were lost"):
        Shard.restore(stored, lambda offset, limit: log.poll(EVENTS, offset, limit)[: 79 - offset])

    def ticks(offset: int, limit: int) -> list[Record]:
        return [Record(offset + n, START, "", encode_event(Tick(ts=0))) for n in range(limit)]

    with pytest.raises(StoreError, match="not the log"):
        Shard.restore(stored, ticks)


PRICE = {"type": "numeric", "name": "price", "of": "item", "scale": 2}


def test_a_model_of_items_learns_from_the_impressions_alone(monkeypatch):
    register(monkeypatch)
    seen = impression("r", "ab")
    slate = [
        structs.replace(shown, features={"price": price}, recurrence=recurrence)
        for shown, price, recurrence in zip(seen.slate, (2.0, 4.0), (None, 3), strict=True)
    ]
    log = log_of(
        (0, settings(HOUR, PRICE, spec="items-greedy:corrected=true").to_control(0)),
        (0, structs.replace(seen, slate=tuple(slate))),
        (1, click("r", "b")),
        (50, Tick(ts=0)),
    )
    whole = replay_log(log)
    shared = whole.states["main"].shared
    assert shared["total"].tolist() == [2.0 * 1.0 + 3.0 * 2.0]  # weights 1 / 0.5 and 3
    assert (shared["n"].item(), shared["reward"].item()) == (5.0, 3.0)
    assert shared["moment"].tolist() == [6.0]
    assert whole.hash == replay_log(log, limit=1).hash


@pytest.mark.parametrize("examination", ["cascade", "1|0.5"])
def test_slots_of_a_slate_are_learned_as_they_were_examined(examination):
    spec = f"beta-greedy:examination={examination}"
    log = log_of(
        (0, settings(spec=spec).to_control(0)),
        (0, impression("r", "abc")),
        (1, click("r", "b")),
        (2, impression("s", "cba")),
        (50, Tick(ts=0)),
    )
    state = replay_log(log).states["main"]
    count = dict(zip("abc", state.take(["a", "b", "c"])["count"].tolist(), strict=True))
    # Of r the cascade was read up to b; of s, without a reaction, to the end.
    expected = {"cascade": {"a": 2, "b": 2, "c": 1}, "1|0.5": {"a": 1.5, "b": 1, "c": 1.5}}
    assert count == expected[examination]
    assert replay_log(log, limit=1).hash == replay_log(log).hash


def spaced(records: Sequence[Record], rng: random.Random) -> RecordBatch:
    """The same records with gaps between their offsets, as one batch of bytes."""
    offset, moved = 0, []
    for record in records:
        offset += rng.choice([1, 1, 1, 2, 7])
        moved.append(record._replace(offset=offset))
    return RecordBatch.of(moved, append_stamped=True)


@pytest.mark.parametrize("seed", range(6))
def test_batches_of_bytes_with_gaps_are_folded_and_restored(seed):
    rng = random.Random(seed)
    plain = random_log(seed, 300).poll(EVENTS, 0, 400)
    batch = spaced(plain, rng)
    shard = Shard()
    shard.fold(plain)
    spread = Shard()
    done = rng.randrange(100, 250)
    spread.fold(batch[:done])
    snapshot = Snapshot(
        join_point=spread.joiner.join_point(),
        next_offset=spread.next_offset,
        clock=spread.joiner.clock,
        config=spread.config,
        counts=spread.counts,
        closed=spread.joiner.closed,
        states=spread.states,
    )
    again = Shard.restore(snapshot, lambda offset, limit: batch.since(offset)[:limit])
    again.fold(batch.since(again.next_offset))
    assert (again.hash(), again.counts) == (shard.hash(), shard.counts)
    assert again.next_offset == batch[-1].offset + 1
