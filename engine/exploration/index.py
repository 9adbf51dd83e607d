"""Explorations that show the highest index left: greedy, epsilon-greedy and UCB.

Their propensities are exact: the highest index, ties shared equally, mixed with a uniform pick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.kernels.slates import draw_by_index, mark_greedy

__all__ = ["UCB", "Epsilon", "Greedy", "gather_slates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy:
    """The highest mean."""

    def check(self, family: str) -> None:
        """Any belief will do."""

    def draw(
        self, belief: Belief, requests: Requests, picks: Ints, *, seed: int, floor: float
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        return _draw(belief.mean, belief, requests, picks, seed=seed, mass=floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epsilon:
    """The highest mean, or with probability epsilon a uniform pick."""

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"epsilon is {self.epsilon}; give a probability, 0 to 1")

    def check(self, family: str) -> None:
        """Any belief will do."""

    def draw(
        self, belief: Belief, requests: Requests, picks: Ints, *, seed: int, floor: float
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        mass = 1.0 - (1.0 - floor) * (1.0 - self.epsilon)
        return _draw(belief.mean, belief, requests, picks, seed=seed, mass=mass)


@dataclass(frozen=True, slots=True, kw_only=True)
class UCB:
    """The highest mean + alpha · standard deviation (Li et al. 2010)."""

    alpha: float = 0.35

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ConfigError(f"alpha is {self.alpha}; give a number above 0")

    def check(self, family: str) -> None:
        """Any belief will do."""

    def draw(
        self, belief: Belief, requests: Requests, picks: Ints, *, seed: int, floor: float
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        index = belief.mean + self.alpha * belief.sd
        return _draw(index, belief, requests, picks, seed=seed, mass=floor)


def _draw(
    index: Floats, belief: Belief, requests: Requests, picks: Ints, *, seed: int, mass: float
) -> Slates:
    propensity = np.empty(picks.shape)
    draw_by_index(
        index,
        requests.offsets,
        requests.item_keys,
        requests.keys,
        np.uint64(seed),
        mass,
        picks,
        propensity,
    )
    return gather_slates(
        belief, requests, picks, propensity, error=np.zeros(picks.shape), method="exact"
    )


def gather_slates(
    belief: Belief,
    requests: Requests,
    picks: Ints,
    propensity: Floats,
    *,
    error: Floats,
    method: str,
) -> Slates:
    """Join picks and their propensities with their scores."""
    greedy = np.empty(picks.shape, dtype=np.bool_)
    mark_greedy(belief.mean, requests.offsets, picks, greedy)
    score = belief.mean[requests.offsets[:-1, None] + picks]
    return Slates(
        picks=picks, score=score, propensity=propensity, error=error, method=method, greedy=greedy
    )
