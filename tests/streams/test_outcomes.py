"""Outcomes between shards: each learned once, in order, by one owner, whatever happens to it."""

import random

import numpy as np
import pytest
from msgspec import structs

from engine.batches import hash_key
from engine.errors import ConfigError
from streams.config import EngineConfig, Forgetting, PolicyConfig, RecommenderConfig
from streams.errors import LogError, RefusedError
from streams.events import Impression, Tick, encode_event
from streams.host import Host
from streams.learner import Learner
from streams.log.base import EVENTS, OUTCOMES
from streams.log.memory import MemoryLog
from streams.membership import SoleOwner
from streams.outcome_shard import OutcomeShard
from streams.outcomes import (
    MAX_BYTES,
    SentOutcome,
    SentSlot,
    choose_owner,
    decode_outcomes,
    encode_outcomes,
    own_config,
)
from streams.renewal import find_topics, reset, restore
from streams.replay import replay_all, replay_outcomes
from streams.shard import replay_log
from streams.snapshots import write_snapshot
from tests.streams.cases import DEVICE, HOUR, START, click, impression, settings
from tests.streams.fleet import Fleet, feed
from tests.streams.test_models import FEATURES, PRICE, TASTE, shown

IN_ORDER = ["river-greedy", "groupwise-greedy"]
IDS = (HOUR, {"type": "id", "name": "device"}, TASTE, PRICE)
BY_ID = ["mf-greedy", "fm-softmax:loss=logistic", "bpr-greedy:negatives=shown"]
OWNER = (OUTCOMES, choose_owner("main", 3))


@pytest.fixture
def fleet_of(tmp_path):
    made: list[Fleet] = []

    def make(config: EngineConfig, partitions: int = 3) -> Fleet:
        made.append(Fleet(tmp_path, config, partitions))
        made[-1].start()
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def inline(fleet: Fleet, make, numbers: range):
    """The same requests through a log of one partition."""
    log = MemoryLog(START)
    log.append(EVENTS, [("control", encode_event(fleet.config.to_control(0)))])
    for number in numbers:
        log.time_ms += 900
        log.append(EVENTS, [(event.request_id, encode_event(event)) for event in make(number)])
    log.time_ms = fleet.log.time_ms
    log.append(EVENTS, [("", encode_event(Tick(ts=0)))])
    return replay_log(log)


@pytest.mark.parametrize("spec", IN_ORDER)
def test_one_owner_learns_all_that_was_joined_anywhere(fleet_of, spec):
    fleet = fleet_of(settings(*FEATURES, window=2.0, spec=spec))
    feed(fleet, shown, range(60))
    fleet.tick(5)
    fleet.learn()
    whole, alone = inline(fleet, shown, range(60)), replay_all(fleet.log)
    assert fleet.hashes() == {key: shard.hash for key, shard in alone.shards.items()}
    owner = fleet.learners[OWNER]
    assert owner.shard.outcomes == whole.outcomes == {"main": 180}
    state, expected = alone.states["main"], whole.states["main"]
    ids = sorted(expected.item_ids)
    assert sorted(state.item_ids) == ids
    summed = {"count", "square", "gram", "moment"} & set(expected.sums)  # whatever the order
    for name in summed:
        np.testing.assert_allclose(state.take(ids)[name], expected.take(ids)[name], rtol=1e-9)
    assert owner.counts.to_dict()["outcomes"]["consumed"] == 60
    assert owner.counts.exact
    for partition in range(3):
        source = fleet.learners[EVENTS, partition].shard
        assert len(source.states["main"]) == 0
        assert source.outcomes == {}


@pytest.mark.parametrize(
    ("spec", "features"), [("river-greedy", FEATURES), *((spec, IDS) for spec in BY_ID)]
)
def test_a_recovered_owner_goes_on_as_if_it_had_never_stopped(fleet_of, spec, features):
    fleet = fleet_of(settings(*features, window=2.0, spec=spec))
    for start in range(0, 60, 12):
        feed(fleet, shown, range(start, start + 12))
        fleet.start(*random.Random(start).sample(fleet.keys, 4))
    fleet.tick(5)
    fleet.learn()
    assert fleet.learners[OWNER].shard.counts.to_dict()["outcomes"]["applied"] == 60
    assert fleet.hashes() == {key: s.hash for key, s in replay_all(fleet.log).shards.items()}
    assert replay_outcomes(fleet.log, partition=OWNER[1], limit=1).hash == fleet.hashes()[OWNER]


