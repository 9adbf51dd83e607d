"""Columnwise linear models: what they are told in closed form, and what speed costs."""

import numpy as np

from engine.batches import Candidates, Outcomes, Requests
from engine.features import Numeric, Schema
from engine.registry import make_policy
from tests.naive import linear as naive

SCHEMA = Schema(features=tuple(Numeric(name=f"x{i}") for i in range(3)))


def learned(spec, rewards, x):
    policy = make_policy(spec, schema=SCHEMA)
    state, n = policy.init(), len(rewards)
    policy.update(
        state,
        Outcomes(
            item_ids=["a"] * n, x=x, reward=rewards, weight=np.ones(n), time_ms=np.zeros(n, int)
        ),
    )
    return policy, policy.derive(state)


def believe(policy, posterior, x):
    found = [Candidates.of(posterior, ["a", "new"])] * len(x)
    return policy.believe(posterior, Requests.of(x, [f"r{i}" for i in range(len(x))], found))


def test_beliefs_are_the_closed_form_of_every_column():
    rng = np.random.default_rng(0)
    x, rewards = rng.normal(size=(50, 4)), rng.normal(size=50)
    policy, posterior = learned("columnwise-ucb:ridge=0.1", rewards, x)
    belief = believe(policy, posterior, x[:3])
    variance = 1 / (0.4 + (x**2).sum(axis=0))
    theta = variance * (x * rewards[:, None]).sum(axis=0)
    np.testing.assert_allclose(belief.mean[::2], x[:3] @ theta, rtol=1e-12)
    np.testing.assert_allclose(belief.sd[::2], np.sqrt((x[:3] ** 2) @ variance), rtol=1e-12)
    np.testing.assert_allclose(belief.mean[1::2], 0.0)
    np.testing.assert_allclose(belief.sd[1::2], np.sqrt((x[:3] ** 2).sum(axis=1) / 0.4))


def test_independent_columns_are_learned_as_by_a_full_regression():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 4))
    rewards = x @ [0.3, -0.2, 0.5, 0.1] + 0.1 * rng.normal(size=20_000)
    both = [learned(f"{model}-greedy", rewards, x) for model in ("columnwise", "linear")]
    alone, full = (believe(*one, x[:50]).mean[::2] for one in both)
    assert np.max(abs(alone - full)) < 0.05


def test_columns_that_move_together_are_counted_twice():
    """Why the full regression is the default: two equal columns each explain all of it."""
    x = np.ones((5000, 4)) * [1.0, 1.0, 0.0, 0.0]
    policy, posterior = learned("columnwise-greedy", np.full(5000, 0.4), x)
    assert abs(believe(policy, posterior, x[:1]).mean[0] - 0.8) < 0.01


def test_the_kernel_equals_its_twin():
    rng = np.random.default_rng(2)
    state = make_policy("columnwise-ucb", schema=SCHEMA).init()
    x, reward, weight = rng.normal(size=(40, 4)), rng.normal(size=40), rng.random(40) + 0.5
    ids = [f"i{i}" for i in rng.integers(0, 3, 40)]
    policy = make_policy("columnwise-ucb", schema=SCHEMA)
    policy.update(
        state, Outcomes(item_ids=ids, x=x, reward=reward, weight=weight, time_ms=np.zeros(40, int))
    )
    expected = naive.sum_columns(ids, x, reward, weight)
    for item, (precision, moment) in expected.items():
        np.testing.assert_allclose(state.take([item])["precision"][0], precision, rtol=1e-13)
        np.testing.assert_allclose(state.take([item])["moment"][0], moment, rtol=1e-12, atol=1e-14)
