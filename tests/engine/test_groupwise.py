"""Groupwise regression: its kernels, and its promise to every group."""

import math

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.features import Categorical, Numeric, Schema
from engine.kernels.groupwise import predict_groupwise, update_groupwise
from engine.kernels.linear import derive_ridge
from engine.models.groupwise import GroupwiseLinear
from engine.models.ridge import flat_prior
from engine.policy import Candidates, Outcomes, Requests
from engine.registry import make_policy
from tests.naive import ordered

RNG = np.random.default_rng
SCHEMA = Schema(
    features=(
        Numeric(name="taste"),
        Categorical(name="country", values=("no", "fi")),
        Categorical(name="plan", values=("free", "paid")),
    )
)
SPEC = "groupwise-greedy:groups=country=no|country=fi|plan=free|plan=paid"
PLACES = np.array([2, 3, 4, 5])


def world(seed, n):
    """Rewards rise with taste, but fall with it in Finland, and are flat for the paying."""
    rng = RNG(seed)
    taste, finland, paid = rng.uniform(-2, 2, n), rng.random(n) < 0.25, rng.random(n) < 0.2
    slope = np.where(paid, 0.0, np.where(finland, -0.2, 0.2))
    x = np.column_stack([np.ones(n), taste, ~finland, finland, ~paid, paid])
    return Outcomes(
        item_ids=["item"] * n,
        x=x.astype(float),
        reward=np.clip(0.5 + slope * taste + 0.1 * rng.normal(size=n), 0, 1),
        weight=np.ones(n),
        time_ms=np.arange(n),
    )


def predictions(made, batch):
    """What the policy, and each group's regression, predicted before it learned each outcome."""
    state, own = made.init(), []
    bases = np.full((len(batch.reward), 1 + len(PLACES)), np.nan)
    for i in range(len(batch.reward)):
        posterior = made.derive(state)
        found = Candidates.of(posterior, ["item"])
        x = batch.x[i : i + 1]
        own.append(made.believe(posterior, Requests.of(x, ["r"], [found])).mean[0])
        theta = posterior.arrays["theta"][found.rows[0]]
        for g in ordered.awake_groups(x[0], PLACES):
            bases[i, g] = np.clip(theta[g] @ x[0], 0, 1)
        made.update(state, batch.take(slice(i, i + 1)))
    return np.array(own), bases, state


