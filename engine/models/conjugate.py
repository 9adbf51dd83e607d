"""Beta–Bernoulli model: a click rate per item, blind to context."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.state import State

__all__ = ["BetaBernoulli"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaBernoulli(Model):
    """The mean reward of an item is Beta(prior_a + Σ w r, prior_b + Σ w (1 - r)).

    Rewards are read as chances of success: below 0 counts as 0, above 1 as 1.
    """

    prior_a: float = 1.0
    prior_b: float = 1.0

    def __post_init__(self) -> None:
        given = (self.prior_a, self.prior_b)
        if not all(math.isfinite(value) and value > 0 for value in given):
            raise ConfigError(f"prior_a, prior_b are {given}; give numbers above 0")

    @property
    def traits(self) -> Traits:
        """Independent beta beliefs from sums that add."""
        return Traits(family="beta")

    def axes(self) -> Axes:
        """Sums by item: weight of the outcomes, and of the successes among them."""
        return Axes(items={"count": (), "success": ()})

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state.

        An outcome looked at with chance q counts as q trials.
        """
        sums = state.sums
        add_rows(sums["count"], rows, weight * outcomes.examination)
        add_rows(sums["success"], rows, weight * np.clip(outcomes.reward, 0.0, 1.0))

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return a, b and count of every item, each ``(m,)``."""
        failure = np.maximum(sums["count"] - sums["success"], 0.0)
        return {
            "a": self.prior_a + sums["success"],
            "b": self.prior_b + failure,
            "count": sums["count"].copy(),
        }

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean and standard deviation of every candidate's Beta distribution."""
        a = posterior.arrays["a"][requests.rows]
        b = posterior.arrays["b"][requests.rows]
        total = a + b
        sd = np.sqrt(a * b / (total * total * (total + 1.0)))
        return self.belief(posterior, requests, mean=a / total, sd=sd, a=a, b=b)
