"""What the service logs is enough to know what other policies would have earned."""

import json

import numpy as np
import pytest

from simulator.evaluate import evaluate
from simulator.health import check_log
from simulator.own_log import read_events
from simulator.replay import replay_events
from streams.events import Feedback, Impression, ShownItem, Tick, encode_event
from streams.log.base import CATALOGUE, EVENTS
from streams.log.memory import MemoryLog
from streams.shard import replay_log
from tests.simulator.closed_loop import ITEMS, START, serve, settings, true_value

TABLES = {
    "uniform": dict.fromkeys(ITEMS, 0.2),
    "mild": dict(zip(ITEMS, (0.3, 0.25, 0.1, 0.15, 0.2), strict=True)),
    "bold": dict(zip(ITEMS, (0.4, 0.3, 0.1, 0.05, 0.15), strict=True)),
}
RUNS = 200


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """Target policies as evaluate takes them."""
    folder = tmp_path_factory.mktemp("tables")
    found = {"uniform": "uniform"}
    for name in ("mild", "bold"):
        rows = [{"item_id": item, "probability": p} for item, p in TABLES[name].items()]
        (folder / f"{name}.json").write_text(json.dumps(rows))
        found[name] = f"table:{folder / name}.json"
    return found


@pytest.mark.slow
def test_evaluate_covers_the_known_value_of_three_other_policies(specs):
    covered = {(name, kind): 0 for name in specs for kind in ("ips", "snips")}
    for seed in range(RUNS):
        log = read_events(serve(seed))
        for name, found in zip(specs, evaluate(log, list(specs.values())).policies, strict=True):
            value = true_value(TABLES[name])
            for estimate in found.estimates:
                if estimate.estimator != "clipped_ips":
                    low, high = estimate.ci
                    covered[name, estimate.estimator] += low <= value <= high
    assert min(covered.values()) >= 0.93 * RUNS, dict(covered)


def test_the_log_replays_to_the_live_state_and_reads_to_its_rewards():
    log = serve(seed=3, slates=600)
    replayed = replay_events(log)
    assert replayed.state_hash == replay_log(log, limit=7).hash
    assert replayed.conservation["exact"]
    slates = read_events(log)
    assert len(slates) == 600
    assert slates.excluded == {}
    clicks = replayed.conservation["counts"]["feedback"]["applied"]
    assert slates.reward.sum() == clicks > 200


def test_replaying_the_live_policy_by_its_spec_gives_the_live_state():
    log = serve(seed=4, slates=400)
    spec = settings().policies["main"].spec
    own = replay_events(log)
    again = replay_events(log, [spec, "beta-ucb"])
    assert [policy.policy for policy in own.policies] == ["main"]
    assert again.policies[0].state_hash == own.policies[0].state_hash
    assert again.policies[1].state_hash != own.policies[0].state_hash
    assert again.policies[1].rows == again.policies[0].rows == 800


def test_windows_still_open_are_left_out_and_counted():
    log = serve(seed=5, slates=300)
    closing = log.poll("events", 0, 10**6)[:-1]
    early = MemoryLog.of("events", closing)
    early.append(CATALOGUE, [(r.key, r.value) for r in log.poll(CATALOGUE, 0, 100)])
    slates = read_events(early)
    waiting = slates.excluded["reward window open"]
    assert 0 < waiting == 300 - len(slates)


def test_a_policy_that_learns_from_the_log_is_scored_as_it_was_then():
    """The logging policy's own spec, learning from its own log, gives weights around 1."""
    log = read_events(serve(seed=6, slates=2000))
    spec = settings().policies["main"].spec
    (found,) = evaluate(log, [spec]).policies
    ips = found.estimates[0]
    assert abs(ips.mean_weight - 1) < 0.1
    assert ips.ess > 0.5 * len(log)
    assert ips.ci[0] < log.reward.sum(axis=1).mean() < ips.ci[1]
    assert any("learns from this log" in reason for reason in found.reasons)


def test_learning_pays_in_this_world():
    log = read_events(serve(seed=7, slates=1500))
    late = log.reward[1000:].sum(axis=1)
    uniform = true_value(TABLES["uniform"])
    assert late.mean() - 3 * late.std() / np.sqrt(len(late)) > uniform


def impression(request_id, ts, items, context=None):
    shown = tuple(ShownItem(item_id=i, propensity=0.2, method="exact") for i in items)
    return Impression(
        request_id=request_id,
        ts=ts,
        recommender="default",
        slate=shown,
        context=context or {"segment": "new"},
        candidates=ITEMS,
    )


def test_a_request_id_used_again_long_after_is_another_slate():
    """The joiner forgets closed requests after a while; rewards must go to the right slate."""
    log, click = MemoryLog(START), {"kind": "click", "request_id": "r"}
    first, later = impression("r", START, "ab"), impression("r", START, "cde")
    for wait, event in (
        (0, settings().to_control(START)),
        (1, first),
        (1, first),
        (5, Feedback(event_id="1", ts=START, item_id="a", **click)),
        (600_000, later),
        (5, Feedback(event_id="2", ts=START, item_id="e", **click)),
        (600_000, Tick(ts=START)),
    ):
        log.time_ms += wait
        log.append(EVENTS, [("r", encode_event(event))])
    slates = read_events(log)
    shown = [[slates.item_ids[i] for i in row if i >= 0] for row in slates.items]
    assert shown == [["a", "b"], ["c", "d", "e"]]
    assert slates.reward.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert slates.counts["impression"]["duplicate"] == 1
    assert slates.excluded == {}


def test_an_impression_the_learner_could_not_use_is_told():
    log = MemoryLog(START)
    for event in (
        settings().to_control(START),
        impression("bad", START, "ab", {"segment": 3}),
        impression("good", START, "ab"),
        Tick(ts=START),
    ):
        log.append(EVENTS, [("r", encode_event(event))])
        log.time_ms += 60_000
    slates = read_events(log)
    assert slates.request_ids == ["good"]
    assert slates.excluded == {"context does not fit the schema": 1}


def test_propensities_out_of_range_are_told_as_such():
    log = serve(seed=8, slates=100)
    bad = b'{"type":"impression","ts":1,"request_id":"x","recommender":"default","slate":'
    bad += b'[{"item_id":"a","propensity":1.5,"method":"exact"}]}'
    log.append("events", [("x", bad)])
    slates = read_events(log)
    assert slates.excluded == {"propensity not in (0, 1]": 1}
    assert {f.check: f.status for f in check_log(slates).findings}["propensities"] == "fail"
