"""Disjoint linear model: Bayesian ridge regression of the reward, one per item.

Source: Li et al. 2010, "A contextual-bandit approach to personalized news article
recommendation", algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError, ShapeError
from engine.features import Schema
from engine.kernels.linear import derive_ridge, predict_linear
from engine.kernels.sums import add_rows, update_gram
from engine.models.base import Axes, Model, Traits
from engine.state import State

__all__ = ["DisjointLinear"]


PRIOR_NOISE = 0.25  # variance of a reward nothing is known of: a fair coin's


@dataclass(frozen=True, slots=True, kw_only=True)
class DisjointLinear(Model):
    """θ of an item is N(A⁻¹b, A⁻¹) with A = ridge · d · I + Σ w x xᵀ and b = Σ w r x.

    The ridge grows with the number d of columns: the same as scaling every row by 1/√d, which
    the paper leaves to the user, but without letting the sums depend on d.
    """

    ridge: float = 0.01

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ridge) and self.ridge > 0):
            raise ConfigError(f"ridge is {self.ridge}; give a number above 0")

    @property
    def traits(self) -> Traits:
        """Independent normal beliefs from sums that add."""
        return Traits(family="normal")

    def axes(self) -> Axes:
        """Sums by item: outcomes, Σw r, Σw r², Σw x xᵀ (packed) and Σw r x."""
        items = {"count": (), "reward": (), "square": (), "gram": ("xx",), "moment": ("x",)}
        return Axes(items=items)

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state.

        With a chance q of being looked at, E[r] = q θᵀx: rows enter as q x.
        """
        sums, reward = state.sums, outcomes.reward
        add_rows(sums["count"], rows, weight)
        add_rows(sums["reward"], rows, weight * reward)
        add_rows(sums["square"], rows, weight * reward * reward)
        x = np.ascontiguousarray(outcomes.x * outcomes.examination[:, None])
        update_gram(sums["gram"], sums["moment"], rows, x, reward, weight)

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return θ ``(m, d)``, covariance (packed), reward noise ``(m,)`` and count ``(m,)``."""
        theta = np.empty_like(sums["moment"])
        covariance = np.empty_like(sums["gram"])
        precision = self.ridge * theta.shape[1]
        failed = derive_ridge(sums["gram"], sums["moment"], precision, theta, covariance)
        if failed:
            raise ShapeError(
                f"{failed} items' sums are not positive definite; features may be too large: "
                "declare their center and scale"
            )
        explained = np.einsum("md,md->m", theta, sums["moment"])
        residual = np.maximum(sums["square"] - explained, 0.0)
        noise = (PRIOR_NOISE + residual) / (1.0 + sums["count"])
        return {
            "theta": theta,
            "covariance": covariance,
            "noise": noise,
            "count": sums["count"].copy(),
        }

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean θᵀx and width √(xᵀA⁻¹x) of every candidate."""
        mean = np.empty(len(requests.rows))
        sd = np.empty(len(requests.rows))
        arrays = posterior.arrays
        predict_linear(
            arrays["theta"],
            arrays["covariance"],
            requests.x,
            requests.offsets,
            requests.rows,
            mean,
            sd,
        )
        noise = arrays["noise"][requests.rows]
        return self.belief(posterior, requests, mean=mean, sd=sd, noise=noise)