def test_with_one_partition_everything_is_learned_where_it_is_joined(fleet_of):
    fleet = fleet_of(settings(*FEATURES, window=2.0, spec="groupwise-greedy"), partitions=1)
    feed(fleet, shown, range(12))
    fleet.tick(5)
    fleet.learn()
    assert fleet.log.end(OUTCOMES) == 0
    assert fleet.learners[EVENTS, 0].shard.outcomes == {"main": 36}
    assert fleet.learners[EVENTS, 0].hash() == replay_all(fleet.log).shards[EVENTS, 0].hash
    assert fleet.view().policies["main"].total == 36


def test_a_source_writes_only_what_there_is_and_once(fleet_of):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    control = fleet.log.end(*OWNER)
    for _ in range(5):
        fleet.tick(1)
        fleet.learn()
    assert fleet.log.end(*OWNER) == control
    fleet.happen(impression("r"))
    fleet.tick(5)
    fleet.learn()
    fleet.learn()
    (record,) = fleet.log.poll(OUTCOMES, control, 9, OWNER[1])
    told = decode_outcomes(record.value)
    assert told.begin == (0, 0)
    source = fleet.learners[EVENTS, told.source]
    assert told.end == (source.committed_offset, 0)
    name = f"source {fleet.log.topic_id(EVENTS)}"
    assert source.position.chain == {f"outcomes-{OWNER[1]}": told.end, name: (0, 0)}
    assert fleet.learners[OWNER].position.chain == {told.chain: told.end}
    fleet.start((EVENTS, told.source))
    fleet.happen(impression("r2"), impression("r3"), impression("r4"), impression("r5"))
    fleet.tick(5)
    fleet.learn()
    later = [decode_outcomes(r.value) for r in fleet.log.poll(OUTCOMES, control + 1, 9, OWNER[1])]
    assert {each.source: each.begin for each in later}.get(told.source, told.end) == told.end


def test_what_is_sent_is_what_was_shown_and_how_it_was_rewarded(fleet_of):
    price = {"type": "numeric", "name": "price", "of": "item"}
    fleet = fleet_of(settings(HOUR, price, window=2.0, spec="groupwise-greedy"))
    seen = impression("r", "ab", context={"hour": 7.25, "more": True}, weight=2.5)
    slate = [
        structs.replace(slot, features={"price": 3.0}, recurrence=recurrence)
        for slot, recurrence in zip(seen.slate, (None, 4), strict=True)
    ]
    fleet.happen(structs.replace(seen, slate=tuple(slate)), click("r", "b"))
    fleet.tick(5)
    fleet.learn()
    told = decode_outcomes(fleet.log.poll(OUTCOMES, 1, 9, OWNER[1])[0].value)
    (outcome,) = told.outcomes
    assert outcome == SentOutcome(
        policy="main",
        mark=outcome.mark,
        time_ms=START + 2000,
        slate=(
            SentSlot("a", 0, 0.0, 0.5, {"price": 3.0}),
            SentSlot("b", 1, 1.0, 0.25, {"price": 3.0}),
        ),
        context={"hour": 7.25, "more": True},
        weight=2.5,
        last=1,
    )
    assert told.policies == {"main": PolicyConfig(spec="groupwise-greedy", features=(HOUR, price))}


def many(prefix: str, n: int) -> list[Impression]:
    wide = {f"feature {number}": number + 0.5 for number in range(60)}
    return [impression(f"{prefix}{number}", "abcd", context=wide) for number in range(n)]


def test_what_one_record_closes_is_cut_by_size(fleet_of):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    fleet.happen(*many("r", 1500))
    fleet.learn()
    fleet.tick(5)
    fleet.learn()
    records = fleet.log.poll(OUTCOMES, 1, 99, OWNER[1])
    told = [decode_outcomes(record.value) for record in records]
    assert len(records) > 5
    assert max(len(record.value) for record in records) < 1.02 * MAX_BYTES
    for source in range(3):
        mine = [each for each in told if each.source == source]
        assert len(mine) > 1
        assert len({outcome.mark[0] for each in mine for outcome in each.outcomes}) == 1
        assert [each.begin for each in mine[1:]] == [each.end for each in mine[:-1]]
    assert fleet.learners[OWNER].counts.to_dict()["outcomes"]["applied"] == 1500
    assert fleet.hashes()[OWNER] == replay_outcomes(fleet.log, partition=OWNER[1]).hash


