"""Groupwise linear model: ridge regression by item and group, weighted among groups.

Source: Acharya et al. 2024, "Oracle efficient algorithms for groupwise regret" (ICLR), with
AdaNormalHedge (Luo and Schapire 2015) as the algorithm for sleeping experts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError, suggest
from engine.features import Schema
from engine.kernels.groupwise import predict_groupwise, update_groupwise
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.models.linear import PRIOR_NOISE
from engine.models.ridge import flat_prior, solve_ridge
from engine.state import State

__all__ = ["GroupwiseLinear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupwiseLinear(Model):
    """Each item keeps a ridge regression for everyone, and one for every group on its own rounds.

    A prediction is the average of those of the groups that hold the context, by weights that grow
    with how much better than the average each predicted. Losses are squared, of predictions and
    rewards clipped to [low, high] and scaled to [0, 1]. On the rounds of any one group, the
    summed loss exceeds that of its own regression by at most

        √(3 C ln(B G)), with B = 1 + 3/2 · mean over groups of (1 + ln(1 + C)),

    G groups in all and C ≤ the group's rounds (Luo and Schapire 2015, theorem 1, for one expert
    and an even prior). That bounds how well shown items are *predicted* for every group, not the
    reward of the policy.

    Regrets move by one prediction an outcome, whatever the outcome's weight; the regressions are
    weighted. As everything here but the regressions depends on the order, one owner learns.

    Parameters
    ----------
    groups
        Columns of the context row, like ``device=ios``: a context is in the group when the entry
        is not 0. Groups may overlap; that of everyone is always there.
    low, high
        Range of the reward.
    """

    ridge: float = 0.01
    groups: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ridge) and self.ridge > 0):
            raise ConfigError(f"ridge is {self.ridge}; give a number above 0")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"low and high are {self.low} and {self.high}; give the range of the reward"
            )
        if len(set(self.groups)) != len(self.groups):
            raise ConfigError(f"groups are {self.groups}; give each once")

    @property
    def traits(self) -> Traits:
        """Normal beliefs of a model that learns in order.

        Regrets are sums of what was true when each outcome came: they neither add nor fade.
        """
        return Traits(family="normal", merging="refused", forgets=False)

    def check(self, schema: Schema) -> None:
        """Raise ``ConfigError`` when a group is no column of the context row."""
        for name in self.groups:
            if name not in schema.columns:
                raise ConfigError(
                    f"group {name!r} is no column of the context{suggest(name, schema.columns)}"
                )

    def axes(self) -> Axes:
        """Sums by item: outcomes, Σw r², and by group Σw x xᵀ, Σw r x, regret R and spread C."""
        g = 1 + len(self.groups)
        items = {"count": (), "square": (), "regret": (g,), "spread": (g,)}
        return Axes(items={**items, "gram": (g, "xx"), "moment": (g, "x")})

    def _places(self, schema: Schema) -> Ints:
        return np.array([schema.columns.index(name) for name in self.groups], dtype=np.int64)

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Predict, weigh and learn, one outcome after the other. Writes: state.

        With a chance q of being looked at, E[r] = q θᵀx: rows enter as q x.
        """
        sums, reward = state.sums, np.ascontiguousarray(outcomes.reward)
        add_rows(sums["count"], rows, weight)
        add_rows(sums["square"], rows, weight * reward * reward)
        update_groupwise(
            sums["gram"],
            sums["moment"],
            sums["regret"],
            sums["spread"],
            rows,
            np.ascontiguousarray(outcomes.x * outcomes.examination[:, None]),
            reward,
            np.ascontiguousarray(weight),
            self._places(schema),
            self.ridge * outcomes.x.shape[1],
            self.low,
            self.high,
        )

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return θ, covariance (packed), regret and spread by group, noise and count by item."""
        m, groups, d = sums["moment"].shape
        theta, covariance = solve_ridge(
            sums["gram"].reshape(m * groups, sums["gram"].shape[2]),
            sums["moment"].reshape(m * groups, d),
            flat_prior(self.ridge * d, d),
        )
        theta, covariance = theta.reshape(m, groups, d), covariance.reshape(sums["gram"].shape)
        explained = np.einsum("md,md->m", theta[:, 0], sums["moment"][:, 0])
        residual = np.maximum(sums["square"] - explained, 0.0)
        return {
            "theta": theta,
            "covariance": covariance,
            "regret": sums["regret"].copy(),
            "spread": sums["spread"].copy(),
            "noise": (PRIOR_NOISE + residual) / (1.0 + sums["count"]),
            "count": sums["count"].copy(),
        }

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Weighted predictions, and the same weights of the widths √(xᵀA⁻¹x).

        That is the standard deviation when the groups' errors move together, and above it when
        they do not. The noise is that about the regression for everyone.
        """
        arrays, size = posterior.arrays, len(requests.rows)
        mean, sd = np.empty(size), np.empty(size)
        predict_groupwise(
            arrays["theta"],
            arrays["covariance"],
            arrays["regret"],
            arrays["spread"],
            requests.x,
            requests.offsets,
            requests.rows,
            self._places(schema),
            self.low,
            self.high,
            mean,
            sd,
        )
        noise = arrays["noise"][requests.rows]
        return self.belief(posterior, requests, mean=mean, sd=sd, noise=noise)
