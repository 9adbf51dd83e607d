"""The decide-and-learn loop: the choices of its slow twin, the sums of the policy."""

import numpy as np
import pytest

from engine.batches import Outcomes
from engine.errors import ConfigError, ShapeError
from engine.features import Numeric, Schema
from engine.kernels.linear import derive_ridge
from engine.kernels.loop import bound_eigenvalue
from engine.loop import ColumnwiseLoop, LinearLoop, run_linear
from engine.registry import make_policy
from tests import naive
from tests.naive import loop as twin

KINDS = ("greedy", "ucb", "thompson", "squarecb")


def world(seed, n, arms=8, d=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) / np.sqrt(np.arange(1, d + 1))
    x[:, 0] = 1.0
    return x, x @ rng.normal(size=(arms, d)).T + 0.3 * rng.normal(size=(n, arms))


@pytest.mark.parametrize("floor", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_picks_are_those_of_the_slow_twin(kind, floor):
    x, rewards = world(1, 400)
    settings = {"exploration": kind, "alpha": 0.7, "ridge": 0.05, "gamma": 3.0, "floor": floor}
    found = run_linear(x, rewards, seed=5, **settings)
    expected = twin.run_linear(x, rewards, seed=5, **settings)
    np.testing.assert_array_equal(found.picks, expected)
    assert len(set(expected.tolist())) > 3, "a world in which little is chosen tells little"
    np.testing.assert_array_equal(found.rewards, rewards[np.arange(400), expected])


@pytest.mark.parametrize("kind", ["ucb", "thompson"])
@pytest.mark.parametrize("alpha", [0.1, 3.0])
def test_pruning_changes_no_pick(kind, alpha):
    x, rewards = world(2, 6000, arms=40, d=6)
    pruned = run_linear(x, rewards, exploration=kind, alpha=alpha)
    whole = run_linear(x, rewards, exploration=kind, alpha=alpha, prune=False)
    np.testing.assert_array_equal(pruned.picks, whole.picks)
    assert whole.exact_share == whole.dense_share == 1.0
    assert pruned.exact_share < whole.exact_share


def test_a_world_that_prunes_nothing_is_evaluated_whole():
    rng = np.random.default_rng(3)
    x, rewards = rng.normal(size=(20_000, 6)), rng.normal(size=(20_000, 40))
    found = run_linear(x, rewards, alpha=30.0)
    assert found.dense_share > 0.7
    whole = run_linear(x, rewards, alpha=30.0, prune=False)
    np.testing.assert_array_equal(found.picks, whole.picks)


@pytest.mark.parametrize("kind", KINDS)
def test_cuts_leave_no_trace(kind):
    x, rewards = world(4, 3000)
    whole, cut = (LinearLoop(4, 8, exploration=kind) for _ in range(2))
    expected = whole.run(x, rewards).picks
    ends = np.sort(np.random.default_rng(5).choice(np.arange(1, 3000), 9, replace=False))
    parts = np.split(np.arange(3000), ends)
    found = np.concatenate([cut.run(x[part], rewards[part]).picks for part in parts])
    np.testing.assert_array_equal(found, expected)
    assert cut.state().hash() == whole.state().hash()
    assert cut.events == 3000


def test_the_sums_are_those_of_the_policy_to_the_bit():
    x, rewards = world(6, 2000)
    loop = LinearLoop(4, 8, exploration="thompson", floor=0.1)
    result = loop.run(x, rewards)
    schema = Schema(features=tuple(Numeric(name=f"x{i}") for i in range(3)))
    policy = make_policy("linear-ucb", schema=schema)
    state = policy.init()
    policy.update(
        state,
        Outcomes(
            item_ids=[loop.item_ids[pick] for pick in result.picks],
            x=x,
            reward=result.rewards,
            weight=np.ones(2000),
            time_ms=np.zeros(2000, dtype=np.int64),
        ),
    )
    shown = sorted(set(state.item_ids))
    mine, theirs = loop.state().take(shown), state.take(shown)
    for name in theirs:
        np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("kind", ["ucb", "greedy"])
def test_incremental_beliefs_stay_near_those_of_the_sums(kind):
    x, rewards = world(7, 40_000, arms=3, d=8)
    loop = LinearLoop(8, 3, exploration=kind, ridge=0.01)
    loop.run(x, rewards)
    sums = loop.state().sums
    for arm in range(3):
        gram = naive.unpack(sums["gram"][arm], 8) + 0.08 * np.eye(8)
        theta = np.linalg.solve(gram, sums["moment"][arm])
        np.testing.assert_allclose(loop._theta[:, arm], theta, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_eigenvalue_bound_holds_and_is_near(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 12)) * np.geomspace(1, 10.0**-seed, 12)
    covariance = np.linalg.inv(rows.T @ rows + 0.01 * np.eye(12))
    covariance = (covariance + covariance.T) / 2
    root = np.linalg.cholesky(np.cov(rows.T) + 1e-9 * np.eye(12))
    for basis in (np.eye(12), root):
        largest = np.linalg.eigvalsh(basis.T @ covariance @ basis)[-1]
        bound = bound_eigenvalue(covariance, basis, np.empty((2, 12, 12)))
        assert largest <= bound <= largest * 12 ** (1 / 32) * 1.001


def test_ties_are_shared_equally():
    rng = np.random.default_rng(8)
    first = [
        run_linear(rng.normal(size=(1, 3)), np.zeros((1, 5)), seed=seed).picks[0]
        for seed in range(2000)
    ]
    counts = np.bincount(first, minlength=5)
    assert np.all(abs(counts - 400) < 4.5 * np.sqrt(400 * 0.8))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"exploration": "boltzmann"}, ConfigError),
        ({"alpha": -1.0}, ConfigError),
        ({"floor": 1.5}, ConfigError),
        ({"gamma": float("nan")}, ConfigError),
        ({"ridge": 0.0}, ConfigError),
        ({"items": 0}, ShapeError),
        ({"d": 0}, ShapeError),
    ],
)
def test_wrong_settings_are_refused(settings, error):
    with pytest.raises(error):
        LinearLoop(**({"d": 2, "items": 3} | settings))


