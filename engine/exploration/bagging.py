"""Bagging: each slot shows the best of one bootstrap replica of the model, drawn afresh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, Terms, gather_slates
from engine.kernels.explore import draw_by_replicas
from engine.models.base import Model

__all__ = ["Bagging"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bagging(Exploration):
    """A candidate's probability is the share of replicas that rank it first of those left.

    Exact, by counting; ties within a replica are shared. One replica for a whole slate would tie
    its slots together and is no setting. Source: Agarwal et al. 2014, "Taming the monster".
    """

    def check(self, model: Model) -> None:
        """Refuse models without replicas."""
        if not model.traits.replicated:
            raise ConfigError(
                f"bagging needs bootstrap replicas, which {type(model).__name__} does not keep; "
                "use a bootstrap model, or Thompson sampling on this one"
            )

    def draw(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        propensity = np.empty(picks.shape)
        replicas = np.ascontiguousarray(belief.replicas)
        draw_by_replicas(replicas, *terms.given(requests), picks, propensity)
        return gather_slates(belief, requests, picks, propensity)
