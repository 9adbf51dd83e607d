"""What an exploration is: how beliefs become choices, and the probability of each choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.batches import Belief, Floats, Ints, Keys, Requests, Slates
from engine.kernels.slates import mark_greedy
from engine.models.base import Model

__all__ = ["Exploration", "Method", "Terms", "gather_slates"]

Method = Literal["exact", "quadrature", "monte_carlo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What draws are under, besides the beliefs.

    Attributes
    ----------
    floor
        Probability mass of each slot shared evenly by the candidates left to it.
    slot
        Number of the first slot drawn: random numbers are hashed of the slot, so filling a slate
        at once or slot by slot draws the same.
    """

    seed: int
    floor: float
    slot: int = 0

    def given(self, requests: Requests) -> tuple[Ints, Keys, Keys, np.uint64, int, float]:
        """What every drawing kernel takes before the picks."""
        seed = np.uint64(self.seed)
        return requests.offsets, requests.item_keys, requests.keys, seed, self.slot, self.floor


class Exploration(ABC):
    """How beliefs become choices. Subclasses are frozen dataclasses of hyperparameters."""

    @property
    def slotwise(self) -> bool:
        """Whether a slot's choice depends on the slots before it by what they took alone."""
        return True

    def check(self, model: Model) -> None:  # noqa: B027
        """Raise ``ConfigError`` when propensities cannot be stated for a model's beliefs."""

    def method(self, model: Model) -> Method:
        """How propensities over a model's beliefs are got."""
        return "exact"

    def shifts(self, model: Model) -> bool:
        """Whether adding to the means of a model's beliefs moves the choices by as much."""
        return True

    @abstractmethod
    def draw(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        """Fill ``picks`` ``(n, k)`` (-1: draw; else: taken as given) and state propensities.

        Writes: picks.
        """

    def index(self, belief: Belief) -> Floats | None:
        """Score that the choice maximises, ``(offsets[-1],)``; None when it is not by a score."""
        return None


def gather_slates(
    belief: Belief,
    requests: Requests,
    picks: Ints,
    propensity: Floats,
    *,
    method: str = "exact",
    error: Floats | None = None,
    recurrence: Ints | None = None,
) -> Slates:
    """Join picks and their propensities with their scores."""
    greedy = np.empty(picks.shape, dtype=np.bool_)
    mark_greedy(belief.mean, requests.offsets, picks, greedy)
    return Slates(
        picks=picks,
        score=belief.mean[requests.offsets[:-1, None] + picks],
        propensity=propensity,
        error=np.zeros(picks.shape) if error is None else error,
        method=method,
        greedy=greedy,
        recurrence=np.zeros(picks.shape, dtype=np.int64) if recurrence is None else recurrence,
    )