def test_a_log_that_refuses_now_and_then_loses_and_doubles_nothing(fleet_of, monkeypatch):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    works, calls = fleet.log.append, []

    def append(topic, entries, partition=None):
        calls.append(topic)
        if topic == OUTCOMES and calls.count(OUTCOMES) % 3 != 0:
            raise LogError("the broker is away")
        return works(topic, entries, partition)

    monkeypatch.setattr(fleet.log, "append", append)
    for start in range(0, 24, 4):
        for number in range(start, start + 4):
            fleet.happen(*shown(number), seconds=0.9)
        for key in fleet.keys:
            while fleet.learners[key].step(50):
                pass
            for _ in range(9):
                try:
                    fleet.learners[key].commit()
                except LogError:
                    fleet.happen(*shown(100 + start))  # what comes meanwhile is another interval
                    fleet.learners[key].step(50)
    fleet.tick(5)
    monkeypatch.undo()
    fleet.learn()
    joined = sum(
        fleet.learners[EVENTS, p].counts.to_dict()["impression"]["applied"] for p in range(3)
    )
    assert calls.count(OUTCOMES) > 20
    assert joined > 24
    assert fleet.learners[OWNER].counts.to_dict()["outcomes"]["applied"] == joined
    assert fleet.hashes() == {key: s.hash for key, s in replay_all(fleet.log).shards.items()}


def two(left: str, right: str) -> EngineConfig:
    """Two recommenders, each with a policy of its own."""
    return EngineConfig(
        policies={
            "left": PolicyConfig(spec=left, features=(HOUR,)),
            "right": PolicyConfig(spec=right, features=(DEVICE,)),
        },
        recommenders={
            "default": RecommenderConfig(policy="left", window_seconds=2.0),
            "other": RecommenderConfig(policy="right", window_seconds=2.0),
        },
    )


def pair(number: int):
    name = "default" if number % 3 else "other"
    seen = impression(f"r{number}", "abc", recommender=name, context={"hour": number % 24})
    return seen, click(f"r{number}", "abc"[number % 3])


@pytest.mark.parametrize("partitions", [2, 3, 5])
def test_policies_share_partitions_of_outcomes(fleet_of, partitions):
    fleet = fleet_of(two("groupwise-greedy", "river-greedy"), partitions)
    feed(fleet, pair, range(40))
    fleet.tick(5)
    fleet.learn()
    owners = {name: hash_key(name) % partitions for name in ("left", "right")}
    alone, whole = replay_all(fleet.log), inline(fleet, pair, range(40))
    for name, owner in owners.items():
        held = {p for p in range(partitions) if name in alone.shards[OUTCOMES, p].states}
        assert held == {owner}
        assert alone.shards[OUTCOMES, owner].outcomes[name] == whole.outcomes[name]
    assert fleet.hashes() == {key: shard.hash for key, shard in alone.shards.items()}


def test_only_policies_that_learn_in_order_leave(fleet_of):
    fleet = fleet_of(two("groupwise-greedy", "linear-greedy"))
    feed(fleet, pair, range(40))
    fleet.tick(5)
    fleet.learn()
    alone, whole = replay_all(fleet.log), inline(fleet, pair, range(40))
    owner = alone.shards[OUTCOMES, choose_owner("left", 3)]
    assert owner.config == EngineConfig(policies={"left": fleet.config.policies["left"]})
    assert owner.outcomes == {"left": whole.outcomes["left"]}
    learned = [alone.shards[EVENTS, p].outcomes.get("right", 0) for p in range(3)]
    assert sum(learned) == whole.outcomes["right"]
    assert min(learned) > 0
    assert {p for p in range(3) if fleet.log.end(OUTCOMES, p)} == {choose_owner("left", 3)}


