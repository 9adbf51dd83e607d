"""A log of several partitions tells what the same events in one partition tell."""

import json

import numpy as np
import pytest
from msgspec import structs

from engine.errors import ConfigError
from simulator.evaluate import evaluate
from simulator.health import check_log
from simulator.own_log import read_events, read_own_log
from simulator.readers import read_log
from simulator.replay import replay, replay_events
from streams.events import Control, Feedback, Impression, Tick, decode_event, encode_event
from streams.log.archiving import write_archive
from streams.log.base import CATALOGUE, EVENTS
from streams.log.memory import MemoryLog
from streams.replay import replay_all
from tests.simulator.closed_loop import ITEMS, START, serve, settings
from tests.simulator.test_own_log import HOUR, House

SLATES = 600


@pytest.fixture(scope="module", params=["close", "first"])
def one(request):
    return serve(seed=3, slates=SLATES, config=settings(learn=request.param))


@pytest.fixture(scope="module")
def three(one):
    return through(one, 3)


def through(log: MemoryLog, partitions: int) -> MemoryLog:
    """The same events at the same times through several partitions, settings and ticks in each."""
    made = MemoryLog(START, partitions=partitions)
    for topic in (CATALOGUE, EVENTS):
        for record in log.poll(topic, 0, 10**6):
            made.time_ms = record.stamp
            event = decode_event(record.value)
            if isinstance(event, Control | Tick):
                for partition in range(partitions):
                    made.append(topic, [(record.key, record.value)], partition)
                continue
            asked = isinstance(event, Impression | Feedback)
            key = event.request_id if asked else record.key
            made.append(topic, [(key, record.value)])
    return made


def test_slates_and_rewards_are_those_of_one_partition(one, three):
    whole, parts = read_events(one), read_events(three)
    assert min(three.end(EVENTS, part) for part in range(3)) > SLATES / 6
    assert len(parts) == len(whole) == SLATES
    assert parts.request_ids == whole.request_ids
    assert parts.item_ids == whole.item_ids
    assert parts.excluded == {}
    for name in ("items", "propensity", "reward", "time_ms", "last", "candidate_set", "sampling"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)
    for kind in ("impression", "feedback"):
        assert parts.counts[kind] == whole.counts[kind]
    assert parts.counts["tick"]["consumed"] == 3 * whole.counts["tick"]["consumed"]
    assert check_log(parts).status == check_log(whole).status


def test_what_is_known_when_follows_time(three):
    """What was final in one partition is known to a slate of another that came later."""
    log = read_events(three)
    assert (np.diff(log.sequence) > 0).all()
    assert (log.matured > log.sequence[:, None]).all()
    early = log.time_ms[:, None] + 3000  # the window of the slowest
    for row in range(len(log)):
        known = (log.matured <= log.sequence[row]).all(axis=1)
        assert (log.time_ms[known] < log.time_ms[row]).all()
        # A partition's clock moves with its own records, some 60 ms apart.
        assert known[(early[:, 0] + 2000 < log.time_ms[row])].all()


def test_estimates_are_those_of_one_partition(one, three, tmp_path):
    table = tmp_path / "table.json"
    table.write_text(json.dumps([{"item_id": item, "probability": 0.2} for item in ITEMS]))
    specs = ["uniform", f"table:{table}", "linear-thompson:floor=0.3,alpha=0.5"]
    whole, parts = evaluate(read_events(one), specs), evaluate(read_events(three), specs)
    pairs = list(zip(whole.policies, parts.policies, strict=True))
    for before, after in pairs[:2]:
        assert after.verdict == before.verdict
        for old, new in zip(before.estimates, after.estimates, strict=True):
            figures = [(e.value, e.se, *e.ci, e.ess, e.max_weight) for e in (old, new)]
            np.testing.assert_allclose(figures[1], figures[0], rtol=1e-12)
    # What a policy learns as it goes depends on when windows close: a little later in each part.
    (old, *_), (new, *_) = pairs[2][0].estimates, pairs[2][1].estimates
    assert abs(old.value - new.value) < 0.2 * old.se


def test_replay_tells_every_shard_and_adds_them_up(one, three):
    found, shards = replay_events(three), replay_all(three).shards
    assert [(s.topic, s.partition) for s in found.shards] == list(shards)
    assert [s.state_hash for s in found.shards] == [shard.hash for shard in shards.values()]
    assert [(s.begin, s.next_offset) for s in found.shards[:3]] == [
        (0, three.end(EVENTS, part)) for part in range(3)
    ]
    assert (found.state_hash, found.next_offset) == (None, None)
    assert found.records == sum(three.end(EVENTS, part) for part in range(3))
    assert found.conservation["exact"]
    (main,) = found.policies
    assert (main.rows, main.items) == (2 * SLATES, len(ITEMS))
    assert main.state_hash == replay_all(three).states["main"].hash()
    other, again = replay_events(three, ["beta-ucb", "main"]).policies
    assert again == main
    assert (other.rows, other.items) == (2 * SLATES, len(ITEMS))
    alone = replay_events(one)
    assert [s.state_hash for s in alone.shards] == [alone.state_hash]
    assert alone.records == alone.next_offset == one.end(EVENTS)


def test_a_policy_that_learns_in_order_is_not_made_of_parts(one, three):
    with pytest.raises(ConfigError, match=r"'river-greedy' learns one outcome after another.* 3 "):
        replay_events(three, ["river-greedy"])
    assert replay_events(one, ["river-greedy"]).policies[0].rows == 2 * SLATES


def test_archives_are_read_as_the_log(three, tmp_path):
    path = tmp_path / "a.archive"
    write_archive(three, path)
    reports = []
    found = replay(path, progress=lambda *given: reports.append(given))
    live = replay_events(three)
    assert (found.shards, found.policies, found.conservation) == (
        live.shards,
        live.policies,
        live.conservation,
    )
    assert reports == sorted(reports)
    assert reports[-1] == (found.records, found.records)
    for read in (read_own_log(path), read_log(str(path))):
        assert read.source == str(path)
        assert read.request_ids == read_events(three).request_ids
        np.testing.assert_array_equal(read.matured, read_events(three).matured)


def test_what_is_left_out_names_its_partition():
    house = House("linear-greedy", HOUR)
    house.log = MemoryLog(START, partitions=2)
    for partition in range(2):
        config = encode_event(house.config.to_control(START))
        house.log.append(EVENTS, [("", config)], partition)
    seen = Impression(ts=0, request_id="r", recommender="default", slate=(), context={})
    bad = encode_event(structs.replace(seen, context={"hour": "late"})).replace(
        b'"slate":[]', b'"slate":[{"item_id":"a","propensity":0.5,"method":"exact"}]'
    )
    house.log.append(EVENTS, [("", bad)], 1)
    house.log.append(EVENTS, [("", b"{")], 0)
    log = read_events(house.log)
    assert log.examples == {
        "record not valid (json)": ["partition 0, offset 1"],
        "context does not fit the schema": ["partition 1, offset 1"],
    }
