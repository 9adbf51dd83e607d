"""Disjoint linear model: Bayesian ridge regression of the reward, one per item.

Source: Li et al. 2010, "A contextual-bandit approach to personalized news article
recommendation", algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.features import Schema
from engine.kernels.linear import predict_linear, weigh_covariance
from engine.kernels.sums import add_rows, update_gram, update_outer
from engine.models.base import Axes, Model, Traits
from engine.models.ridge import (
    PRIOR_NOISE,
    check_ridge,
    flat_prior,
    reward_noise,
    scaled_prior,
    solve_ridge,
)
from engine.state import State

__all__ = ["PRIOR_NOISE", "DisjointLinear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisjointLinear(Model):
    """θ of an item is N(A⁻¹b, A⁻¹) with A = ridge · d · I + Σ w x xᵀ and b = Σ w r x.

    Parameters
    ----------
    ridge
        Prior precision of every coefficient, per column.
    standardise
        Put the ridge on columns shifted and scaled by the mean and standard deviation of all
        outcomes' rows, and hardly on the intercept. Sums stay raw: see `scaled_prior`.
    second_sums
        For outcomes that fade: keep sums S̃ = Σ γ² w x xᵀ of squared discounts γ too, and take
        A⁻¹ (ridge · d · I + S̃) A⁻¹ as the covariance. Source: Russac et al. 2019, "Weighted
        linear bandits for non-stationary environments" (D-LinUCB). The weight w of an outcome is
        not squared: it counts as w outcomes, here as in A, and without fading both agree.
    """

    ridge: float = 0.01
    standardise: bool = False
    second_sums: bool = False

    def __post_init__(self) -> None:
        check_ridge(self.ridge)

    @property
    def traits(self) -> Traits:
        """Independent normal beliefs from sums that add."""
        return Traits(family="normal", pooled=self.standardise)

    def axes(self) -> Axes:
        """Sums by item: outcomes, Σw r, Σw r², Σw x xᵀ (packed) and Σw r x."""
        items = {"count": (), "reward": (), "square": (), "gram": ("xx",), "moment": ("x",)}
        if not self.second_sums:
            return Axes(items=items)
        return Axes(items=items | {"faded": ("xx",)}, squared=frozenset({"faded"}))

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
        if self.second_sums:
            update_outer(sums["faded"], rows, x, weight * (weight / outcomes.weight))

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return θ ``(m, d)``, covariance (packed), reward noise ``(m,)`` and count ``(m,)``."""
        d = sums["moment"].shape[1]
        prior = flat_prior(self.ridge * d, d)
        if self.standardise:
            prior = scaled_prior(self.ridge * d, state.sums["gram"].sum(axis=0), d)
        theta, covariance = solve_ridge(sums["gram"], sums["moment"], prior)
        if self.second_sums:
            weigh_covariance(sums["faded"], prior, covariance)
        explained = np.einsum("md,md->m", theta, sums["moment"])
        return {
            "theta": theta,
            "covariance": covariance,
            "noise": reward_noise(sums["square"], explained, sums["count"]),
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