@pytest.mark.parametrize(
    ("before", "after"),
    [("linear-greedy", "groupwise-greedy"), ("groupwise-greedy", "linear-greedy")],
)
def test_open_requests_of_a_policy_that_changes_sides_are_learned(fleet_of, before, after):
    fleet = fleet_of(settings(*FEATURES, window=20.0, spec=before))
    for number in range(20):
        fleet.happen(*shown(number))
    fleet.learn()
    fleet.config = settings(*FEATURES, window=20.0, spec=after)
    fleet.start()
    fleet.tick(30)
    fleet.learn()
    alone = replay_all(fleet.log)
    assert fleet.hashes() == {key: shard.hash for key, shard in alone.shards.items()}
    assert alone.policies["main"].model.traits.merging == (
        "refused" if after == "groupwise-greedy" else "exact"
    )
    state = alone.states["main"]
    assert state.take(state.item_ids)["count"].sum() == 60
    assert fleet.view().policies["main"].total == 60


def test_outcomes_that_come_before_the_settings_are_learned(tmp_path):
    fleet = Fleet(tmp_path, settings(HOUR, window=2.0, spec="groupwise-greedy"))
    fleet.start(*[(EVENTS, p) for p in range(3)])
    fleet.happen(*(impression(f"r{number}") for number in range(20)))
    fleet.tick(5)
    fleet.learn(*fleet.learners)
    assert fleet.log.end(*OWNER) == 3  # one record a source
    fleet.start(*[(OUTCOMES, p) for p in range(3)])
    owner = fleet.learners[OWNER]
    assert owner.counts.to_dict()["outcomes"]["applied"] == 20
    assert owner.shard.outcomes == {"main": 40}
    assert owner.counts.to_dict().get("control") is None  # they are what it was to append
    assert fleet.hashes()[OWNER] == replay_outcomes(fleet.log, partition=OWNER[1]).hash
    fleet.close()


@pytest.mark.parametrize("spec", ["groupwise-greedy", "linear-greedy"])
def test_a_feature_added_leaves_old_sums_as_they_were(fleet_of, spec):
    fleet = fleet_of(settings(HOUR, window=2.0, spec=spec))
    make = lambda n: (impression(f"r{n}", "abc", context={"hour": n % 24}), click(f"r{n}"))  # noqa: E731
    feed(fleet, make, range(24))
    fleet.tick(5)
    fleet.learn()
    old = replay_all(fleet.log).states["main"].take(["a", "b", "c"])
    fleet.config = settings(DEVICE, HOUR, window=2.0, spec=spec)
    fleet.start()
    new = replay_all(fleet.log).states["main"].take(["a", "b", "c"])
    # Columns were (1, hour), are (1, ios, web, hour); the triangle is packed row by row.
    np.testing.assert_array_equal(new["moment"][..., [0, 3]], old["moment"])
    np.testing.assert_array_equal(new["gram"][..., [0, 3, 9]], old["gram"])
    assert not new["gram"][..., [1, 2, 4, 5, 6, 7, 8]].any()
    for name in old.keys() - {"gram", "moment"}:
        np.testing.assert_array_equal(new[name], old[name])
    feed(fleet, make, range(24, 48))
    fleet.tick(5)
    fleet.learn()
    assert replay_all(fleet.log).states["main"].take(["a"])["count"].tolist() == [48.0]
    assert fleet.hashes() == {key: s.hash for key, s in replay_all(fleet.log).shards.items()}


def test_the_owner_forgets_what_is_said_in_its_own_log(fleet_of):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    feed(fleet, shown, range(12))
    fleet.tick(5)
    control = ("control", encode_event(Forgetting(policy="main").to_control(0)))
    fleet.log.append(EVENTS, [control], 0)
    fleet.learn()
    assert len(fleet.learners[OWNER].shard.states["main"]) > 0  # it is not learned in events
    fleet.log.append(OUTCOMES, [control], OWNER[1])
    fleet.learn()
    assert len(fleet.learners[OWNER].shard.states["main"]) == 0
    fleet.start()
    assert fleet.hashes() == {key: s.hash for key, s in replay_all(fleet.log).shards.items()}


