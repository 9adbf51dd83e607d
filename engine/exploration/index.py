"""Explorations that show the highest index left: greedy, epsilon-greedy and UCB.

Their propensities are exact: the highest index, ties shared equally, mixed with a uniform pick.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from engine.batches import Belief, Floats, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, Terms, gather_slates
from engine.kernels.slates import draw_by_index
from engine.models.base import Model

__all__ = ["UCB", "Epsilon", "Greedy", "Indexed", "check_spread"]


class Indexed(Exploration):
    """An exploration that shows the highest score left, scores that tie sharing equally."""

    @abstractmethod
    def score(self, belief: Belief) -> Floats:
        """What the choice maximises, ``(offsets[-1],)``."""

    def index(self, belief: Belief) -> Floats | None:
        """Return the score."""
        return self.score(belief)

    def uniform(self, belief: Belief, floor: float) -> float:
        """Return the probability of a uniform pick in place of the highest score."""
        return floor

    def draw(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        propensity = np.empty(picks.shape)
        mixed = replace(terms, floor=self.uniform(belief, terms.floor))
        draw_by_index(self.score(belief), *mixed.given(requests), picks, propensity)
        return gather_slates(belief, requests, picks, propensity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(Indexed):
    """The highest mean."""

    def score(self, belief: Belief) -> Floats:
        """Return the mean."""
        return belief.mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Epsilon(Indexed):
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

    # The mean alone is not what it chooses by.
    index = Exploration.index

    def score(self, belief: Belief) -> Floats:
        """Return the mean."""
        return belief.mean

    def uniform(self, belief: Belief, floor: float) -> float:
        """Return the probability of a uniform pick: the floor's or epsilon's."""
        epsilon = self.epsilon
        if self.half_outcomes:
            epsilon *= self.half_outcomes / (self.half_outcomes + belief.total)
        return 1.0 - (1.0 - floor) * (1.0 - epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class UCB(Indexed):
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

    def score(self, belief: Belief) -> Floats:
        """Return the upper bound."""
        return belief.mean + self.width * belief.sd


def check_spread(model: Model, what: str, instead: str) -> None:
    """Raise ``ConfigError`` when a model tells no uncertainty."""
    if model.traits.family == "mean" and not model.traits.replicated:
        raise ConfigError(
            f"{what} needs a spread, and {type(model).__name__} tells a mean alone: it would be "
            f"greedy; use {instead}"
        )
