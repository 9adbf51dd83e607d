"""However many partitions the same requests go through, they teach the same."""

import numpy as np
import pytest

from engine.state import State
from streams.config import EngineConfig
from streams.events import Tick, encode_event
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.replay import ReplayedAll, replay_all
from streams.shard import replay_log
from tests.streams.cases import START, settings
from tests.streams.test_models import FEATURES, SPECS, shown

AGE = {"type": "numeric", "name": "age", "center": 30, "scale": 10}
CONTEXT = {"hour": 5, "device": "web", "taste": {"1": 0.5, "3": 1.0}, "age": 31}


def adds(spec: str) -> bool:
    return settings(*FEATURES, spec=spec).policies["main"].build("main").model.additive


ADDITIVE = [spec for spec in SPECS if adds(spec)]
HALVES = [f"{model}-greedy:half_life_seconds=20" for model in ("linear", "beta", "diagonal")]


def requests_through(partitions: int, spec: str) -> MemoryLog:
    """Requests through a log of so many partitions; a feature is added on the way."""
    log = MemoryLog(START, partitions=partitions)

    def every(entry: tuple[str, bytes]) -> None:
        for partition in range(partitions):
            log.append(EVENTS, [entry], partition)

    def configure(*features: dict) -> EngineConfig:
        config = settings(*features, window=5.0, spec=spec)
        every(("control", encode_event(config.to_control(log.time_ms))))
        return config

    configure(*FEATURES)
    for number in range(240):
        log.time_ms += 350
        if number == 120:
            configure(*FEATURES, AGE)
        seen, reaction = shown(number)
        if number > 60:
            seen.context["age"] = 20 + number % 30  # known of requests open when it is added
        events = (seen, reaction) if number % 3 else (seen,)
        log.append(EVENTS, [(event.request_id, encode_event(event)) for event in events])
    log.time_ms += 60_000
    every(("tick", encode_event(Tick(ts=log.time_ms))))
    return log


def check_close(found: State, wanted: State) -> None:
    ids = sorted(wanted.item_ids)
    assert sorted(found.item_ids) == ids
    assert found.landmark == wanted.landmark
    for name, values in wanted.take(ids).items():
        scale = np.abs(values).max(initial=1.0)
        np.testing.assert_allclose(found.take(ids)[name], values, rtol=1e-9, atol=1e-9 * scale)
    for name, values in wanted.shared.items():
        scale = np.abs(values).max(initial=1.0)
        np.testing.assert_allclose(found.shared[name], values, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("spec", [*ADDITIVE, *HALVES])
def test_one_partition_and_twelve_agree(spec):
    one, twelve = requests_through(1, spec), requests_through(12, spec)
    whole, parts = replay_log(one), replay_all(twelve)
    assert sum(bool(shard.outcomes) for shard in parts.shards.values()) == 12
    assert learned(parts) == whole.outcomes == {"main": 720}
    check_close(parts.states["main"], whole.states["main"])
    policy, ids = whole.policies["main"], sorted(whole.states["main"].item_ids)
    x, z = policy.schema.encode([CONTEXT])[0], policy.schema.encode_items([{"price": 2}] * len(ids))
    summaries = [
        policy.item_summary(policy.derive(states["main"]), ids, x, z)
        for states in (parts.states, whole.states)
    ]
    for name, values in summaries[1].items():
        np.testing.assert_allclose(summaries[0][name], values, rtol=1e-9, atol=1e-9, err_msg=name)
    events = [parts.shards[EVENTS, p].counts.to_dict() for p in range(12)]
    for kind in ("impression", "feedback"):
        total = sum(counts[kind]["applied"] for counts in events)
        assert total == whole.counts.to_dict()[kind]["applied"]


def learned(parts: ReplayedAll) -> dict[str, int]:
    return {"main": sum(shard.outcomes.get("main", 0) for shard in parts.shards.values())}


def test_the_cut_of_several_partitions_leaves_no_trace():
    log = requests_through(12, "linear-ucb")
    whole, parts = replay_all(log), replay_all(log, limit=1)
    assert {key: shard.hash for key, shard in whole.shards.items()} == {
        key: shard.hash for key, shard in parts.shards.items()
    }
    assert whole.states["main"].hash() == parts.states["main"].hash()
