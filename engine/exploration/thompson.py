"""Thompson sampling with a fresh draw of every candidate for every slot.

Propensities of normal beliefs come from quadrature with a stated bound, those of Beta beliefs
from Monte Carlo with a standard error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.index import gather_slates
from engine.kernels.slates import draw_by_belief
from engine.kernels.thompson import estimate_beta_wins, integrate_normal_wins

__all__ = ["QUADRATURE_BOUND", "Thompson"]


QUADRATURE_BOUND = 1e-6
"""Largest absolute error of a probability by quadrature, tested over eight decades of spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thompson:
    """Each slot draws every candidate left from its belief and shows the highest.

    Parameters
    ----------
    alpha
        Scales the standard deviation of normal beliefs; Beta beliefs are drawn as they are.
    draws
        Joint draws a slate's Monte Carlo propensities are estimated from, for Beta beliefs.
    """

    alpha: float = 0.25
    draws: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ConfigError(f"alpha is {self.alpha}; give a number above 0")
        if self.draws < 1:
            raise ConfigError(f"draws is {self.draws}; give 1 or more")

    def check(self, family: str, floor: float) -> None:
        """Refuse a Monte Carlo estimate that could state probability 0 for an item shown."""
        if family == "beta" and floor <= 0:
            raise ConfigError(
                "Thompson sampling from Beta beliefs estimates its propensities by Monte Carlo, "
                "which can give 0 for an item that was shown; set a floor above 0"
            )

    def draw(
        self, belief: Belief, requests: Requests, picks: Ints, *, seed: int, floor: float
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        wins = np.empty(picks.shape)
        keys = (requests.offsets, requests.item_keys, requests.keys, np.uint64(seed))
        if belief.family == "beta":
            draw_by_belief(True, belief.a, belief.b, *keys, floor, picks)
            estimate_beta_wins(belief.a, belief.b, *keys, self.draws, picks, wins)
            error = np.sqrt(wins * (1.0 - wins) / self.draws)
            method = "monte_carlo"
        else:
            sd = self.alpha * belief.sd
            draw_by_belief(False, belief.mean, sd, *keys, floor, picks)
            integrate_normal_wins(belief.mean, sd, requests.offsets, picks, wins)
            error = np.full(picks.shape, QUADRATURE_BOUND)
            method = "quadrature"
        left = np.diff(requests.offsets)[:, None] - np.arange(picks.shape[1])
        wins[left == 1], error[left == 1] = 1.0, 0.0
        propensity = (1.0 - floor) * wins + floor / left
        error = (1.0 - floor) * error
        return gather_slates(belief, requests, picks, propensity, error=error, method=method)
