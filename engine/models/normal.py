"""Normal model of an item's reward, mean and noise unknown, blind to context."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Floats, Ints, Outcomes
from engine.errors import ConfigError
from engine.models.base import Axes, Traits
from engine.models.conjugate import Conjugate, check_above, divide_sums
from engine.models.groups import pool_items

__all__ = ["NormalInverseGamma"]

Sums = dict[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalInverseGamma(Conjugate):
    """Rewards are N(μ, σ²), both unknown: σ² is inverse gamma, μ given it N(mean, σ² / weight).

    The belief of μ is Student's t with ``2 · shape`` degrees of freedom. An outcome looked at
    with chance q has expected reward q μ. Source: Murphy 2007, "Conjugate Bayesian analysis of the
    Gaussian distribution", section 6.

    Parameters
    ----------
    prior_mean, prior_weight
        Reward expected of an item, and how many outcomes that is worth.
    prior_shape, prior_scale
        Of σ², expected to be ``prior_scale / (prior_shape - 1)``: the shape must be above 1.
    """

    prior_mean: float = 0.0
    prior_weight: float = 1.0
    prior_shape: float = 2.0
    prior_scale: float = 0.25

    def __post_init__(self) -> None:
        check_above(prior_weight=self.prior_weight, prior_scale=self.prior_scale)
        if not (math.isfinite(self.prior_shape) and self.prior_shape > 1):
            raise ConfigError(
                f"prior_shape is {self.prior_shape}; give a number above 1, for with less the "
                "noise has no expected variance"
            )
        if not math.isfinite(self.prior_mean):
            raise ConfigError(f"prior_mean is {self.prior_mean}; give a finite number")

    @property
    def traits(self) -> Traits:
        """Independent Student-t beliefs from sums that add."""
        return Traits(family="student", pooled=bool(self.group), reads_ids=True)

    def axes(self) -> Axes:
        """Sums by item: outcomes Σw, Σw q², Σw q r and Σw r²."""
        return self.grouped(("count", "precision", "moment", "square"))

    def statistics(self, outcomes: Outcomes) -> Sums:
        """Add one row of the regression of r on q."""
        q, reward = outcomes.examination, outcomes.reward
        return {
            "count": np.ones(len(reward)),
            "precision": q * q,
            "moment": q * reward,
            "square": reward * reward,
        }

    def settings(self) -> dict[str, float]:
        """Return mean, weight, shape and scale."""
        return {
            "mean": self.prior_mean,
            "weight": self.prior_weight,
            "shape": self.prior_shape,
            "scale": self.prior_scale,
        }

    def pool(self, sums: Sums, level: Ints, groups: int) -> Sums:
        """Mean and weight of a level; the noise σ² is one for all items."""
        within, _ = _residual(sums)
        freedom = np.maximum(sums["count"] - 1.0, 0.0).sum()
        shape, scale = self.prior_shape, self.prior_scale
        noise = (scale + 0.5 * within.sum()) / (shape - 1.0 + 0.5 * freedom)
        mean, spread = pool_items(
            sums["precision"],
            divide_sums(sums["moment"], sums["precision"]),
            level,
            groups,
            prior_mean=self.prior_mean,
            prior_spread=1.0 / self.prior_weight,
            prior_weight=self.prior_weight,
            variance=lambda mean: np.full(len(mean), noise),
        )
        same = np.ones(groups + 1)
        return {
            "mean": mean,
            "weight": 1.0 / spread,
            "shape": shape * same,
            "scale": noise * (shape - 1.0) * same,
        }

    def condition(self, sums: Sums, prior: Sums) -> Sums:
        """Degrees of freedom a, location and scale b of the t of μ."""
        residual, own = _residual(sums)
        weight = prior["weight"] + sums["precision"]
        mean = (prior["weight"] * prior["mean"] + sums["moment"]) / weight
        apart = prior["weight"] * sums["precision"] / weight * (own - prior["mean"]) ** 2
        shape = prior["shape"] + 0.5 * sums["count"]
        scale = prior["scale"] + 0.5 * (residual + apart)
        return {"a": 2.0 * shape, "mean": mean, "b": np.sqrt(scale / (shape * weight))}

    def moments(self, parameters: Sums) -> Sums:
        """Return the moments of Student's t."""
        a, b = parameters["a"], parameters["b"]
        return {"mean": parameters["mean"], "sd": b * np.sqrt(a / (a - 2.0)), "a": a, "b": b}


def _residual(sums: Sums) -> tuple[Floats, Floats]:
    """Squared deviations of every item's rewards from their own mean, and that mean."""
    own = divide_sums(sums["moment"], sums["precision"])
    return np.maximum(sums["square"] - own * sums["moment"], 0.0), own
