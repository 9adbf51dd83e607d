"""What is measured: each workload makes our call and the peer's, doing the same work."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.batches import Candidates, Outcomes, Requests
from engine.features import Numeric, Schema
from engine.registry import make_policy


@dataclass(frozen=True, kw_only=True)
class Workload:
    name: str
    params: str
    peer: str
    units: int
    make: Callable[[np.random.Generator], tuple[Callable[[], object], Callable[[], object]]]


def world(rng, spec, items, d, n):
    """A policy that has learned n outcomes of d columns."""
    schema = Schema(features=tuple(Numeric(name=f"f{i}") for i in range(d - 1)))
    policy, ids = make_policy(spec, schema=schema), [f"i{i}" for i in range(items)]
    x = rng.normal(size=(n, d))
    outcomes = Outcomes(
        item_ids=[ids[i] for i in rng.integers(0, items, n)],
        x=x,
        reward=(rng.random(n) < 0.3).astype(float),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
    )
    state = policy.init()
    policy.update(state, outcomes)
    return policy, ids, outcomes, state


def update_linear(rng):
    """Raw sums of a batch, beside an outer product an event."""
    policy, _, outcomes, state = world(rng, "linear-ucb", 100, 32, 5000)
    gram, moment = np.zeros((100, 32, 32)), np.zeros((100, 32))
    rows = state.rows(outcomes.item_ids)

    def peer():
        for row, x, r in zip(rows, outcomes.x, outcomes.reward, strict=True):
            gram[row] += np.outer(x, x)
            moment[row] += r * x

    return lambda: policy.update(state, outcomes), peer


def rank_ucb(rng):
    """The best of 1,000 items by UCB for a batch of contexts, beside BLAS and argmax."""
    policy, ids, _, state = world(rng, "linear-ucb", 1000, 32, 20000)
    posterior = policy.derive(state)
    found = Candidates.of(posterior, ids)
    x = rng.normal(size=(50, 32))
    requests = Requests.of(x, [f"r{i}" for i in range(50)], [found] * 50)
    upper = np.triu_indices(32)
    full = np.zeros((1000, 32, 32))
    full[:, upper[0], upper[1]] = posterior.arrays["covariance"][found.rows]
    full[:, upper[1], upper[0]] = posterior.arrays["covariance"][found.rows]
    theta, flat = posterior.arrays["theta"][found.rows], full.reshape(-1, 32)

    def peer():
        for row in x:
            width = ((flat @ row).reshape(1000, 32) * row).sum(axis=1)
            int(np.argmax(theta @ row + 0.25 * np.sqrt(width)))

    return lambda: policy.rank(posterior, requests, 1), peer


def slate_thompson(rng):
    """Ten slots of 100 items with their propensities, beside 1,000 joint draws in NumPy."""
    policy, ids, _, state = world(rng, "linear-thompson", 100, 32, 5000)
    posterior = policy.derive(state)
    found = Candidates.of(posterior, ids)
    requests = Requests.of(rng.normal(size=(20, 32)), [f"r{i}" for i in range(20)], [found] * 20)

    def peer():
        belief = policy.believe(posterior, requests)
        for i in range(20):
            at = slice(100 * i, 100 * i + 100)
            draws = rng.normal(belief.mean[at], 0.25 * belief.sd[at], size=(1000, 100))
            for _ in range(10):
                wins = np.bincount(draws.argmax(axis=1), minlength=100)
                draws[:, int(wins.argmax())] = -np.inf

    return lambda: policy.rank(posterior, requests, 10), peer


WORKLOADS = (
    Workload(
        name="update",
        params="linear, d=32, 100 items, batch 5,000",
        units=5000,
        peer="NumPy outer product an event",
        make=update_linear,
    ),
    Workload(
        name="rank",
        params="linear-ucb, d=32, best of 1,000, batch 50",
        units=50,
        peer="NumPy BLAS and argmax",
        make=rank_ucb,
    ),
    Workload(
        name="slate",
        params="linear-thompson, d=32, 10 of 100, propensities 1e-6",
        units=20,
        peer="NumPy, 1,000 draws (error 1e-2)",
        make=slate_thompson,
    ),
)
