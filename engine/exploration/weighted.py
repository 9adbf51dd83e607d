"""Explorations that state the probability of every candidate outright.

Probabilities are recomputed on the candidates left to each slot, so they are exact conditionals.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, Terms, gather_slates
from engine.exploration.index import check_spread
from engine.kernels.explore import SOFTMAX, TOP, draw_by_weights
from engine.models.base import Model

__all__ = ["Softmax", "TopM", "Weighted", "draw_weighted"]


class Weighted(Exploration):
    """An exploration whose probabilities are a function of one score a candidate."""

    @abstractmethod
    def weights(self, belief: Belief) -> tuple[int, Floats, float]:
        """Kind of `draw_by_weights`, scores ``(offsets[-1],)`` and sharpness."""

    def draw(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        return draw_weighted(self.weights(belief), belief, requests, picks, terms)


def draw_weighted(
    weights: tuple[int, Floats, float],
    belief: Belief,
    requests: Requests,
    picks: Ints,
    terms: Terms,
) -> Slates:
    """Fill ``picks`` from the probabilities that `Weighted.weights` give."""
    kind, score, sharpness = weights
    propensity = np.empty(picks.shape)
    score = np.ascontiguousarray(score)
    draw_by_weights(kind, score, sharpness, *terms.given(requests), picks, propensity)
    return gather_slates(belief, requests, picks, propensity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Weighted):
    """Candidates in proportion to ``exp(mean / temperature)``: Boltzmann exploration.

    Parameters
    ----------
    temperature
        In units of reward: a mean that much higher is e times as likely.
    """

    temperature: float = 0.05

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def weights(self, belief: Belief) -> tuple[int, Floats, float]:
        """Means, sharpened by the inverse temperature."""
        return SOFTMAX, belief.mean, 1.0 / self.temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class TopM(Weighted):
    """A uniform pick of the m candidates with the highest mean + alpha · standard deviation.

    Spreads traffic while feedback is late and the bounds stand still. Source of the use:
    "Online Matching", arXiv 2307.15893.

    Parameters
    ----------
    m
        How many share a slot; all candidates do when fewer are left. Those that tie for the last
        places have equal parts of them.
    alpha
        Width of the bound, in standard deviations of rewards of unit noise; 0 ranks by the mean.
    """

    m: int = 5
    alpha: float = 0.35

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ConfigError(f"m is {self.m}; give 1 or more")
        if not 0 <= self.alpha < np.inf:
            raise ConfigError(f"alpha is {self.alpha}; give 0 (the mean) or a number above it")

    def check(self, model: Model) -> None:
        """Refuse a bound on beliefs without spread."""
        if self.alpha:
            check_spread(model, "top-m with alpha above 0", "alpha=0")

    def weights(self, belief: Belief) -> tuple[int, Floats, float]:
        """Return upper bounds, or means."""
        # 0 · infinity is no number: edges that nothing is known of have an infinite spread.
        bound = belief.mean + self.alpha * belief.sd if self.alpha else belief.mean
        return TOP, bound, float(self.m)


def check_temperature(temperature: float) -> None:
    """Raise ``ConfigError`` when a temperature is not a number above 0."""
    if not (0 < temperature < np.inf and math.isfinite(1.0 / temperature)):
        raise ConfigError(f"temperature is {temperature}; give a number above 0")
