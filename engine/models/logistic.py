"""Bayesian logistic regression of clicks, one per item, learned online by Laplace steps.

Source: Spiegelhalter and Lauritzen 1990, "Sequential updating of conditional probabilities on
directed graphical structures", section 6; with independent weights Chapelle and Li 2011, "An
empirical evaluation of Thompson sampling", algorithm 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.linear import predict_diagonal, predict_linear
from engine.kernels.logistic import (
    expect_logistic,
    update_logistic,
    update_logistic_diagonal,
)
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.models.ridge import flat_prior, solve_ridge
from engine.state import State

__all__ = ["Logistic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic(Model):
    """The reward is 1 with chance σ(θᵀx), θ of an item being N((Λ₀ + Λ)⁻¹ η, (Λ₀ + Λ)⁻¹).

    Λ₀ = ridge · d · I, so that before any outcome the logit of a standardised row has variance
    1 / ridge however many columns d there are. Each outcome adds to Λ and η the quadratic
    approximation of its log likelihood at the mode given what came before: sums that depend on
    the order. Adding shards' sums counts the prior once, but each shard took its approximations
    at its own modes: near the whole, not equal to it.

    Rewards are read as chances of success: below 0 counts as 0, above 1 as 1.

    Parameters
    ----------
    ridge
        Precision of the logit's prior, per column.
    covariance
        ``full``: an update solves d equations, about d³ / 6 multiplications. ``diagonal``: weights
        are held independent, which costs d, and too narrow beliefs where features correlate.
    """

    ridge: float = 0.1
    covariance: Literal["full", "diagonal"] = "full"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ridge) and self.ridge > 0):
            raise ConfigError(f"ridge is {self.ridge}; give a number above 0")
        if self.covariance not in {"full", "diagonal"}:
            raise ConfigError(f"covariance is {self.covariance!r}; give 'full' or 'diagonal'")

    @property
    def traits(self) -> Traits:
        """Independent normal beliefs of logits, from sums that nearly add.

        A slot looked at with chance q has reward q σ(θᵀx), which is no logistic regression.
        """
        return Traits(family="logit", merging="approximate", examines=False)

    def axes(self) -> Axes:
        """Sums by item: outcomes, Λ (packed, or its diagonal) and η."""
        precision = "xx" if self.covariance == "full" else "x"
        return Axes(items={"count": (), "precision": (precision,), "shift": ("x",)})

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add each outcome's approximation to the sums. Writes: state.

        With a half-life the sums hold landmark weights, and the prior, which never fades, is
        scaled up to them; every bit of the means is then free of where the landmark stands.
        """
        sums = state.sums
        learn = update_logistic if self.covariance == "full" else update_logistic_diagonal
        learn(
            sums["precision"],
            sums["shift"],
            rows,
            np.ascontiguousarray(outcomes.x),
            np.clip(outcomes.reward, 0.0, 1.0),
            np.ascontiguousarray(weight),
            self._prior(state, outcomes),
        )
        add_rows(sums["count"], rows, weight)

    def _prior(self, state: State, outcomes: Outcomes) -> Floats:
        """Λ₀ at the time of every outcome, in units of the state's landmark, ``(n,)``."""
        precision = np.full(len(outcomes.reward), self.ridge * outcomes.x.shape[1])
        if not state.half_life_ms:
            return precision
        steps, rest = np.divmod(outcomes.time_ms - state.landmark, state.half_life_ms)
        scaled: Floats = np.ldexp(precision * np.exp2(rest / state.half_life_ms), steps)
        return scaled

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return θ ``(m, d)``, its covariance (packed) or variances, and count ``(m,)``."""
        shift = sums["shift"]
        prior = self.ridge * shift.shape[1]
        count = sums["count"].copy()
        if self.covariance == "diagonal":
            variance = 1.0 / (prior + sums["precision"])
            return {"theta": variance * shift, "variance": variance, "count": count}
        packed = flat_prior(prior, shift.shape[1])
        theta, covariance = solve_ridge(sums["precision"], shift, packed)
        return {"theta": theta, "covariance": covariance, "count": count}

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Expected chance of success and its spread; a, b are mean and spread of the logit."""
        size, arrays = len(requests.rows), posterior.arrays
        a, b, mean, sd = (np.empty(size) for _ in range(4))
        full = self.covariance == "full"
        predict = predict_linear if full else predict_diagonal
        spread = arrays["covariance" if full else "variance"]
        predict(arrays["theta"], spread, requests.x, requests.offsets, requests.rows, a, b)
        expect_logistic(a, b, mean, sd)
        return self.belief(posterior, requests, mean=mean, sd=sd, a=a, b=b)
