"""Explorations that show the highest index left: greedy, epsilon-greedy and UCB.

Their propensities are exact: the highest index, ties shared equally, mixed with a uniform pick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, gather_slates
from engine.kernels.slates import draw_by_index
from engine.models.base import Model

__all__ = ["UCB", "Epsilon", "Greedy", "check_spread", "draw_highest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(Exploration):
    """The highest mean."""

    def index(self, belief: Belief) -> Floats:
        """Return the mean."""
        return belief.mean

    def draw(
        self,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        *,
        seed: int,
        floor: float,
        slot: int = 0,
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        return draw_highest(belief.mean, belief, requests, picks, seed=seed, mass=floor, slot=slot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epsilon(Exploration):
    """The highest mean, or with probability epsilon a uniform pick.

    Parameters
    ----------
    epsilon
        The probability at the start.
    half_outcomes
        After this many outcomes it is half as large, after twice as many a third, and so on;
        0 keeps it as it is.
    """

    epsilon: float = 0.1
    half_outcomes: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"epsilon is {self.epsilon}; give a probability, 0 to 1")
        if not 0 <= self.half_outcomes < np.inf:
            raise ConfigError(
                f"half_outcomes is {self.half_outcomes}; give 0 (no decay) or a number above it"
            )

    def draw(
        self,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        *,
        seed: int,
        floor: float,
        slot: int = 0,
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        epsilon = self.epsilon
        if self.half_outcomes:
            epsilon *= self.half_outcomes / (self.half_outcomes + belief.total)
        mass = 1.0 - (1.0 - floor) * (1.0 - epsilon)
        return draw_highest(belief.mean, belief, requests, picks, seed=seed, mass=mass, slot=slot)


@dataclass(frozen=True, slots=True, kw_only=True)
class UCB(Exploration):
    """The highest mean + alpha · standard deviation.

    Parameters
    ----------
    alpha
        Width of the bound, in standard deviations of rewards of unit noise.
    delta
        When above 0, alpha is ``1 + √(ln(2 / delta) / 2)``, with which the bound fails with
        probability at most delta for rewards in [0, 1]. Source: Li et al. 2010, equation 4.
    """

    alpha: float = 0.35
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ConfigError(f"alpha is {self.alpha}; give a number above 0")
        if not 0 <= self.delta < 1:
            raise ConfigError(f"delta is {self.delta}; give a probability below 1, 0 to use alpha")

    def check(self, model: Model) -> None:
        """Refuse beliefs without spread."""
        check_spread(model, "ucb", "greedy, epsilon, softmax or squarecb")

    @property
    def width(self) -> float:
        """Standard deviations added to the mean."""
        return 1.0 + math.sqrt(math.log(2.0 / self.delta) / 2.0) if self.delta else self.alpha

    def index(self, belief: Belief) -> Floats:
        """Return the upper bound."""
        return belief.mean + self.width * belief.sd

    def draw(
        self,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        *,
        seed: int,
        floor: float,
        slot: int = 0,
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        index = self.index(belief)
        return draw_highest(index, belief, requests, picks, seed=seed, mass=floor, slot=slot)


def check_spread(model: Model, what: str, instead: str) -> None:
    """Raise ``ConfigError`` when a model tells no uncertainty."""
    if model.traits.family == "mean" and not model.traits.replicated:
        raise ConfigError(
            f"{what} needs a spread, and {type(model).__name__} tells a mean alone: it would be "
            f"greedy; use {instead}"
        )


def draw_highest(
    index: Floats,
    belief: Belief,
    requests: Requests,
    picks: Ints,
    *,
    seed: int,
    mass: float,
    slot: int,
) -> Slates:
    """Fill ``picks`` with the highest index left, or with probability ``mass`` a uniform pick."""
    propensity = np.empty(picks.shape)
    draw_by_index(
        index,
        requests.offsets,
        requests.item_keys,
        requests.keys,
        np.uint64(seed),
        slot,
        mass,
        picks,
        propensity,
    )
    return gather_slates(belief, requests, picks, propensity)
