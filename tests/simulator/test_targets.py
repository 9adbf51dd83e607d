import json

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.features import Schema
from simulator.evaluate import evaluate
from simulator.health import check_log
from simulator.logs import CandidateSets, SlateLog
from simulator.targets import check_spec, make_target, read_table

ITEMS = ("a", "b", "c", "d")


def log_of(items, propensity, reward, **fields):
    """Slates over the four items, each slot its own reward."""
    items = np.array(items)
    n, k = items.shape
    sets = CandidateSets()
    every = sets.add(np.arange(len(ITEMS)))
    given = {
        "source": "test",
        "format": "events",
        "item_ids": ITEMS,
        "items": items,
        "position": np.broadcast_to(np.arange(k), (n, k)),
        "propensity": np.array(propensity, dtype=float),
        "reward": np.array(reward, dtype=float),
        "sampling": np.ones(n),
        "candidates": sets,
        "candidate_set": np.full(n, every),
        "contexts": [{}] * n,
        "request_ids": [f"r{i}" for i in range(n)],
        "sequence": np.arange(n),
        "matured": np.tile(np.arange(n)[:, None] + 1, (1, k)),
        "time_ms": np.arange(n),
        "schema": Schema(),
    }
    return SlateLog(**(given | fields))


def uniform_log(seed=0, n=3000, k=2):
    rng = np.random.default_rng(seed)
    items = np.array([rng.permutation(4)[:k] for _ in range(n)])
    propensity = np.tile(1.0 / (4 - np.arange(k)), (n, 1))
    return log_of(items, propensity, rng.random((n, k)) < 0.1 * (items + 1))


def table_file(folder, rows, suffix=".json"):
    path = folder / f"table{suffix}"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def test_uniform_is_the_logging_policy_of_a_uniform_log():
    log = uniform_log()
    np.testing.assert_allclose(make_target("uniform", log).propensities(log), log.propensity)


def test_a_table_is_renormalised_over_what_is_left(tmp_path):
    rows = [
        {"item_id": i, "probability": p} for i, p in zip(ITEMS, (0.4, 0.3, 0.2, 0.1), strict=True)
    ]
    log = log_of([[0, 2], [3, 1]], [[0.25, 1 / 3]] * 2, [[0, 0]] * 2)
    found = make_target(f"table:{table_file(tmp_path, rows)}", log).propensities(log)
    np.testing.assert_allclose(found, [[0.4, 0.2 / 0.6], [0.1, 0.3 / 0.9]])