@pytest.mark.parametrize("x", [np.ones((4, 3)), np.full((4, 2), np.nan), np.ones(4)])
def test_wrong_arrays_are_refused(x):
    with pytest.raises(ShapeError):
        LinearLoop(2, 3).run(x, np.zeros((4, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_columnwise_picks_are_those_of_the_slow_twin(kind):
    x, rewards = world(9, 500)
    settings = {"exploration": kind, "alpha": 0.7, "ridge": 0.05, "gamma": 3.0, "floor": 0.1}
    found = ColumnwiseLoop(4, 8, seed=5, **settings).run(x, rewards)
    expected = twin.run_linear(x, rewards, seed=5, columnwise=True, **settings)
    np.testing.assert_array_equal(found.picks, expected)
    assert len(set(expected.tolist())) > 3


@pytest.mark.parametrize("prune", [True, False])
def test_an_arm_whose_sums_are_not_definite_keeps_its_beliefs(prune):
    # four rows in sixteen columns, the ridge far below their rounding
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 16))[rng.integers(0, 4, 2048)] * 1e3
    loop = LinearLoop(16, 1, prune=prune, ridge=1e-9)
    loop.run(x[:1023], np.ones((1023, 1)))
    failed = derive_ridge(
        loop._gram, loop._moment, loop._prior, np.empty((1, 16)), np.empty((1, 136))
    )
    assert failed == 1, "the world must be as bad as this test says"
    theta = loop._theta.copy()
    loop._derive_stale()
    np.testing.assert_array_equal(loop._theta, theta)
    loop.run(x[1023:], np.ones((1025, 1)))
    np.testing.assert_allclose(x[:4] @ loop._theta[:, 0], 1.0, atol=1e-3)
