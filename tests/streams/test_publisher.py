"""Views of several partitions: shards added up in order, incrementally, to the same bits."""

import random

import numpy as np
import pytest

from streams.config import EngineConfig, Forgetting
from streams.events import encode_event
from streams.log.base import EVENTS, OUTCOMES
from streams.merging import gather_states
from tests.streams.cases import HOUR, settings
from tests.streams.fleet import Fleet
from tests.streams.test_models import FEATURES, SPECS, shown

AGE = {"type": "numeric", "name": "age"}


@pytest.fixture
def fleets(tmp_path):
    made: list[Fleet] = []

    def make(config: EngineConfig, partitions: int = 3) -> Fleet:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Fleet(folder, config, partitions))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def check_view(fleet: Fleet, config: EngineConfig | None = None) -> None:
    """The view is what the learners' states, added up in order, derive."""
    view = fleet.view()
    events = [fleet.learners[EVENTS, p].shard for p in range(3)]
    outcomes = [fleet.learners[OUTCOMES, p].shard for p in range(3)]
    policy = (config or fleet.config).policies["main"].build("main")
    parts = gather_states("main", policy, events, outcomes, apart=True)
    whole = parts[0] if len(parts) == 1 else policy.merge(parts)
    wanted, found = policy.derive(whole), view.policies["main"]
    assert sorted(found.item_ids) == sorted(wanted.item_ids)
    order = ["unseen", *sorted(wanted.item_ids)]
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(
            found.arrays[name][found.rows(order)], array[wanted.rows(order)], err_msg=name
        )
    assert set(found.shared) == set(wanted.shared)
    x = policy.schema.encode([{"hour": 5, "device": "web", "taste": {"1": 0.5, "3": 1.0}}])[0]
    z = policy.schema.encode_items([{"price": 2.0, "genre": "jazz"}] * len(order))
    summaries = [policy.item_summary(each, order, x, z) for each in (found, wanted)]
    for name, array in summaries[1].items():
        np.testing.assert_array_equal(summaries[0][name], array, err_msg=name)


def serve(fleet: Fleet, numbers: range, rng: random.Random, config=None) -> None:
    """Requests come; some shards commit; views follow."""
    for number in numbers:
        seen, reaction = shown(number)
        fleet.happen(*((seen, reaction) if number % 3 else (seen,)), seconds=0.9)
        if number % 4 == 3:
            fleet.learn(*sorted(rng.sample(fleet.keys, 4)))
            for learner in fleet.learners.values():  # what a view shows is what is committed
                learner.commit()
            check_view(fleet, config)


HALVES = ["linear-greedy:half_life_seconds=3", "diagonal-greedy:half_life_seconds=5"]


@pytest.mark.parametrize("spec", [*SPECS, *HALVES])
def test_views_are_the_shards_states_added_up(fleets, spec):
    fleet = fleets(settings(*FEATURES, window=2.0, spec=spec))
    fleet.start()
    rng = random.Random(spec)
    serve(fleet, range(40), rng)
    fleet.new_publisher()
    check_view(fleet)
    serve(fleet, range(40, 60), rng)
    fleet.start()
    fleet.tick(5)
    fleet.learn()
    check_view(fleet)
    assert fleet.view().policies["main"].total > (0 if "half" in spec else 60)


def test_settings_change_in_one_shard_before_the_others(fleets):
    fleet = fleets(settings(*FEATURES, window=2.0))
    fleet.start()
    rng = random.Random(1)
    serve(fleet, range(24), rng)
    before = {name: fleet.view().policies["main"].arrays[name].shape for name in ("theta",)}
    old, fleet.config = fleet.config, settings(*FEATURES, AGE, window=2.0)
    for partition in (2, 0, 1):
        check_view(fleet, old)  # the publisher knows no other settings yet
        fleet.start((EVENTS, partition))
        serve(fleet, range(24 + 8 * partition, 32 + 8 * partition), rng, chosen(fleet, old))
    fleet.new_publisher()
    check_view(fleet)
    view = fleet.view()
    assert view.policies["main"].arrays["theta"].shape[1] == before["theta"][1] + 1
    fleet.tick(5)
    fleet.learn()
    assert fleet.view().policies["main"].total == 3 * 48


def chosen(fleet: Fleet, old: EngineConfig) -> EngineConfig:
    """Settings a publisher of old settings shows: its own while any shard has them."""
    known = [fleet.learners[EVENTS, p].shard.config for p in range(3)]
    return old if any(each.state_hash == old.state_hash for each in known) else fleet.config


def test_a_change_that_no_state_depends_on_keeps_what_was_published(fleets):
    fleet = fleets(settings(HOUR, window=2.0))
    fleet.start()
    rng = random.Random(2)
    serve(fleet, range(16), rng)
    kept = fleet.view().policies["main"].total
    assert kept > 10
    fleet.config = settings(HOUR, window=3.0)  # a recommender's alone: policies keep their states
    fleet.start()
    check_view(fleet)
    assert fleet.view().policies["main"].total >= kept
    serve(fleet, range(16, 32), rng)


@pytest.mark.parametrize("spec", ["linear-greedy", "river-greedy"])
def test_forgetting_in_one_shard_is_seen(fleets, spec):
    fleet = fleets(settings(HOUR, window=2.0, spec=spec))
    fleet.start()
    serve(fleet, range(16), random.Random(3))
    fleet.tick(5)
    fleet.learn()
    check_view(fleet)
    topic = EVENTS if spec.startswith("linear") else OUTCOMES
    held = {key: len(each.shard.states.get("main", ())) for key, each in fleet.learners.items()}
    key = max((key for key in held if key[0] == topic), key=held.__getitem__)
    control = encode_event(Forgetting(policy="main").to_control(0))
    fleet.log.append(topic, [("control", control)], key[1])
    fleet.learn()
    assert not len(fleet.learners[key].shard.states["main"])
    check_view(fleet)


def test_no_view_before_a_shard_of_events_is_committed(fleets):
    fleet = fleets(settings(HOUR, window=2.0, spec="river-greedy"))
    fleet.start(*[(OUTCOMES, p) for p in range(3)])
    assert fleet.publisher.refresh() is None
    fleet.start((EVENTS, 1))
    assert fleet.view().offsets == {1: 1}
    fleet.start((EVENTS, 0), (EVENTS, 2))
    assert fleet.view().offsets == {0: 1, 1: 1, 2: 1}


def test_a_policy_learned_in_order_is_shown_empty_before_its_owner_is_there(fleets):
    fleet = fleets(settings(HOUR, window=2.0, spec="river-greedy"))
    events = [(EVENTS, p) for p in range(3)]
    fleet.start(*events)
    assert fleet.view().policies["main"].item_ids == []
    for number in range(8):
        fleet.happen(*shown(number), seconds=0.9)
    fleet.tick(5)
    fleet.learn(*events)
    assert fleet.view().policies["main"].item_ids == []
    fleet.start(*[(OUTCOMES, p) for p in range(3)])
    assert fleet.view().policies["main"].total == 24
    check_view(fleet)


def test_counts_of_every_shard_are_told(fleets):
    fleet = fleets(settings(HOUR, window=2.0, spec="river-greedy"))
    fleet.start()
    for number in range(8):
        fleet.happen(*shown(number), seconds=0.9)
    fleet.tick(5)
    fleet.learn()
    counts = fleet.view().counts
    assert counts.exact
    assert counts.to_dict()["outcomes"]["applied"] == 8
    assert counts.to_dict()["impression"]["applied"] == 8
