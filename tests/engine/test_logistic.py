"""Online Bayesian logistic regression: its kernels, its accuracy, merging and forgetting."""

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.features import Numeric, Schema
from engine.kernels.linear import predict_diagonal
from engine.kernels.logistic import (
    expect_logistic,
    update_logistic,
    update_logistic_diagonal,
)
from engine.models.logistic import Logistic
from engine.policy import Outcomes, Requests
from engine.registry import make_policy
from tests.engine.worlds import candidates, learned, outcomes, requests
from tests.naive import ordered

RNG = np.random.default_rng
SCHEMA = Schema(features=(Numeric(name="a"), Numeric(name="b")))
TRUTH = np.array([-1.0, 0.8, -0.5])


def clicks(seed, n, truth=TRUTH, hours=0.0):
    """Clicks on one item from a known logistic regression."""
    rng = RNG(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, len(truth) - 1))])
    return Outcomes(
        item_ids=["item"] * n,
        x=x,
        reward=(rng.random(n) < 1 / (1 + np.exp(-x @ truth))).astype(float),
        weight=np.ones(n),
        time_ms=1_700_000_000_000 + np.linspace(0, hours * 3_600_000, n).astype(np.int64),
    )


def learn(batch, spec="logistic-greedy", schema=SCHEMA):
    made = make_policy(spec, schema=schema)
    state = made.init()
    made.update(state, batch)
    return made, state


@pytest.mark.parametrize("d", [1, 2, 7])
def test_updates_equal_their_twins(d):
    rng = RNG(d)
    m, n = 3, 150
    rows = rng.integers(0, m, n)
    x, y = rng.normal(size=(n, d)), rng.choice([0.0, 0.3, 1.0], n)
    weight, prior = rng.random(n) * 4 + 0.1, 0.2 + rng.random(n)
    for update, twin, width in (
        (update_logistic, ordered.update_logistic, d * (d + 1) // 2),
        (update_logistic_diagonal, ordered.update_logistic_diagonal, d),
    ):
        mine = np.zeros((m, width)), np.zeros((m, d))
        theirs = np.zeros((m, width)), np.zeros((m, d))
        update(*mine, rows, x, y, weight, prior)
        twin(*theirs, rows, x, y, weight, prior)
        for here, there in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-9)


def test_diagonal_prediction_equals_its_twin():
    rng = RNG(0)
    offsets, rows = np.array([0, 3, 3, 8]), rng.integers(0, 4, 8)
    theta, variance, x = rng.normal(size=(4, 5)), rng.random((4, 5)), rng.normal(size=(3, 5))
    mean, sd = np.empty(8), np.empty(8)
    predict_diagonal(theta, variance, x, offsets, rows, mean, sd)
    expected = ordered.predict_diagonal(theta, variance, x, offsets, rows)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(sd, expected[1], rtol=1e-12)


def test_expected_chances_err_less_than_1e_5():
    a, b = (
        grid.ravel()
        for grid in np.meshgrid([-30.0, -6, -1, 0, 0.3, 4, 12], 40.0 ** np.linspace(-1, 1, 12))
    )
    mean, sd = np.empty(len(a)), np.empty(len(a))
    expect_logistic(a, b, mean, sd)
    exact = np.array([ordered.expect_logistic(*pair) for pair in zip(a, b, strict=True)])
    np.testing.assert_allclose(mean, exact[:, 0], atol=1e-5)
    np.testing.assert_allclose(sd, exact[:, 1], atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_it_comes_near_the_exact_mode(seed):
    """One pass in order errs less than a fifth of a posterior standard deviation."""
    batch = clicks(seed, 2000)
    made, state = learn(batch)
    arrays = made.derive(state).arrays
    exact = ordered.map_estimate(batch.x, batch.reward, batch.weight, 0.1 * 3)
    sd = np.sqrt(arrays["covariance"][1][[0, 3, 5]])
    assert np.all(np.abs(arrays["theta"][1] - exact) < 0.2 * sd)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.95])