def test_rewards_are_watched_where_they_are_learned(fleet_of):
    drift = {"detector": "page-hinkley", "action": "reset"}
    plain = settings(HOUR, window=2.0, spec="groupwise-greedy").to_dict()
    plain["policies"]["main"]["drift"] = drift
    fleet = fleet_of(EngineConfig.from_dict(plain))
    controls = [fleet.log.end(*key) for key in fleet.keys]

    def rewarded(number: int):
        seen = impression(f"r{number}", "a", context={"hour": 3})
        return (seen, click(f"r{number}")) if number < 400 else (seen,)

    feed(fleet, rewarded, range(800))
    fleet.learn()
    owner = fleet.learners[OWNER]
    assert owner.counts.to_dict()["control"]["applied"] >= 2
    for key, before in zip(fleet.keys, controls, strict=True):
        if key != OWNER:
            values = [record.value for record in fleet.log.poll(key[0], before, 10**6, key[1])]
            assert not any(b'"reset"' in value for value in values)
    assert owner.hash() == replay_outcomes(fleet.log, partition=OWNER[1]).hash


def without(log: MemoryLog, *offsets: int) -> None:
    """Lose records of the owner's partition, as a broker may that acknowledged too early."""
    kept = log._records[OUTCOMES][OWNER[1]]
    left = [record for record in kept if record.offset not in offsets]
    kept[:] = [record._replace(offset=offset) for offset, record in enumerate(left)]


@pytest.mark.parametrize("lost", [1, 4])
def test_lost_outcomes_are_not_passed_over(fleet_of, lost):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    sources = [(EVENTS, p) for p in range(3)]
    for number in range(40):
        fleet.happen(*shown(number), seconds=0.9)
        if number % 8 == 7:
            fleet.learn(*sources)
    assert fleet.log.end(*OWNER) > 10
    without(fleet.log, lost)
    with pytest.raises(RefusedError, match=r"records of outcomes were lost.*slatestream reset"):
        fleet.learn(OWNER)
    with pytest.raises(RefusedError, match="lost"):
        replay_outcomes(fleet.log, partition=OWNER[1])
    again = Learner(fleet.log, fleet.store, fleet.config, topic=OUTCOMES, partition=OWNER[1])
    with pytest.raises(RefusedError, match="lost"):
        again.start()
    assert again.counts.exact


def test_learning_may_begin_where_retention_left_the_log(fleet_of, monkeypatch):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    sources = [(EVENTS, p) for p in range(3)]
    for number in range(40):
        fleet.happen(*shown(number), seconds=0.9)
        if number % 8 == 7:
            fleet.learn(*sources)
    records = fleet.log.poll(*(OUTCOMES, 0, 99), OWNER[1])
    shard = OutcomeShard(begin=7)
    shard.fold(records[7:])
    told = [decode_outcomes(record.value) for record in records[7:]]
    assert shard.counts.to_dict()["outcomes"]["applied"] == sum(len(t.outcomes) for t in told)
    missing = next(n for n, each in enumerate(told[1:-1], 1) if each.source == told[0].source)
    shard = OutcomeShard(begin=7)
    with pytest.raises(RefusedError, match="lost"):
        shard.fold([*records[7 : 7 + missing], *records[8 + missing :]])


def test_a_topic_created_anew_is_another_source(fleet_of):
    fleet = fleet_of(settings(HOUR, window=2.0, spec="groupwise-greedy"))
    feed(fleet, shown, range(12))
    fleet.tick(5)
    fleet.learn()
    shard = OutcomeShard()
    records = list(fleet.log.poll(OUTCOMES, 0, 99, OWNER[1]))
    shard.fold(records)
    told = decode_outcomes(records[-1].value)
    other = structs.replace(told, log="another", begin=(0, 0))
    value = encode_outcomes(other)
    shard.fold([records[-1]._replace(offset=len(records), value=value)])
    counts = shard.counts.to_dict()["outcomes"]
    assert (counts["applied"], counts["duplicate"]) == (12 + len(told.outcomes), 0)
    shard.fold([records[-1]._replace(offset=len(records) + 1, value=value)])
    assert shard.counts.to_dict()["outcomes"]["duplicate"] == len(told.outcomes)


def copied(log: MemoryLog) -> MemoryLog:
    """A log of other topics that holds the same records at the same offsets."""
    twin = MemoryLog(log.time_ms, partitions=3)
    twin._records = {topic: [list(part) for part in parts] for topic, parts in log._records.items()}
    return twin


