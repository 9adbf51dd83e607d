"""Linear model whose columns each explain the reward by themselves: linear cost in columns.

Diag-LinUCB as published (Yi et al. 2023, arXiv 2307.15893) over dense rows, where `DiagonalLinear`
keeps a table of the few edges that were seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.features import Schema
from engine.kernels.linear import predict_diagonal
from engine.kernels.sums import add_rows, update_columns
from engine.models.base import Axes, Model, Traits
from engine.models.ridge import check_ridge, reward_noise
from engine.state import State

__all__ = ["ColumnwiseLinear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnwiseLinear(Model):
    """θ of an item's column is N(b / d, 1 / d) with d = ridge · columns + Σ w x², b = Σ w r x.

    The spread is too small and the mean too large where columns move together, an intercept
    included: each explains all of the reward. What is bought is speed, d in place of d²
    operations and numbers an item. Center features that are not.

    Parameters
    ----------
    ridge
        Prior precision of every coefficient, per column.
    """

    ridge: float = 0.01

    def __post_init__(self) -> None:
        check_ridge(self.ridge)

    @property
    def traits(self) -> Traits:
        """Independent normal beliefs from sums that add."""
        return Traits(family="normal")

    def axes(self) -> Axes:
        """Sums by item: outcomes, Σw r, Σw r², Σw x² and Σw r x."""
        return Axes(
            items={"count": (), "reward": (), "square": (), "precision": ("x",), "moment": ("x",)}
        )

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state. Rows enter as q x, see `DisjointLinear`."""
        sums, reward = state.sums, outcomes.reward
        add_rows(sums["count"], rows, weight)
        add_rows(sums["reward"], rows, weight * reward)
        add_rows(sums["square"], rows, weight * reward * reward)
        x = np.ascontiguousarray(outcomes.x * outcomes.examination[:, None])
        update_columns(sums["precision"], sums["moment"], rows, x, reward, weight)

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return θ and its variance, each ``(m, d)``, reward noise and count ``(m,)``."""
        variance = 1.0 / (self.ridge * sums["moment"].shape[1] + sums["precision"])
        count = sums["count"]
        own = np.divide(sums["reward"], count, out=np.zeros_like(count), where=count > 0.0)
        return {
            "theta": variance * sums["moment"],
            "variance": variance,
            "noise": reward_noise(sums["square"], own * sums["reward"], count),
            "count": count.copy(),
        }

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean θᵀx and width √(Σ v x²) of every candidate."""
        mean, sd = np.empty(len(requests.rows)), np.empty(len(requests.rows))
        arrays = posterior.arrays
        given = (requests.x, requests.offsets, requests.rows)
        predict_diagonal(arrays["theta"], arrays["variance"], *given, mean, sd)
        noise = arrays["noise"][requests.rows]
        return self.belief(posterior, requests, mean=mean, sd=sd, noise=noise)