def test_a_table_by_position_reads_csv_and_counts_from_0_or_1(tmp_path):
    log = log_of([[0, 2]], [[0.25, 1 / 3]], [[0, 0]])
    for first in (0, 1):
        lines = [
            "item_id, position, probability",
            f"a,{first},1.0",
            f"c,{first + 1},0.5",
            f"b,{first + 1},0.5",
        ]
        path = table_file(tmp_path, "\n".join(lines), ".csv")
        assert make_target(f"table:{path}", log).propensities(log).tolist() == [[1.0, 0.5]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows"),
        ({"a": 1}, "needs item_id"),
        ([{"item_id": "a"}], "needs item_id"),
        ([{"item_id": "a", "probability": "x"}], "needs item_id"),
        ([{"item_id": "a", "probability": 1.5}], "not in 0..1"),
        ([{"item_id": "a", "probability": float("nan")}], "not in 0..1"),
        ([{"item_id": "a", "probability": 0.5}], "sum to 0.5"),
        ([{"item_id": "a", "probability": 0.5}] * 2, "twice"),
        ([{"item_id": "a", "position": "x", "probability": 1}], "whole number"),
        ([{"item_id": "a", "position": 1.7, "probability": 1}], "whole number"),
        ("{", "cannot be read"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, rows, words):
    with pytest.raises(ConfigError, match=words):
        read_table(table_file(tmp_path, rows))


def test_unknown_policies_are_refused():
    with pytest.raises(ConfigError, match="did you mean"):
        make_target("linear-tompson", uniform_log(n=3))
    with pytest.raises(ConfigError, match="cannot be read"):
        make_target("table:nowhere.json", uniform_log(n=3))


def test_probability_on_items_the_log_cannot_show_is_told(tmp_path):
    rows = [{"item_id": "a", "probability": 0.5}, {"item_id": "z", "probability": 0.5}]
    log = uniform_log(k=1)
    (found,) = evaluate(log, [f"table:{table_file(tmp_path, rows)}"]).policies
    assert found.verdict == "refuse"
    assert any("50.0% of its probability" in reason for reason in found.reasons)
    assert any("does not know" in reason for reason in found.reasons)


def test_a_policy_never_shown_gives_no_number(tmp_path):
    log = log_of([[0]] * 50, [[1.0]] * 50, [[1]] * 50)
    rows = [{"item_id": "b", "probability": 1.0}]
    (found,) = evaluate(log, [f"table:{table_file(tmp_path, rows)}"]).policies
    assert found.verdict == "refuse"
    assert found.estimates[2].value is None
    json.dumps([estimate.value for estimate in found.estimates], allow_nan=False)


def test_an_empty_log_is_refused():
    log = log_of(np.empty((0, 1), dtype=int), np.empty((0, 1)), np.empty((0, 1)))
    found = evaluate(log, ["uniform", "beta-ucb"])
    assert found.log.status == "fail"
    assert {policy.verdict for policy in found.policies} == {"refuse"}


def status(log, check):
    return {finding.check: finding.status for finding in check_log(log).findings}[check]


def test_a_healthy_log_passes_every_check():
    assert {
        f.check: f.status for f in check_log(uniform_log()).findings if f.status != "pass"
    } == {}


def test_propensities_stated_too_high_are_found():
    log = uniform_log()
    wrong = log_of(log.items, np.minimum(log.propensity * 1.3, 1.0), log.reward)
    assert status(wrong, "mean weight") == "warn"


def test_propensities_swapped_between_items_are_found():
    rng = np.random.default_rng(1)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    items = rng.choice(4, size=(5000, 1), p=p)
    assert status(log_of(items, p[items], items * 0), "item calibration") == "pass"
    assert status(log_of(items, p[::-1][items], items * 0), "item calibration") == "warn"


def test_certain_choices_are_found():
    log = log_of([[0]] * 100, [[1.0]] * 100, [[1]] * 100)
    health = check_log(log)
    assert (health.deterministic, status(log, "determinism")) == (1.0, "fail")
    assert status(log, "support") == "warn"
    assert evaluate(log, ["uniform"]).policies[0].verdict == "refuse"


def test_duplicates_and_bad_records_are_told():
    log = uniform_log(n=100)
    counts = {"impression": {"duplicate": 3}, "feedback": {"duplicate": 0}}
    noted = log_of(
        log.items,
        log.propensity,
        log.reward,
        counts=counts,
        excluded={"record not valid (json)": 1},
    )
    assert status(noted, "duplicates") == "warn"
    assert status(noted, "schema") == "warn"
    bad = log_of(log.items, log.propensity, log.reward, excluded={"record not valid (json)": 10})
    assert status(bad, "schema") == "fail"


def test_many_distinct_candidate_sets_are_each_used():
    sets = CandidateSets()
    number = np.array([sets.add(np.array(each)) for each in ([0, 1], [2, 3], [0, 1], [1, 2, 3])])
    found = {tuple(items): rows.tolist() for items, rows in sets.groups(number)}
    assert found == {(0, 1): [0, 2], (2, 3): [1], (1, 2, 3): [3]}
    assert list(sets.groups(number[:0])) == []


def test_a_table_must_cover_every_position_of_the_log(tmp_path):
    rows = [{"item_id": "a", "position": 1, "probability": 1.0}]
    with pytest.raises(ConfigError, match="2 positions and the table nothing for number 2"):
        make_target(f"table:{table_file(tmp_path, rows)}", uniform_log(n=5))


def test_tables_of_spreadsheets_and_odd_ids_are_read(tmp_path):
    text = '\ufeffitem_id,probability\r\n"a\nb",0.5\r\nc\u2028d,0.5\r\n'
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    assert read_table(path) == {None: {"a\nb": 0.5, "c\u2028d": 0.5}}


def test_positions_below_zero_are_refused(tmp_path):
    rows = [{"item_id": "a", "position": -1, "probability": 1.0}]
    with pytest.raises(ConfigError, match="below 0"):
        read_table(table_file(tmp_path, rows))


def test_few_users_are_not_trusted():
    log = uniform_log(n=2000)
    users = np.arange(2000) % 8
    few = log_of(log.items, log.propensity, log.reward, users=users)
    verdict = evaluate(few, ["uniform"]).policies[0]
    assert verdict.verdict == "caution"
    assert any("number of users" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    "spec",
    [
        "hybrid-thompson",
        "shared-ucb:half_life_seconds=60",
        "beta-ucb:group=genre",
        "linear-ucb:slate=ruled,cap=genre:1",
    ],
)
def test_what_depends_on_the_features_of_a_log_waits_for_the_log(spec):
    check_spec(spec)
    with pytest.raises(ConfigError):
        make_target(spec, uniform_log(n=5))  # whose schema has none


@pytest.mark.parametrize(
    "spec",
    ["hybrid-thomson", "hybrid-ucb:alfa=1", "hybrid-bagging", "hybrid-ucb:slate=none"],
)
def test_what_no_log_could_be_asked_is_refused_before_one_is_read(spec):
    with pytest.raises(ConfigError):
        check_spec(spec)
