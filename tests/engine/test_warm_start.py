"""Starting from a log: what it gains where the log is right, and loses where it is not."""

from dataclasses import replace

import numpy as np
import pytest

from engine.batches import Outcomes
from engine.errors import ConfigError, ShapeError
from engine.features import Numeric, Schema
from engine.registry import make_policy
from engine.warm_start import BLOCK, choose_weight, warm_state
from tests.engine.worlds import SCHEMA, outcomes, policy
from tests.naive import linear as naive

D = 6
CONTEXT = Schema(features=tuple(Numeric(name=f"x{j}") for j in range(D - 1)))
ITEMS = [f"item-{i}" for i in range(5)]


def world(seed, n, theta, *, noise=0.3, schema=CONTEXT):
    """Outcomes of items shown at random; theta ``(items, d)``."""
    rng = np.random.default_rng(seed)
    x = np.c_[np.ones(n), rng.normal(size=(n, D - 1))]
    shown = rng.integers(0, len(ITEMS), n)
    reward = np.einsum("nd,nd->n", x, theta[shown]) + noise * rng.normal(size=n)
    return Outcomes(
        item_ids=[ITEMS[i] for i in shown],
        x=x,
        reward=reward,
        weight=np.ones(n),
        time_ms=np.arange(n) * 1000,
    )


def coefficients(seed):
    return np.random.default_rng(seed).normal(size=(len(ITEMS), D)) * 0.5


@pytest.mark.parametrize("rho", [0.03, 1.0])
def test_a_warm_state_is_the_closed_form(rho):
    made = make_policy("linear-ucb", schema=CONTEXT)
    logged, live = world(0, 300, coefficients(0)), world(1, 200, coefficients(1))
    state = warm_state(made, logged, rho)
    made.update(state, live)
    posterior = made.derive(state)
    for item, row in zip(ITEMS, posterior.rows(ITEMS), strict=True):
        x0, r0 = naive.rows_of(logged, item)
        x1, r1 = naive.rows_of(live, item)
        precision = 0.01 * D * np.eye(D) + rho * x0.T @ x0 + x1.T @ x1
        theta = np.linalg.solve(precision, rho * x0.T @ r0 + x1.T @ r1)
        np.testing.assert_allclose(posterior.arrays["theta"][row], theta, rtol=1e-9, atol=1e-12)


def test_no_weight_is_a_cold_start():
    made = policy("linear-ucb")
    assert warm_state(made, outcomes(0, 50), 0.0).hash() == made.init().hash()


@pytest.mark.parametrize(
    "spec", ["linear-ucb", "linear-ucb:standardise=true", "fourier-ucb:features=16,bandwidth=2"]
)
def test_a_log_of_the_same_world_is_believed_and_lowers_the_loss(spec):
    made = make_policy(spec, schema=CONTEXT)
    theta = coefficients(3)
    found = choose_weight(made, world(4, 2000, theta), world(5, 600, theta))
    cold, best = found.losses[0], min(found.losses)
    assert found.grid[0] == 0.0
    assert found.rho >= 0.3
    assert best < 0.8 * cold


@pytest.mark.parametrize("seed", range(3))
def test_a_log_of_another_world_is_not_believed(seed):
    made = make_policy("linear-ucb", schema=CONTEXT)
    theta = coefficients(10 + seed)
    found = choose_weight(made, world(6, 20_000, -theta), world(7, 600, theta))
    assert found.rho == 0.0
    assert found.losses[-1] > 2 * found.losses[0]


def selected(seed, n):
    """A log of rows on one side of a bend, which a linear fit carries wrongly to the other."""
    rng = np.random.default_rng(seed)
    x = np.c_[np.ones(n), rng.normal(size=(n, D - 1))]
    return x, np.abs(x[:, 1]) + 0.1 * rng.normal(size=n)