def random_sums(rng, m=3, g=3, d=4, n=120):
    rows, x = rng.integers(0, m, n), rng.normal(size=(n, d))
    x[:, 1:3] = rng.random((n, 2)) < 0.5
    sums = (
        np.zeros((m, g, d * (d + 1) // 2)),
        np.zeros((m, g, d)),
        np.zeros((m, g)),
        np.zeros((m, g)),
    )
    return sums, (rows, x, rng.normal(size=n), rng.random(n) + 0.5, np.array([1, 2]))


def test_kernels_equal_their_twins():
    rng = RNG(0)
    sums, events = random_sums(rng)
    twin = tuple(kept.copy() for kept in sums)
    update_groupwise(*sums, *events, 0.3, -0.8, 1.2)
    ordered.update_groupwise(*twin, *events, 0.3, -0.8, 1.2)
    for mine, theirs in zip(sums, twin, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    theta, covariance = np.empty((9, 4)), np.empty((9, 10))
    prior = flat_prior(0.3, 4)
    derive_ridge(sums[0].reshape(9, 10), sums[1].reshape(9, 4), prior, theta, covariance)
    posterior = theta.reshape(3, 3, 4), covariance.reshape(3, 3, 10), *sums[2:]
    asked = events[1][:3].copy(), np.array([0, 3, 3, 8]), rng.integers(0, 3, 8), events[-1]
    mean, sd = np.empty(8), np.empty(8)
    predict_groupwise(*posterior, *asked, -0.8, 1.2, mean, sd)
    expected = ordered.predict_groupwise(*posterior, *asked, -0.8, 1.2)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sd, expected[1], rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_every_group_is_predicted_nearly_as_well_as_by_its_own_regression(seed):
    batch = world(seed, 1500)
    made = make_policy(SPEC, schema=SCHEMA)
    own, bases, state = predictions(made, batch)
    spread = state.sums["spread"][0]
    b = 1 + 1.5 * np.mean(1 + np.log(1 + spread))
    losses = (own - batch.reward) ** 2
    for g in range(5):
        rounds = ~np.isnan(bases[:, g])
        base = ((bases[rounds, g] - batch.reward[rounds]) ** 2).sum()
        bound = math.sqrt(3 * spread[g] * math.log(b * 5))
        assert losses[rounds].sum() <= base + bound
        assert bound < 0.15 * rounds.sum()  # it says something


def test_a_group_that_differs_is_predicted_far_better_than_by_everyone():
    batch = world(7, 1500)
    own, bases, _ = predictions(make_policy(SPEC, schema=SCHEMA), batch)
    finland = batch.x[:, 3] == 1
    late = finland & (np.arange(1500) > 500)
    mine = np.mean((own[late] - batch.reward[late]) ** 2)
    pooled = np.mean((bases[late, 0] - batch.reward[late]) ** 2)
    assert mine < 0.5 * pooled


def test_potentials_beyond_all_numbers_still_weigh():
    """Φ = exp(R² / 3C) is e³⁰⁰⁰ here: the best group has all weight, and worse ones none."""
    theta, covariance = np.array([[[0.1], [0.2], [0.7]]]), np.ones((1, 3, 1))
    asked = np.ones((1, 1)), np.array([0, 1]), np.zeros(1, dtype=np.int64), np.zeros(2, np.int64)
    mean, sd = np.empty(1), np.empty(1)
    spread = np.full((1, 3), 9000.0)
    for regret, expected in (([-5000.0, 8000.0, 9000.0], 0.7), ([-5000.0, -2.0, -9.0], 1 / 3)):
        given = theta, covariance, np.array([regret]), spread
        predict_groupwise(*given, *asked, 0.0, 1.0, mean, sd)
        assert mean[0] == pytest.approx(expected, rel=1e-12)
        assert sd[0] == pytest.approx(1)


def test_without_groups_it_is_one_regression_clipped():
    batch = world(3, 400)
    made = make_policy("groupwise-greedy", schema=SCHEMA)
    linear = make_policy("linear-greedy", schema=SCHEMA)
    state, other = made.init(), linear.init()
    made.update(state, batch)
    linear.update(other, batch)
    posterior, reference = made.derive(state), linear.derive(other)
    for each in (posterior, reference):
        assert each.rows(["item"])[0] == 1
    found = Candidates.of(posterior, ["item"])
    asked = Requests.of(batch.x[:20], [f"r{i}" for i in range(20)], [found] * 20)
    mine, theirs = made.believe(posterior, asked), linear.believe(reference, asked)
    np.testing.assert_allclose(mine.mean, np.clip(theirs.mean, 0, 1), rtol=1e-9)
    np.testing.assert_allclose(mine.sd, theirs.sd, rtol=1e-9)
    np.testing.assert_allclose(mine.noise, theirs.noise, rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"ridge": 0.0}, "above 0"),
        ({"low": 1.0, "high": 1.0}, "range of the reward"),
        ({"groups": ("a", "a")}, "each once"),
    ],
)
def test_wrong_settings_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        GroupwiseLinear(**settings)


def test_unknown_groups_and_forgetting_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'country=no'"):
        make_policy("groupwise-greedy:groups=country=nq", schema=SCHEMA)
    with pytest.raises(ConfigError, match="cannot forget"):
        make_policy("groupwise-greedy:half_life_seconds=60", schema=SCHEMA)


def test_learning_from_nothing_is_fine():
    made, batch = make_policy(SPEC, schema=SCHEMA), world(0, 20)
    state = made.init()
    posterior = made.learn(state, made.derive(state), batch)
    before, theta = state.hash(), posterior.arrays["theta"].copy()
    posterior = made.learn(state, posterior, batch.take(slice(0, 0)))
    assert state.hash() == before
    np.testing.assert_array_equal(posterior.arrays["theta"], theta)
