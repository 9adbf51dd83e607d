"""Every model through the service: committed, recovered, forgotten, published, replayed."""

import numpy as np
import pytest
from msgspec import structs

from engine.errors import ConfigError
from engine.registry import MODELS
from streams.config import EngineConfig, Forgetting
from streams.events import Tick
from streams.shard import replay_log
from tests.streams.cases import DEVICE, HOUR, click, impression, settings
from tests.streams.test_learner import House

PRICE = {"type": "numeric", "name": "price", "of": "item", "center": 5, "scale": 2}
GENRE = {"type": "categorical", "name": "genre", "of": "item", "values": ["pop", "jazz"]}
TASTE = {"type": "clusters", "name": "taste", "count": 4}
CROSS = {"type": "interaction", "left": "device", "right": "genre"}
FEATURES = (HOUR, DEVICE, TASTE, PRICE, GENRE, CROSS)


def specs() -> list[str]:
    found = []
    for model in MODELS:
        for exploration in ("greedy", "ucb", "thompson", "softmax"):
            try:
                settings(*FEATURES, spec=f"{model}-{exploration}").policies["main"].build("main")
            except ConfigError:
                continue
            found.append(f"{model}-{exploration}")
            break
    return found


SPECS = specs()


def test_every_model_is_here():
    assert {spec.partition("-")[0] for spec in SPECS} == set(MODELS)


def shown(number: int):
    """A slate of three of eight items with their features, of a visitor with hers."""
    items = "abcdefgh"[number % 6 : number % 6 + 3]
    context = {"hour": number % 24, "device": ("ios", "web")[number % 2], "taste": {"1": 0.5}}
    seen = impression(f"r{number}", items, context=context)
    slate = [
        structs.replace(
            slot,
            propensity=(0.2, 0.5, 0.9)[at],
            features={"price": float(ord(slot.item_id) % 5), "genre": ("pop", "jazz")[at % 2]},
        )
        for at, slot in enumerate(seen.slate)
    ]
    return structs.replace(seen, slate=tuple(slate)), click(f"r{number}", items[1], "e")


def same(found, wanted) -> None:
    assert found.item_ids == wanted.item_ids
    for kept, expected in ((found.arrays, wanted.arrays), (found.shared, wanted.shared)):
        assert set(kept) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(kept[name], array, err_msg=name)


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_is_the_same_live_recovered_published_and_replayed(tmp_path, spec):
    config = settings(*FEATURES, window=2.0, spec=spec)
    house = House(tmp_path)
    learner = house.started(config)
    forgets = learner.shard.policies["main"].model.traits.forgets
    for number in range(36):
        seen, reaction = shown(number)
        house.happen(*((seen, reaction) if number % 3 else (seen,)), seconds=0.9)
        if number == 20 and forgets:
            house.happen(Forgetting(policy="main", halvings=2).to_control(0))
        if number == 28:
            house.happen(Forgetting(policy="main").to_control(0))
        if number % 4 == 3:
            learner.step()
            learner.commit()
            house.publish()
            policy, state = learner.shard.policies["main"], learner.shard.states["main"]
            same(house.reader.current().policies["main"], policy.derive(state))
        if number in {14, 22, 30}:
            learner = house.started(config)
    learner.step()
    learner.commit()
    whole = replay_log(house.log)
    assert learner.hash() == whole.hash == replay_log(house.log, limit=3).hash
    assert house.started(config).hash() == whole.hash
    assert whole.counts.to_dict()["control"]["dead"] == 0
    assert len(whole.states["main"]) > 3
    house.store.close()


@pytest.mark.parametrize("spec", SPECS)
def test_settings_of_a_model_travel_in_the_log(spec):
    config = settings(*FEATURES, spec=spec)
    again = EngineConfig.from_control(config.to_control(0))
    assert again.state_hash == config.state_hash
    assert again.policies["main"].build("main").hash == config.policies["main"].build("main").hash


@pytest.mark.parametrize("spec", SPECS)
def test_a_schema_that_changes_keeps_or_empties_what_a_model_learned(tmp_path, spec):
    house = House(tmp_path)
    learner = house.started(settings(*FEATURES, window=2.0, spec=spec))
    for number in range(12):
        house.happen(*shown(number), seconds=0.9)
    learner.step()
    learner.commit()
    more = settings(*FEATURES, {"type": "numeric", "name": "age"}, window=2.0, spec=spec)
    learner = house.started(more)
    kept = learner.shard.policies["main"].model.traits.aligns
    assert (len(learner.shard.states["main"]) > 3) == kept
    for number in range(12, 18):
        house.happen(*shown(number), seconds=0.9)
    learner.step()
    learner.commit()
    house.publish()
    assert learner.hash() == replay_log(house.log).hash
    assert house.started(more).hash() == learner.hash()
    house.store.close()


@pytest.mark.parametrize("spec", SPECS)
def test_a_view_is_published_when_nothing_was_learned_since_the_last(tmp_path, spec):
    house = House(tmp_path)
    learner = house.started(settings(*FEATURES, window=2.0, spec=spec))
    house.happen(*shown(0))
    house.happen(*shown(1), seconds=3)  # closes the window of the first
    for _ in range(2):
        learner.step()
        assert learner.commit()
        house.publish()
        house.happen(Tick(ts=0))  # the second is open still
    policy, state = learner.shard.policies["main"], learner.shard.states["main"]
    same(house.reader.current().policies["main"], policy.derive(state))
    house.store.close()
