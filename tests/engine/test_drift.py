"""Falls of rewards are found, rises and steadiness are not, and settings are checked."""

import numpy as np
import pytest

from engine.drift import Drift, RewardWatch
from engine.errors import ConfigError
from engine.models.linear import DisjointLinear
from tests.item_model import ItemRidge

WATCHES = [Drift(), Drift(detector="page-hinkley")]


def watched(drift, *chances, n=1500, seed=0, times=1.0):
    watch = RewardWatch(drift)
    rng = np.random.default_rng(seed)
    for at, chance in enumerate(chances):
        for _ in range(n // 50):
            watch.update(((rng.random(50) < chance) * times).tolist())
            if watch.fell:
                return at
    return None


@pytest.mark.parametrize("drift", WATCHES)
def test_a_fall_is_found_once_it_came(drift):
    assert [watched(drift, 0.5, 0.2, seed=seed) for seed in range(10)] == [1] * 10


@pytest.mark.parametrize("drift", WATCHES)
def test_rises_and_steady_rewards_are_left_alone(drift):
    assert [watched(drift, 0.2, 0.5, 0.7, seed=seed) for seed in range(10)] == [None] * 10
    assert [watched(drift, 0.3, n=6000, seed=seed) for seed in range(10)] == [None] * 10


@pytest.mark.parametrize("drift", WATCHES)
def test_a_watch_takes_nothing_more_until_it_is_started_anew(drift):
    watch = RewardWatch(drift)
    watch.update([1.0] * 1000 + [0.0] * 1000)
    assert watch.fell
    watch.told = True
    watch.update([1.0] * 1000)
    assert watch.fell
    watch.restart()
    assert not watch.fell
    assert not watch.told
    watch.update([0.0] * 1000)
    assert not watch.fell


def test_how_rewards_are_cut_into_calls_does_not_matter():
    rng = np.random.default_rng(1)
    rewards = np.concatenate([rng.random(900) < 0.6, rng.random(900) < 0.1]).astype(float)
    for drift in WATCHES:
        found = set()
        for size in (1, 7, 1800):
            watch = RewardWatch(drift)
            for start in range(0, 1800, size):
                watch.update(rewards[start : start + size].tolist())
                if watch.fell:
                    found.add(start // 1800)
                    break
        assert found == {0}


def test_the_detectors_settings_are_used():
    early = Drift(detector="page-hinkley", threshold=10, delta=0.1)
    late = Drift(detector="page-hinkley", threshold=500)
    assert watched(early, 0.5, 0.2) == 1
    assert watched(late, 0.5, 0.2) is None
    assert watched(Drift(delta=1e-300), 0.5, 0.45, n=500) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"detector": "ddm"}, "give 'adwin' or 'page-hinkley'"),
        ({"action": "stop"}, "'reset' or 'decay'"),
        ({"halvings": 0}, "give 1 to 1000"),
        ({"halvings": 1001}, "give 1 to 1000"),
        ({"threshold": 3.0}, "page-hinkley"),
        ({"detector": "page-hinkley", "threshold": 0.0}, "above 0"),
        ({"detector": "page-hinkley", "delta": float("nan")}, "above 0"),
        ({"delta": 1.0}, "below 1"),
        ({"delta": -0.1}, "above 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        Drift(**settings)


def test_a_model_that_cannot_forget_can_only_be_reset(monkeypatch):
    for action in ("reset", "decay"):
        Drift(action=action).check(DisjointLinear())
    traits = ItemRidge().traits.__class__(family="normal", forgets=False)
    monkeypatch.setattr(ItemRidge, "traits", traits)
    Drift(action="reset").check(ItemRidge())
    with pytest.raises(ConfigError, match="action = 'reset'"):
        Drift(action="decay").check(ItemRidge())