def test_a_log_selected_where_the_model_does_not_hold_is_not_believed():
    made = make_policy("linear-ucb", schema=CONTEXT)
    x, reward = selected(8, 20_000)
    shown = x[:, 1] > 0  # the logging policy showed the item there only
    logged = Outcomes(
        item_ids=["one"] * int(shown.sum()),
        x=x[shown],
        reward=reward[shown],
        weight=np.ones(int(shown.sum())),
        time_ms=np.zeros(int(shown.sum()), dtype=np.int64),
    )
    x, reward = selected(9, 1000)
    live = Outcomes(
        item_ids=["one"] * 1000,
        x=x,
        reward=reward,
        weight=np.ones(1000),
        time_ms=np.zeros(1000, dtype=np.int64),
    )
    found = choose_weight(made, logged, live)
    assert found.rho == 0.0
    assert found.losses[-1] > 1.5 * found.losses[0]


def test_losses_are_those_of_predicting_before_learning():
    """Block by block, with the beliefs before it: the naive loop, to the last digits."""
    made = make_policy("linear-greedy", schema=CONTEXT)
    theta = coefficients(2)
    logged, live = world(0, 200, theta), world(1, BLOCK + 50, theta)
    found = choose_weight(made, logged, live, grid=(0.1,))
    lost = 0.0
    for start in (0, BLOCK):
        for i in range(start, min(start + BLOCK, BLOCK + 50)):
            item = live.item_ids[i]
            x0, r0 = naive.rows_of(logged, item)
            x1, r1 = naive.rows_of(live.take(slice(0, start)), item)
            precision = 0.01 * D * np.eye(D) + 0.1 * x0.T @ x0 + x1.T @ x1
            mean = live.x[i] @ np.linalg.solve(precision, 0.1 * x0.T @ r0 + x1.T @ r1)
            lost += (live.reward[i] - mean) ** 2
    assert found.losses[0] == pytest.approx(lost / (BLOCK + 50), rel=1e-9)
    assert (found.rho, found.grid) == (0.1, (0.1,))


def test_examination_scales_predictions_and_cascades_leave_slots_out():
    theta = coefficients(5)
    logged, live = world(0, 400, theta), world(1, 300, theta)
    slot = np.arange(300) % 2
    live = replace(live, reward=live.reward * np.where(slot == 1, 0.5, 1.0), slot=slot)
    aware = make_policy("linear-greedy:examination=1|0.5", schema=CONTEXT)
    blind = make_policy("linear-greedy", schema=CONTEXT)
    assert min(choose_weight(aware, logged, live).losses) < 0.7 * min(
        choose_weight(blind, logged, live).losses
    )
    spoiled = replace(
        live, last=np.zeros(300, dtype=np.int64), reward=np.where(slot == 1, 1e6, live.reward)
    )
    cascade = make_policy("linear-greedy:examination=cascade", schema=CONTEXT)
    assert max(choose_weight(cascade, logged, spoiled).losses) < 10


@pytest.mark.parametrize("spec", ["beta-ucb", "shared-ucb", "hybrid-ucb", "linear-ucb"])
def test_every_model_that_takes_weights_can_be_warmed(spec):
    made = policy(spec)
    found = choose_weight(made, outcomes(0, 400), outcomes(1, 200), grid=(0.0, 0.5))
    assert all(0 < loss < 1 for loss in found.losses)
    assert found == choose_weight(made, outcomes(0, 400), outcomes(1, 200), grid=(0.5, 0.0))


def test_ties_go_to_the_smaller_weight():
    logged = outcomes(0, 10, items=("never shown live",))
    found = choose_weight(policy("linear-ucb"), logged, outcomes(1, 30), grid=(1.0, 0.0, 0.5))
    assert found.rho == 0.0
    assert len(set(found.losses)) == 1


@pytest.mark.parametrize("grid", [(), (-0.1,), (float("nan"),), (float("inf"),)])
def test_weights_that_are_none_are_refused(grid):
    with pytest.raises(ConfigError, match="weights of the log"):
        choose_weight(policy("linear-ucb"), outcomes(0, 5), outcomes(0, 5), grid)


def test_a_model_without_weights_and_an_empty_log_are_refused():
    made = policy("river-greedy")
    with pytest.raises(ConfigError, match="same weight"):
        warm_state(made, outcomes(0, 5), 0.5)
    with pytest.raises(ShapeError, match="no live outcomes"):
        choose_weight(policy("linear-ucb"), outcomes(0, 5), outcomes(0, 0))
    assert SCHEMA.item_columns