@pytest.mark.parametrize("spec", ["logistic-greedy", "logistic-greedy:covariance=diagonal"])
def test_a_constant_click_rate_is_learned_within_two_percent(rate, spec):
    n = 10_000
    batch = clicks(5, n, truth=np.zeros(3))
    batch.reward[:] = rate
    made, state = learn(batch, spec)
    posterior = made.derive(state)
    found = candidates(posterior, ["item"])
    x = np.ascontiguousarray(batch.x[:200])
    asked = Requests(
        x=x,
        keys=np.arange(200, dtype=np.uint64),
        offsets=np.arange(201),
        item_keys=np.repeat(found.keys, 200),
        rows=np.repeat(found.rows, 200),
    )
    mean = made.believe(posterior, asked).mean
    np.testing.assert_allclose(mean, rate, rtol=0.02)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_merged_shards_come_near_the_whole(covariance):
    """Four shards of 500 outcomes: within half a posterior standard deviation."""
    spec = f"logistic-greedy:covariance={covariance}"
    for seed in range(3):
        batch = clicks(10 + seed, 2000)
        made, whole = learn(batch, spec)
        shards = [made.init() for _ in range(4)]
        for number, shard in enumerate(shards):
            made.update(shard, batch.take(np.arange(number, 2000, 4)))
        posterior, merged = made.derive(whole), made.derive(made.merge(shards))
        arrays = posterior.arrays
        if covariance == "full":
            variance = arrays["covariance"][1][[0, 3, 5]]
        else:
            variance = arrays["variance"][1]
        off = np.abs(merged.arrays["theta"][1] - arrays["theta"][1]) / np.sqrt(variance)
        assert np.all(off < 0.5)


def test_a_hundred_thousand_updates_stay_positive_definite():
    batch = clicks(3, 100_000, truth=np.array([-4.0, 3.0, 3.0]))
    made, state = learn(batch)
    arrays = made.derive(state).arrays
    full = ordered.unpack(arrays["covariance"][1], 3)
    assert np.linalg.eigvalsh(full).min() > 0
    np.testing.assert_allclose(arrays["theta"][1], [-4, 3, 3], atol=0.15)


def test_features_too_large_are_told_when_deriving():
    batch = clicks(0, 10)
    batch.x[:, 1] = 1e200
    made, state = learn(batch)
    with pytest.raises(Exception, match="declare their center and scale"):
        made.derive(state)


def test_surprises_do_not_overshoot():
    """A confident belief proved wrong moves towards the outcome, never past its mode."""
    n = 200
    x = np.ones((n, 1))
    reward = np.where(np.arange(n) % 50 == 49, 0.0, 1.0)
    batch = Outcomes(
        item_ids=["item"] * n,
        x=x,
        reward=reward,
        weight=np.full(n, 8.0),
        time_ms=np.zeros(n, dtype=np.int64),
    )
    made, state = learn(batch, schema=Schema())
    rate = made.item_summary(made.derive(state), ["item"], np.ones(1))["mean"][0]
    assert rate == pytest.approx(reward.mean(), abs=0.01)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_forgetting_follows_a_swap_and_leaves_no_trace_of_cuts(covariance):
    spec = f"logistic-greedy:half_life_seconds=3600,covariance={covariance}"
    before, after = clicks(1, 3000, hours=30.0), clicks(2, 3000, truth=-TRUTH, hours=30.0)
    after.time_ms[:] += 30 * 3_600_000
    made, state = learn(before, spec)
    made.update(state, after)
    theta = made.derive(state).arrays["theta"][1]
    assert np.all(np.abs(theta + TRUTH) < 0.6)
    cut = made.init()
    for batch in (before, after):
        for start in range(0, 3000, 7):
            made.update(cut, batch.take(slice(start, start + 7)))
            made.decay(cut, int(batch.time_ms[min(start + 6, 2999)]))
    for each in (cut, state):
        made.decay(each, int(after.time_ms[-1]))
    assert cut.hash() == state.hash()


def test_the_belief_is_of_chances_and_tells_the_logits():
    made, state = learned("logistic-ucb", n=400)
    posterior = made.derive(state)
    belief = made.believe(posterior, requests(posterior, n=20))
    assert belief.family == "logit"
    assert np.all((belief.mean > 0) & (belief.mean < 1) & (belief.sd > 0) & (belief.sd < 0.5))
    mean, sd = np.empty(len(belief.a)), np.empty(len(belief.a))
    expect_logistic(belief.a, belief.b, mean, sd)
    np.testing.assert_array_equal(mean, belief.mean)
    summary = made.item_summary(posterior, ["item-1"], np.ones(5) * 0.1, np.zeros((1, 3)))
    assert 0 <= summary["low"][0] <= summary["mean"][0] <= summary["high"][0] <= 1


def test_rewards_outside_the_unit_interval_are_chances_too():
    wide, narrow = outcomes(0, 50), outcomes(0, 50)
    wide.reward[:] = wide.reward * 9 - 4
    made, state = learned("logistic-greedy", n=1)
    one, other = state.copy(), state.copy()
    made.update(one, wide)
    made.update(other, narrow)
    assert one.hash() == other.hash()


@pytest.mark.parametrize(
    ("settings", "told"), [({"ridge": 0.0}, "above 0"), ({"covariance": "half"}, "'full'")]
)
def test_wrong_settings_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        Logistic(**settings)


def test_fixed_chances_of_being_looked_at_are_refused():
    with pytest.raises(ConfigError, match="position-based"):
        make_policy("logistic-greedy:examination=1|0.5")
