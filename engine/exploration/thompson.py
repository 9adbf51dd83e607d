"""Thompson sampling with a fresh draw of every candidate for every slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, gather_slates
from engine.kernels.slates import draw_by_belief
from engine.kernels.thompson import integrate_wins
from engine.models.base import Model

__all__ = ["QUADRATURE_BOUND", "Thompson"]

QUADRATURE_BOUND = 1e-6
"""Largest absolute error of a probability by quadrature, tested over eight decades of spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thompson(Exploration):
    """Each slot draws every candidate left from its belief and shows the highest.

    Candidates' beliefs are independent, so propensities come from one-dimensional quadrature.

    Parameters
    ----------
    alpha
        Scales the standard deviation of normal beliefs; Beta beliefs are drawn as they are.
    """

    alpha: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ConfigError(f"alpha is {self.alpha}; give a number above 0")

    def check(self, model: Model) -> None:
        """Refuse beliefs whose distribution is not known here."""
        traits = model.traits
        if traits.family not in {"normal", "beta"} or traits.correlated:
            raise ConfigError(
                f"Thompson sampling cannot state propensities for {traits.family!r} beliefs of "
                f"{type(model).__name__}; use a model with independent normal or beta beliefs, "
                "or another exploration"
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
        beta = belief.family == "beta"
        p, q = (belief.a, belief.b) if beta else (belief.mean, self.alpha * belief.sd)
        keys = (requests.offsets, requests.item_keys, requests.keys, np.uint64(seed))
        draw_by_belief(beta, p, q, *keys, slot, floor, picks)
        wins = np.empty(picks.shape)
        integrate_wins(beta, p, q, requests.offsets, picks, wins)
        error = np.full(picks.shape, (1.0 - floor) * QUADRATURE_BOUND)
        left = np.diff(requests.offsets)[:, None] - np.arange(picks.shape[1])
        wins[left == 1], error[left == 1] = 1.0, 0.0
        propensity = (1.0 - floor) * wins + floor / left
        return gather_slates(belief, requests, picks, propensity, method="quadrature", error=error)
