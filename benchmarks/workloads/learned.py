"""Policies that have learned something, for what is measured on beliefs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Candidates, Outcomes, Posterior, Requests
from engine.features import Numeric, Schema
from engine.policy import Policy
from engine.registry import make_policy
from engine.state import State

__all__ = ["Learned", "learn", "make_outcomes", "schema_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A policy, its state, what is derived of it and all its items as candidates."""

    policy: Policy
    state: State
    posterior: Posterior
    found: Candidates
    outcomes: Outcomes

    def requests(self, x: np.ndarray) -> Requests:
        """One request a row of x, each for all items."""
        ids = [f"r{i}" for i in range(len(x))]
        return Requests.of(x, ids, [self.found] * len(x))


def schema_of(columns: int) -> Schema:
    """An intercept and numbers."""
    return Schema(features=tuple(Numeric(name=f"f{i}") for i in range(columns - 1)))


def make_outcomes(rng: np.random.Generator, items: int, columns: int, n: int) -> Outcomes:
    """Outcomes of a uniform policy, three in ten rewarded."""
    return Outcomes(
        item_ids=[f"i{i}" for i in rng.integers(0, items, n)],
        x=rng.normal(size=(n, columns)),
        reward=(rng.random(n) < 0.3).astype(float),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
    )


def learn(spec: str, items: int, columns: int, n: int) -> Learned:
    """Learn n outcomes, always the same."""
    policy = make_policy(spec, schema=schema_of(columns))
    outcomes = make_outcomes(np.random.default_rng(5), items, columns, n)
    state = policy.init()
    policy.update(state, outcomes)
    posterior = policy.derive(state)
    return Learned(
        policy=policy,
        state=state,
        posterior=posterior,
        found=Candidates.of(posterior, [f"i{i}" for i in range(items)]),
        outcomes=outcomes,
    )
