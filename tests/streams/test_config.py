"""Settings that state depends on: what is refused, what counts as a change, how they travel."""

import pytest

from engine.errors import ConfigError
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Control, decode_event, encode_event
from tests.streams.cases import DEVICE, HOUR, settings


def test_settings_travel_in_a_control_record():
    config = settings(HOUR, DEVICE, spec="linear-thompson:floor=0.1", learn="first")
    control = decode_event(encode_event(config.to_control(7)))
    assert isinstance(control, Control)
    again = EngineConfig.from_control(control)
    assert again.state_hash == config.state_hash
    assert again.policies["main"].build("main").hash == config.policies["main"].build("main").hash
    assert again.recommenders == config.recommenders


@pytest.mark.parametrize(
    ("other", "changed"),
    [
        (settings(HOUR), False),
        (settings(HOUR, spec="linear-thompson"), False),
        (settings(HOUR, spec="linear-greedy:floor=0.3,seed=9"), False),
        (settings(HOUR, spec="linear-greedy:ridge=2"), True),
        (settings(HOUR, spec="linear-greedy:half_life_seconds=5"), True),
        (settings(HOUR, spec="beta-greedy"), True),
        (settings(HOUR, DEVICE), True),
        (settings({**HOUR, "scale": 2}), True),
        (settings(HOUR, window=21), True),
        (settings(HOUR, learn="first"), True),
        (EngineConfig(), True),
    ],
)
def test_the_state_hash_changes_with_what_state_depends_on(other, changed):
    assert (settings(HOUR).state_hash != other.state_hash) == changed


def test_whole_numbers_are_the_same_settings_before_and_after_the_log():
    given = {"window_seconds": 5, "default_reward": -1, "kinds": {"click": 1}}
    config = EngineConfig(
        policies={"p": PolicyConfig(spec="uniform")},
        recommenders={"r": RecommenderConfig(policy="p", **given)},
    )
    again = EngineConfig.from_control(decode_event(encode_event(config.to_control(0))))
    assert again.state_hash == config.state_hash


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"window_seconds": 0}, "window_seconds is 0"),
        ({"window_seconds": float("nan")}, "window_seconds is nan"),
        ({"window_seconds": 1e9}, "give 0.001 to"),
        ({"default_reward": float("inf")}, "default_reward is inf"),
        ({"kinds": {"buy": 1e10}}, "buy is 1"),
        ({"learn": "never"}, "'never'"),
        ({"aggregation": "mean"}, "'mean'"),
    ],
)
def test_a_recommender_that_cannot_work_is_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        RecommenderConfig(policy="p", **fields)


def test_policies_are_checked_when_a_config_is_read():
    with pytest.raises(ConfigError, match="not configured"):
        EngineConfig(recommenders={"r": RecommenderConfig(policy="p")})
    for plain in (
        {"policies": {"p": {"spec": "linear-gredy"}}},
        {"policies": {"p": {"spec": "uniform", "features": [{"name": "x", "type": "text"}]}}},
        {"policies": {"p": {"spec": 3}}},
        {"policies": [], "recommenders": {}},
        {"recommenders": {"r": {"policy": "p"}}},
    ):
        with pytest.raises(ConfigError):
            EngineConfig.from_dict(plain)


def test_the_longest_window():
    config = EngineConfig(
        policies={"p": PolicyConfig(spec="uniform")},
        recommenders={
            str(seconds): RecommenderConfig(policy="p", window_seconds=seconds)
            for seconds in (0.5, 90, 3)
        },
    )
    assert config.longest_window_ms == 90_000
    assert EngineConfig().longest_window_ms == 60_000


def test_which_policy_is_wrong_is_told():
    policies = {"main": {"spec": "uniform"}, "other": {"spec": "linear-ucb:alpha=-1"}}
    with pytest.raises(ConfigError, match=r"^policies\.other: alpha is -1"):
        EngineConfig.from_dict({"policies": policies})
