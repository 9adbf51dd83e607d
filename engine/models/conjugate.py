"""Beta–Bernoulli model: a click rate per item, blind to context."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError
from engine.kernels.sums import add_rows

__all__ = ["BetaBernoulli"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaBernoulli:
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
    def additive(self) -> bool:
        """Sums of shards add up to the whole."""
        return True

    @property
    def family(self) -> str:
        """Beliefs are Beta distributions."""
        return "beta"

    def shapes(self, d: int) -> dict[str, tuple[int, ...]]:  # noqa: ARG002
        """Sums by item: weight of the outcomes, and of the successes among them."""
        return {"count": (), "success": ()}

    def update(
        self, sums: dict[str, Floats], rows: Ints, outcomes: Outcomes, weight: Floats
    ) -> None:
        """Add outcomes to the sums. Writes: sums."""
        add_rows(sums["count"], rows, weight)
        add_rows(sums["success"], rows, weight * np.clip(outcomes.reward, 0.0, 1.0))

    def derive(self, sums: dict[str, Floats], d: int) -> dict[str, Floats]:  # noqa: ARG002
        """Return a, b and count of every item, each ``(m,)``."""
        failure = np.maximum(sums["count"] - sums["success"], 0.0)
        return {
            "a": self.prior_a + sums["success"],
            "b": self.prior_b + failure,
            "count": sums["count"].copy(),
        }

    def believe(self, posterior: Posterior, requests: Requests) -> Belief:
        """Mean and standard deviation of every candidate's Beta distribution."""
        a = posterior.arrays["a"][requests.rows]
        b = posterior.arrays["b"][requests.rows]
        total = a + b
        sd = np.sqrt(a * b / (total * total * (total + 1.0)))
        return Belief(family="beta", mean=a / total, sd=sd, noise=np.ones_like(a), a=a, b=b)
