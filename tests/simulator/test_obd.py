"""The Open Bandit Dataset: published figures, to the digits shown."""

import json
import re

import numpy as np
import pytest

from engine.errors import ConfigError
from simulator.evaluate import evaluate
from simulator.health import check_log
from simulator.readers import read_log
from simulator.replay import replay


def prior_policy(folder, path, first=1):
    """Table of the Beta prior's choices: 100,000 draws, the three highest of each."""
    text = (folder / "obd" / "prior_bts_all.yaml").read_text()
    a, b = ([float(v) for v in re.findall(r"- ([\d.]+)", part)] for part in text.split("beta:"))
    draws = np.random.RandomState(12345).beta(a, b, size=(100_000, 80))
    top = draws.argsort(axis=1)[:, ::-1][:, :3]
    rows = [
        {
            "item_id": item,
            "position": slot + first,
            "probability": float(np.mean(top[:, slot] == item)),
        }
        for slot in range(3)
        for item in range(80)
    ]
    path.write_text(json.dumps(rows))
    return f"table:{path}"


def digits(found):
    by_name = {estimate.estimator: estimate for estimate in found.estimates}
    ips, snips = by_name["ips"], by_name["snips"]
    return f"{ips.value:.8f}", f"{snips.value:.8f}", f"{ips.ess:.1f}"


@pytest.mark.parametrize("first", [0, 1])
def test_prior_policy_on_the_uniform_log(data_dir, tmp_path, first):
    spec = prior_policy(data_dir, tmp_path / "prior.json", first)
    log = read_log(data_dir / "obd", format="obd", campaign="all", behaviour="random")
    (found,) = evaluate(log, [spec]).policies
    assert digits(found) == ("0.00455288", "0.00477583", "1639.5")
    assert found.verdict == "refuse", "forty clicks rank no policy"
    assert f"{found.estimates[2].se:.5f}" == "0.00219"
    assert f"{found.estimates[0].mean_weight:.4f}" == "0.9533"
    assert f"{found.estimates[0].max_weight:.1f}" == "19.6"


def test_uniform_policy_on_the_thompson_log(data_dir):
    log = read_log(data_dir / "obd", format="obd", behaviour="bts")
    (found,) = evaluate(log, ["uniform"]).policies
    assert digits(found) == ("0.00235964", "0.00233371", "340.4")
    assert round(found.estimates[0].max_weight) == 278
    assert f"{found.estimates[0].mean_weight:.4f}" == "1.0111"


def test_the_logging_policy_earns_what_it_earned(data_dir):
    log = read_log(data_dir / "obd", format="obd")
    (found,) = evaluate(log, ["uniform"]).policies
    assert found.estimates[0].value == pytest.approx(0.0038, abs=1e-12)


def test_both_logs_are_healthy(data_dir):
    for behaviour in ("random", "bts"):
        health = check_log(read_log(data_dir / "obd", format="obd", behaviour=behaviour))
        assert (health.slates, health.items) == (10_000, 80)
        assert {f.check: f.status for f in health.findings if f.status == "fail"} == {}
        assert sum(health.positions) == 10_000
        assert len(health.positions) == 3


def test_replay_accepts_about_one_row_in_eighty(data_dir):
    found = replay(data_dir / "obd", ["beta-ucb", "uniform"], format="obd", seed=1)
    for policy in found.policies:
        assert abs(policy.accepted - 125) < 4 * np.sqrt(125)
        assert policy.acceptance == policy.accepted / 10_000
    again = replay(data_dir / "obd", ["beta-ucb"], format="obd", seed=1)
    assert again.policies[0] == found.policies[0]


HEADER = ",timestamp,item_id,position,click,propensity_score,user_feature_0"
FINE = "0,2019-11-24 00:00:17+00:00,7,2,0,0.5,x"


def written(folder, *lines):
    path = folder / "random" / "all" / "all.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(
    ("field", "bad", "reason"),
    [
        (5, "0", "propensity not in (0, 1]"),
        (5, "1.7", "propensity not in (0, 1]"),
        (5, "-0.1", "propensity not in (0, 1]"),
        (5, "nan", "propensity not in (0, 1]"),
        (5, "inf", "propensity not in (0, 1]"),
        (3, "0", "position not 1 to 3"),
        (3, "4", "position not 1 to 3"),
        (4, "2", "click not 0 or 1"),
        (4, "nan", "click not 0 or 1"),
    ],
)
def test_bad_rows_are_left_out_counted_and_shown(tmp_path, field, bad, reason):
    row = FINE.split(",")
    row[field] = bad
    log = read_log(written(tmp_path, HEADER, FINE, ",".join(row), FINE), format="obd")
    assert len(log) == 2
    assert log.excluded == {reason: 1}
    assert log.examples == {reason: ["row 3"]}
    assert check_log(log).status == "fail"
    (found,) = evaluate(log, ["uniform"]).policies
    assert any("failed" in why for why in found.reasons)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((HEADER.replace("click", "clicked"), FINE), "no column click"),
        ((HEADER, "0,2019"), "2 values, 7 columns"),
        ((HEADER, FINE.replace("0.5", "half")), "propensity_score"),
        ((HEADER, FINE.replace("2019-11-24", "yesterday")), "timestamp"),
        (("",), "no column"),
    ],
)
def test_files_that_are_no_such_log_are_refused(tmp_path, lines, words):
    with pytest.raises(ConfigError, match=words):
        read_log(written(tmp_path, *lines), format="obd")


def test_absent_logs_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match="give the folder that holds"):
        read_log(tmp_path, format="obd")
    with pytest.raises(ConfigError, match="random, bts"):
        read_log(tmp_path, format="obd", behaviour="thompson")
    with pytest.raises(ConfigError, match="give one of events, obd"):
        read_log(tmp_path, format="csv")
    with pytest.raises(ConfigError, match="does not exist"):
        read_log(tmp_path / "none.db")
    with pytest.raises(ConfigError, match="give --policy"):
        replay(tmp_path, format="obd")


@pytest.mark.parametrize(("content", "words"), [(b"id\n0\n", "item_id"), (b"\xff\xfe\n", "read")])
def test_item_files_that_cannot_be_used_are_refused(tmp_path, content, words):
    folder = written(tmp_path, HEADER, FINE)
    (folder / "random" / "all" / "item_context.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_log(folder, format="obd")


@pytest.mark.parametrize("spec", ["linear-ucb", "beta-ucb"])
def test_replay_forgets_by_the_log_s_own_time(data_dir, spec):
    forgetting = f"{spec}:half_life_seconds=3600"
    (found,) = replay(data_dir / "obd", [forgetting], format="obd", seed=1).policies
    (keeping,) = replay(data_dir / "obd", [spec], format="obd", seed=1).policies
    assert 50 < found.accepted < 250
    assert found.state_hash != keeping.state_hash
