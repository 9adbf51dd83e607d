"""Shared linear model: one Bayesian ridge regression over the features of context and item.

Source: Li et al. 2010, "A contextual-bandit approach to personalized news article
recommendation", algorithm 1 over one common row for all items. What is learned of one item
speaks of every other, and of items never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Joint, Outcomes, Posterior, Requests
from engine.errors import ConfigError, ShapeError
from engine.features import Schema
from engine.kernels.linear import weigh_covariance
from engine.kernels.shared import factor_covariance, join_rows, predict_joint
from engine.kernels.sums import add_rows, update_gram, update_outer
from engine.models.base import Axes, Model, Shape, Traits
from engine.models.ridge import check_ridge, flat_prior, reward_noise, scaled_prior, solve_ridge
from engine.state import State

__all__ = ["SharedLinear", "check_item_columns", "join", "joint_factor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLinear(Model):
    """θ is N(A⁻¹b, A⁻¹) with A = ridge · f · I + Σ w φ φᵀ and b = Σ w r φ, for all items at once.

    φ is the joint row: context features, item features, and the declared products of the two.
    Without products every context ranks the items alike.

    Parameters
    ----------
    ridge, standardise, second_sums
        As in `DisjointLinear`, over the columns of φ.
    """

    ridge: float = 0.01
    standardise: bool = False
    second_sums: bool = False

    def __post_init__(self) -> None:
        check_ridge(self.ridge)

    @property
    def traits(self) -> Traits:
        """Normal beliefs that all rest on the same coefficients, from sums that add."""
        return Traits(family="normal", correlated=True, pooled=True, reads_items=True)

    def check(self, schema: Schema) -> None:
        """Refuse a schema in which all items are alike."""
        check_item_columns(self, schema)

    def axes(self) -> Axes:
        """Outcomes by item; once: Σw r² and the packed Σw φ φᵀ, Σw r φ."""
        shared: dict[str, Shape] = {"square": (1,), "gram": ("ff",), "moment": ("f",)}
        if not self.second_sums:
            return Axes(items={"count": ()}, shared=shared)
        return Axes(
            items={"count": ()},
            shared={**shared, "faded": ("ff",)},
            squared=frozenset({"faded"}),
        )

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state.

        With a chance q of being looked at, E[r] = q θᵀφ: rows enter as q φ.
        """
        shared, reward, first = state.shared, outcomes.reward, np.zeros_like(rows)
        phi = np.ascontiguousarray(
            schema.joint(outcomes.x, outcomes.z) * outcomes.examination[:, None]
        )
        add_rows(state.sums["count"], rows, weight)
        add_rows(shared["square"], first, weight * reward * reward)
        update_gram(shared["gram"][None, :], shared["moment"][None, :], first, phi, reward, weight)
        if self.second_sums:
            squares = weight * (weight / outcomes.weight)
            update_outer(shared["faded"][None, :], first, phi, squares)

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return count ``(m,)``: all else belongs to no item."""
        return {"count": sums["count"].copy()}

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Return θ ``(f,)``, covariance (packed), its factor ``(f, f)`` and noise ``(1,)``."""
        gram, moment = state.shared["gram"], state.shared["moment"]
        f = len(moment)
        prior = (
            scaled_prior(self.ridge * f, gram, f)
            if self.standardise
            else flat_prior(self.ridge * f, f)
        )
        theta, covariance = solve_ridge(gram[None, :], moment[None, :], prior)
        if self.second_sums:
            weigh_covariance(state.shared["faded"][None, :], prior, covariance)
        explained, total = theta[0] @ moment, state.sums["count"].sum()
        return {
            "theta": theta[0],
            "covariance": covariance[0],
            "factor": joint_factor(covariance[0], f),
            "noise": reward_noise(state.shared["square"], explained, total),
        }

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean θᵀφ and width √(φᵀA⁻¹φ) of every candidate, and what they share."""
        shared, size = posterior.shared, len(requests.rows)
        mean, sd = np.empty(size), np.empty(size)
        predict_joint(
            shared["theta"],
            shared["covariance"],
            requests.x,
            requests.z,
            *schema.cross,
            requests.offsets,
            mean,
            sd,
        )
        return self.belief(
            posterior,
            requests,
            mean=mean,
            sd=sd,
            noise=np.full(size, shared["noise"][0]),
            joint=Joint(features=lambda: join(requests, schema), factor=shared["factor"]),
        )


def check_item_columns(model: Model, schema: Schema) -> None:
    """Raise ``ConfigError`` when a schema tells nothing of items."""
    if not schema.item_columns:
        raise ConfigError(
            f"{type(model).__name__} learns from features of items and the schema has none, so "
            "that all items would be alike; declare features with of = 'item', and an interaction "
            "of each with a context feature whose value should change the order of items"
        )


def join(requests: Requests, schema: Schema) -> Floats:
    """Joint rows of every candidate, ``(offsets[-1], f)``."""
    out = np.empty((len(requests.rows), schema.sizes["f"]))
    join_rows(requests.x, requests.z, *schema.cross, requests.offsets, out)
    return out


def joint_factor(covariance: Floats, f: int) -> Floats:
    """Lower Cholesky factor ``(f, f)`` of a packed covariance; ``ShapeError`` when it has none."""
    factor = np.empty((f, f))
    if not factor_covariance(covariance, factor):
        raise ShapeError(
            "the coefficients' covariance is not positive definite; features may be too large: "
            "declare their center and scale"
        )
    return factor
