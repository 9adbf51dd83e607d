"""Hybrid linear model: what all items share, and what each adds of its own.

Source: Li et al. 2010, "A contextual-bandit approach to personalized news article
recommendation", algorithm 2. The paper updates A₀ and b₀ by subtracting an item's old share and
adding its new one; here sums stay raw and items are eliminated when beliefs are derived, so that
sums add and the prior enters once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Joint, Outcomes, Posterior, Requests
from engine.features import Schema
from engine.kernels.hybrid import eliminate_items, predict_hybrid
from engine.kernels.sums import add_rows, update_cross, update_gram
from engine.models.base import Axes, Model, Traits
from engine.models.ridge import (
    check_definite,
    check_ridge,
    flat_prior,
    reward_noise,
    solve_ridge,
)
from engine.models.shared import check_item_columns, joint_factor
from engine.state import State

__all__ = ["HybridLinear"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridLinear(Model):
    """E[r] = θ_aᵀx + βᵀh: θ_a of each item over the context x, β of all over h.

    h are the item's features and their products with the context's: a new item starts from what
    its features say, and departs from it as it is shown.

    Parameters
    ----------
    ridge
        Prior precision of every coefficient, per column of x and h together. A hundred times
        that of the other linear models: were an item's own coefficients free to take any value,
        what its features say would count for nothing beside them.
    """

    ridge: float = 1.0

    def __post_init__(self) -> None:
        check_ridge(self.ridge)

    @property
    def traits(self) -> Traits:
        """Normal beliefs that rest on common coefficients beside their own, from sums that add."""
        return Traits(family="normal", correlated=True, pooled=True, reads_items=True)

    def check(self, schema: Schema) -> None:
        """Refuse a schema in which all items are alike."""
        check_item_columns(self, schema)

    def axes(self) -> Axes:
        """By item outcomes, Σw x xᵀ, Σw x hᵀ and Σw r x; once Σw r², Σw h hᵀ and Σw r h."""
        items = {"count": (), "gram": ("xx",), "cross": ("x", "h"), "moment": ("x",)}
        return Axes(items=items, shared={"square": (1,), "gram": ("hh",), "moment": ("h",)})

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state.

        With a chance q of being looked at, E[r] is q times as large: rows enter as q x and q h.
        """
        sums, shared, reward = state.sums, state.shared, outcomes.reward
        looked, first = outcomes.examination[:, None], np.zeros_like(rows)
        x = np.ascontiguousarray(outcomes.x * looked)
        joint = schema.joint(outcomes.x, outcomes.z)
        h = np.ascontiguousarray(joint[:, x.shape[1] :] * looked)
        add_rows(sums["count"], rows, weight)
        add_rows(shared["square"], first, weight * reward * reward)
        update_gram(sums["gram"], sums["moment"], rows, x, reward, weight)
        update_cross(sums["cross"], rows, x, h, weight)
        update_gram(shared["gram"][None, :], shared["moment"][None, :], first, h, reward, weight)

    def derive_whole(
        self, sums: dict[str, Floats], state: State, schema: Schema
    ) -> tuple[dict[str, Floats], Arrays]:
        """By item θ, covariance, link A_a⁻¹B_a and count; once β, its covariance and the noise."""
        d, h = sums["cross"].shape[1:]
        theta, covariance = np.empty_like(sums["moment"]), np.empty_like(sums["gram"])
        link = np.empty_like(sums["cross"])
        gram, moment = state.shared["gram"].copy(), state.shared["moment"].copy()
        precision = self.ridge * (d + h)
        own = (sums["gram"], sums["cross"], sums["moment"], flat_prior(precision, d))
        check_definite(eliminate_items(*own, theta, covariance, link, gram, moment))
        beta, spread = solve_ridge(gram[None, :], moment[None, :], flat_prior(precision, h))
        theta -= link @ beta[0]
        explained = np.sum(theta * sums["moment"]) + beta[0] @ state.shared["moment"]
        noise = reward_noise(state.shared["square"], explained, sums["count"].sum())
        arrays = {
            "theta": theta,
            "covariance": covariance,
            "link": link,
            "count": sums["count"].copy(),
        }
        return arrays, {
            "beta": beta[0],
            "covariance": spread[0],
            "factor": joint_factor(spread[0], h),
            "noise": noise,
        }

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return the arrays by item that `derive_whole` does, ``sums`` being all items'."""
        return self.derive_whole(sums, state, schema)[0]

    def derive_shared(self, state: State, schema: Schema) -> Arrays:
        """Return the arrays that belong to no item."""
        return self.derive_whole(state.sums, state, schema)[1]

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean and spread of every candidate, apart into what is shared and what is its own."""
        arrays, shared, size = posterior.arrays, posterior.shared, len(requests.rows)
        mean, sd, own = np.empty(size), np.empty(size), np.empty(size)
        features = np.empty((size, len(shared["beta"])))
        predict_hybrid(
            arrays["theta"],
            arrays["covariance"],
            arrays["link"],
            shared["beta"],
            shared["covariance"],
            requests.x,
            requests.z,
            *schema.cross,
            requests.offsets,
            requests.rows,
            mean,
            sd,
            own,
            features,
        )
        return self.belief(
            posterior,
            requests,
            mean=mean,
            sd=sd,
            noise=np.full(size, shared["noise"][0]),
            joint=Joint(features=features, factor=shared["factor"], independent=own),
        )
