"""check, evaluate, replay and simulate: JSON shapes, tables and exit codes."""

import json
import time

import numpy as np
import pytest

from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Feedback, Impression, ShownItem, Tick, encode_event
from streams.log.sqlite import SqliteLog
from streams.shard import replay_log
from tests.api.running import run_cli

ITEMS = ("a", "b", "c", "d")
RATES = {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3}
SLATES = 3000
ESTIMATE = {"estimator", "value", "se", "ci", "ess", "max_weight", "mean_weight", "n"}


def records(number, rng):
    item_id = str(rng.choice(ITEMS))
    shown = ShownItem(item_id=item_id, propensity=0.25, method="exact")
    key = f"r{number}"
    yield Impression(
        ts=number, request_id=key, recommender="default", slate=(shown,), candidates=ITEMS
    )
    if rng.random() < RATES[item_id]:
        yield Feedback(ts=number, event_id="e", request_id=key, item_id=item_id, kind="click")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.db"
    rng = np.random.default_rng(4)
    config = EngineConfig(
        policies={"main": PolicyConfig(spec="beta-thompson")},
        recommenders={"default": RecommenderConfig(policy="main", window_seconds=0.001)},
    )
    written = SqliteLog(path)
    events = [config.to_control(0)]
    events += [event for number in range(SLATES) for event in records(number, rng)]
    written.append("events", [("k", encode_event(event)) for event in events])
    time.sleep(0.01)
    written.append("events", [("k", encode_event(Tick(ts=1)))])
    written.close()
    return path


def read(done, code=0):
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_check_tells_the_health_of_a_log(log):
    health = read(run_cli("check", str(log), "--json"))
    assert (health["slates"], health["items"], health["format"]) == (SLATES, 4, "events")
    assert health["status"] in {"pass", "warn"}
    assert {"check", "status", "detail"} <= set(health["findings"][0])
    assert "propensities" in run_cli("check", str(log)).stdout


def test_check_of_a_log_without_slates_fails(tmp_path):
    SqliteLog(tmp_path / "log.db").close()
    assert read(run_cli("check", str(tmp_path), "--json"), 1)["status"] == "fail"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "best.csv"
    path.write_text("item_id,position,probability\nc,1,0.9\na,1,0.1\n")
    return f"table:{path}"


def test_evaluate_covers_what_is_known(log, table):
    done = run_cli("evaluate", str(log), "--policy", "uniform", "--policy", table, "--json")
    found = read(done)
    assert set(found) == {"log", "policies"}
    uniform, best = found["policies"]
    assert [uniform["policy"], best["policy"]] == ["uniform", table]
    for policy, truth in ((uniform, 0.25), (best, 0.37)):
        assert {"policy", "estimates", "verdict", "reasons"} == set(policy)
        names = [estimate["estimator"] for estimate in policy["estimates"]]
        assert names == ["ips", "clipped_ips", "snips"]
        for estimate in policy["estimates"]:
            assert set(estimate) == ESTIMATE
            assert estimate["n"] == SLATES
            low, high = estimate["ci"]
            assert low < estimate["value"] < high
            assert abs(estimate["value"] - truth) < 4 * estimate["se"]
        assert policy["verdict"] in {"trust", "caution"}


def test_evaluate_refuses_with_code_3(log, tmp_path):
    rare = tmp_path / "rare.json"
    rare.write_text('[{"item_id": "elsewhere", "probability": 1.0}]')
    found = read(run_cli("evaluate", str(log), "--policy", f"table:{rare}", "--json"), 3)
    assert found["policies"][0]["verdict"] == "refuse"
    assert found["policies"][0]["reasons"]
    printed = run_cli("evaluate", str(log), "--policy", f"table:{rare}")
    assert printed.returncode == 3
    assert "refuse" in printed.stdout


def test_replay_gives_the_state_of_the_log(log):
    found = read(run_cli("replay", str(log), "--policy", "main", "--json"))
    opened = SqliteLog(log, read_only=True)
    again = replay_log(opened, limit=13)
    opened.close()
    assert found["state_hash"] == again.hash
    assert found["conservation"]["exact"] is True
    assert found["policies"][0]["rows"] == SLATES
    other = read(run_cli("replay", str(log), "--policy", "beta-ucb", "--json"))
    assert other["policies"][0]["rows"] == SLATES
    assert "main" in run_cli("replay", str(log)).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "no-such-log.db"),
        ("evaluate", "no-such-log.db", "--policy", "uniform"),
        ("replay", "no-such-log.db"),
    ],
)
def test_a_log_that_is_not_there(tmp_path, arguments):
    refused = run_cli(*arguments, "--json", cwd=tmp_path)
    assert refused.returncode in {1, 2}
    assert refused.stdout == ""
    assert "no-such-log.db" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "LOG"),
        ("evaluate", "LOG", "--policy", "linear-thomson"),
        ("evaluate", "LOG", "--policy", "table:none.csv"),
        ("check", "LOG", "--format", "csv"),
        ("simulate", "shop"),
        ("simulate", "mars", "--policy", "uniform"),
        ("simulate", "multiclass", "--policy", "uniform"),
        ("simulate", "shop", "--policy", "uniform", "--rounds", "0"),
    ],
)
def test_usage(log, tmp_path, arguments):
    words = [str(log) if word == "LOG" else word for word in arguments]
    refused = run_cli(*words, "--json", cwd=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr


def test_simulate_shop():
    policies = ("--policy", "linear-thompson", "--policy", "uniform")
    done = run_cli("simulate", "shop", *policies, "--rounds", "600", "--seed", "1", "--json")
    learner, random = read(done)["policies"]
    assert learner["policy"] == "linear-thompson"
    for each in (learner, random):
        wanted = {"mean_reward", "regret", "accuracy_last_tenth", "rounds_per_second"}
        assert wanted <= set(each)
        assert each["rounds"] == 600
    assert learner["mean_reward"] > random["mean_reward"]
    assert "uniform" in run_cli("simulate", "shop", *policies, "--rounds", "50").stdout


def test_simulate_multiclass(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    label = np.where(rows[:, 0] > 0, "right", "left")
    lines = [
        "x,y,z,side",
        *(",".join([*map(str, row), s]) for row, s in zip(rows, label, strict=True)),
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    arguments = ("--data", "table.csv", "--label", "side", "--policy", "linear-ucb")
    options = ("--rounds", "900", "--seed", "3", "--json")
    done = run_cli("simulate", "multiclass", *arguments, *options, cwd=tmp_path)
    (found,) = read(done)["policies"]
    assert found["accuracy_last_tenth"] > 0.85
    assert 0 < found["accuracy_first_pass"] <= 1
