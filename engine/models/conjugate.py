"""Conjugate models: the reward of an item by itself, blind to context; chances and counts.

Each keeps a few sums an item, whose priors enter when beliefs are derived. With ``group`` set,
an item's prior is its group's, see `engine.models.groups`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.models.groups import add_groups, check_group, group_levels, pool_items
from engine.state import State

__all__ = ["BetaBernoulli", "Conjugate", "GammaPoisson", "check_above", "divide_sums"]

Sums = dict[str, Floats]

LEAST = 1e-6  # of a prior: quadrature of beliefs of less evidence is not stated


@dataclass(frozen=True, slots=True, kw_only=True)
class Conjugate(Model):
    """What the conjugate models share.

    Parameters
    ----------
    group
        A categorical item feature whose values share a prior; empty: every item has the prior of
        the settings.
    """

    group: str = ""

    def check(self, schema: Schema) -> None:
        """Refuse a group that the schema does not declare."""
        check_group(self.group, schema)

    def grouped(self, names: tuple[str, ...]) -> Axes:
        """Axes of the named sums by item, and of the weight by group where there are groups."""
        items: dict[str, tuple[int | str, ...]] = dict.fromkeys(names, ())
        return Axes(items=items | {"group": ("z",)} if self.group else items)

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state."""
        sums = state.sums
        for name, values in self.statistics(outcomes).items():
            add_rows(sums[name], rows, weight * values)
        if self.group:
            add_groups(sums["group"], rows, outcomes.z, weight, self.group, schema)

    def derive(self, sums: Sums, state: State, schema: Schema) -> Sums:
        """Return the parameters and count of every item, each ``(m,)``."""
        prior = self.priors(state, schema)
        level = np.zeros(len(sums["count"]), dtype=np.int64)
        if self.group:
            level = group_levels(sums["group"], self.group, schema)
        found = self.condition(sums, {name: values[level] for name, values in prior.items()})
        return found | {"count": sums["count"].copy()}

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Parameters of an item not seen yet, by level: the population, then every group."""
        if not self.group:
            return {}
        prior = self.priors(state, schema)
        levels = len(next(iter(prior.values())))
        nothing = {name: np.zeros(levels) for name in self.axes().items if name != "group"}
        return dict(self.condition(nothing, prior))

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean and standard deviation of the mean reward of every candidate."""
        names = [name for name in posterior.arrays if name != "count"]
        parameters = {name: posterior.arrays[name][requests.rows] for name in names}
        # Without outcomes an item has told no group, but those who ask may.
        fresh = np.flatnonzero(posterior.arrays["count"][requests.rows] == 0.0)
        if self.group and len(fresh) and requests.z.shape[1]:
            level = group_levels(requests.z[fresh], self.group, schema)
            for name in names:
                parameters[name][fresh] = posterior.shared[name][level]
        return self.belief(posterior, requests, **self.moments(parameters))

    def priors(self, state: State, schema: Schema) -> Sums:
        """Hyperparameters by level: those of the settings, or estimated from the items' sums."""
        if not self.group:
            return {name: np.array([value]) for name, value in self.settings().items()}
        level = group_levels(state.sums["group"], self.group, schema)
        return self.pool(state.sums, level, len(schema.places(self.group)))

    @abstractmethod
    def statistics(self, outcomes: Outcomes) -> Sums:
        """What an outcome of weight 1 adds to each sum, ``(n,)``."""

    @abstractmethod
    def settings(self) -> dict[str, float]:
        """Hyperparameters of the settings."""

    @abstractmethod
    def pool(self, sums: Sums, level: Ints, groups: int) -> Sums:
        """Hyperparameters by level, each ``(groups + 1,)``, estimated from all items' sums."""

    @abstractmethod
    def condition(self, sums: Sums, prior: Sums) -> Sums:
        """Parameters of items from their sums and hyperparameters, all ``(m,)``."""

    @abstractmethod
    def moments(self, parameters: Sums) -> Sums:
        """``mean``, ``sd``, ``a`` and ``b`` of a `Belief` from parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaBernoulli(Conjugate):
    """The mean reward of an item is Beta(prior_a + Σ w r, prior_b + Σ w (1 - r)).

    Rewards are read as chances of success: below 0 counts as 0, above 1 as 1. An outcome looked
    at with chance q counts as q trials.
    """

    prior_a: float = 1.0
    prior_b: float = 1.0

    def __post_init__(self) -> None:
        check_above(prior_a=self.prior_a, prior_b=self.prior_b)

    @property
    def traits(self) -> Traits:
        """Independent beta beliefs from sums that add."""
        return Traits(family="beta", pooled=bool(self.group), reads_ids=True)

    def axes(self) -> Axes:
        """Sums by item: weight of the outcomes, and of the successes among them."""
        return self.grouped(("count", "success"))

    def statistics(self, outcomes: Outcomes) -> Sums:
        """A trial, and the success in it."""
        return {"count": outcomes.examination, "success": np.clip(outcomes.reward, 0.0, 1.0)}

    def settings(self) -> dict[str, float]:
        """Return the pseudo-successes and pseudo-failures."""
        return {"a": self.prior_a, "b": self.prior_b}

    def pool(self, sums: Sums, level: Ints, groups: int) -> Sums:
        """Beta(a, b) of a level: its spread is 1 / (1 + a + b), the intraclass correlation."""
        worth = self.prior_a + self.prior_b
        rate = np.minimum(divide_sums(sums["success"], sums["count"]), 1.0)
        mean, spread = pool_items(
            sums["count"],
            rate,
            level,
            groups,
            prior_mean=self.prior_a / worth,
            prior_spread=1.0 / (1.0 + worth),
            prior_weight=worth,
            variance=lambda mean: mean * (1.0 - mean),
            bounded=True,
        )
        # Few items of a rare reward can seem more spread than chances can be.
        weight = 1.0 / np.minimum(spread, 1.0 / (1.0 + min(worth, 1.0))) - 1.0
        return {"a": weight * mean, "b": weight * (1.0 - mean)}

    def condition(self, sums: Sums, prior: Sums) -> Sums:
        """Return a and b of Beta(a, b)."""
        failure = np.maximum(sums["count"] - sums["success"], 0.0)
        return {"a": prior["a"] + sums["success"], "b": prior["b"] + failure}

    def moments(self, parameters: Sums) -> Sums:
        """Return the moments of Beta(a, b)."""
        a, b = parameters["a"], parameters["b"]
        total = a + b
        sd = np.sqrt(a * b / (total * total * (total + 1.0)))
        return {"mean": a / total, "sd": sd, "a": a, "b": b}


@dataclass(frozen=True, slots=True, kw_only=True)
class GammaPoisson(Conjugate):
    """Rewards are counts with rate λ ~ Gamma(shape prior_a + Σ w r, rate prior_b + Σ w).

    Counts below 0 count as 0. An outcome looked at with chance q is q of an exposure.
    """

    prior_a: float = 1.0
    prior_b: float = 1.0

    def __post_init__(self) -> None:
        check_above(prior_a=self.prior_a, prior_b=self.prior_b)

    @property
    def traits(self) -> Traits:
        """Independent gamma beliefs from sums that add."""
        return Traits(family="gamma", pooled=bool(self.group), reads_ids=True)

    def axes(self) -> Axes:
        """Sums by item: exposure, and what was counted in it."""
        return self.grouped(("count", "reward"))

    def statistics(self, outcomes: Outcomes) -> Sums:
        """An exposure, and the count in it."""
        return {"count": outcomes.examination, "reward": np.maximum(outcomes.reward, 0.0)}

    def settings(self) -> dict[str, float]:
        """Return the pseudo-count and pseudo-exposure."""
        return {"a": self.prior_a, "b": self.prior_b}

    def pool(self, sums: Sums, level: Ints, groups: int) -> Sums:
        """Gamma(a, b) of a level: variance between over variance within is 1 / b."""
        mean, spread = pool_items(
            sums["count"],
            divide_sums(sums["reward"], sums["count"]),
            level,
            groups,
            prior_mean=self.prior_a / self.prior_b,
            prior_spread=1.0 / self.prior_b,
            prior_weight=self.prior_b,
            variance=lambda mean: mean,
        )
        return {"a": mean / spread, "b": 1.0 / spread}

    def condition(self, sums: Sums, prior: Sums) -> Sums:
        """Return shape a and rate b."""
        return {"a": prior["a"] + sums["reward"], "b": prior["b"] + sums["count"]}

    def moments(self, parameters: Sums) -> Sums:
        """Return the moments of Gamma(shape a, rate b)."""
        a, b = parameters["a"], parameters["b"]
        return {"mean": a / b, "sd": np.sqrt(a) / b, "a": a, "b": b}


def divide_sums(above: Floats, below: Floats) -> Floats:
    """Quotients of sums, 0 where nothing was summed."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)


def check_above(**given: float) -> None:
    """Raise ``ConfigError`` unless all of the named settings are finite and `LEAST` or more."""
    if not all(math.isfinite(value) and value >= LEAST for value in given.values()):
        names, values = ", ".join(given), tuple(given.values())
        raise ConfigError(f"{names} are {values}; give numbers above 0, {LEAST:g} or more")