@pytest.mark.parametrize("more", [0, 8])
def test_snapshots_are_put_back_with_their_chains(fleet_of, tmp_path, more):
    fleet = fleet_of(settings(*FEATURES, window=2.0, spec="groupwise-greedy"))
    feed(fleet, shown, range(20))
    snapshot = write_snapshot(fleet.store.database, tmp_path / "snapshot")
    feed(fleet, shown, range(20, 20 + more))
    fleet.log = copied(fleet.log)
    restore(fleet.store.database, snapshot, find_topics(fleet.log), force=True)
    fleet.start()
    feed(fleet, shown, range(20 + more, 40))
    fleet.tick(5)
    fleet.learn()
    assert fleet.learners[OWNER].counts.to_dict()["outcomes"]["applied"] == 40
    assert fleet.hashes() == {key: s.hash for key, s in replay_all(fleet.log).shards.items()}


@pytest.mark.parametrize("kept", [True, False])
def test_learning_anew_learns_every_outcome_once(fleet_of, monkeypatch, kept):
    fleet = fleet_of(settings(*FEATURES, window=2.0, spec="groupwise-greedy"))
    feed(fleet, shown, range(20))
    if not kept:  # the topic of outcomes was created anew, the events are all there
        fleet.log._records[OUTCOMES] = [[], [], []]
        other = MemoryLog().topic_id(OUTCOMES)
        same = fleet.log.topic_id(EVENTS)
        monkeypatch.setattr(fleet.log, "topic_id", lambda of: same if of == EVENTS else other)
    reset(fleet.store.database, find_topics(fleet.log))
    fleet.start()
    feed(fleet, shown, range(20, 40))
    fleet.tick(5)
    fleet.learn()
    assert fleet.learners[OWNER].counts.to_dict()["outcomes"]["applied"] == 40
    assert fleet.hashes() == {key: s.hash for key, s in replay_all(fleet.log).shards.items()}


def test_without_a_topic_for_them_such_policies_are_refused(tmp_path):
    fleet = Fleet(tmp_path, settings(HOUR, spec="groupwise-greedy"))
    fleet.log = MemoryLog(START, partitions=3, outcomes=0)
    with pytest.raises(ConfigError, match=r"'main'.*no topic outcomes"):
        fleet.start((EVENTS, 0))
    fleet.config = settings(HOUR)
    fleet.start((EVENTS, 0))
    control = encode_event(settings(HOUR, spec="groupwise-greedy").to_control(0))
    fleet.log.append(EVENTS, [("control", control)], 0)
    fleet.log.append(EVENTS, [("r", encode_event(impression("r")))], 0)
    fleet.tick(60)
    with pytest.raises(ConfigError, match=r"'main'.*no topic outcomes"):
        fleet.learn((EVENTS, 0))
    fleet.close()


def test_a_shard_depends_on_the_policies_it_learns_alone():
    log, config = MemoryLog(partitions=3), two("groupwise-greedy", "linear-greedy")
    owned = [own_config(log, config, OUTCOMES, p) for p in range(3)]
    assert [list(each.policies) for each in owned].count(["left"]) == 1
    assert sum(each == EngineConfig() for each in owned) == 2
    assert own_config(log, config, EVENTS, 1) is config
    assert own_config(MemoryLog(), config, OUTCOMES, 0) == EngineConfig()


def test_a_host_learns_both_topics(tmp_path):
    config = two("groupwise-greedy", "linear-greedy")
    fleet = Fleet(tmp_path, config)

    def make(topic: str, partition: int) -> Learner:
        return Learner(fleet.log, fleet.store, config, topic=topic, partition=partition)

    clock = iter(range(10**6))
    host = Host(make, SoleOwner(fleet.keys), clock=lambda: float(next(clock)))
    host.turn()
    for number in range(40):
        fleet.happen(*pair(number), seconds=0.9)
        host.turn()
    fleet.log.time_ms += 60_000  # the host's ticks close what is open
    for _ in range(20):
        host.turn()
    fleet.learners = host.learners
    whole = replay_all(fleet.log)
    assert fleet.hashes() == {key: shard.hash for key, shard in whole.shards.items()}
    owner = whole.shards[OUTCOMES, choose_owner("left", 3)]
    assert owner.outcomes == {"left": 3 * sum(number % 3 > 0 for number in range(40))}
    assert all(
        learner.committed_offset == learner.next_offset for learner in host.learners.values()
    )
    fleet.close()
