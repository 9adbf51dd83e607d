"""Sequential draw without replacement: each slot explores among the candidates left."""

from __future__ import annotations

from dataclasses import dataclass

from engine.batches import Belief, Ints, Requests, Slates
from engine.exploration.base import Exploration, Terms
from engine.features import Schema
from engine.slates.base import SlateRule, check_floor

__all__ = ["SequentialDraw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialDraw(SlateRule):
    """Slots are filled in order; with Thompson sampling this is in-slate Thompson."""

    floor: float = 0.02

    def __post_init__(self) -> None:
        check_floor(self.floor)

    def fill(
        self,
        exploration: Exploration,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        terms: Terms,
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        return exploration.draw(belief, requests, picks, terms)

    def draw(
        self,
        exploration: Exploration,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        seed: int,
        schema: Schema,
    ) -> Slates:
        """Fill ``picks``: all slots at once, for nothing comes between them."""
        terms = Terms(seed=seed, floor=self.floor)
        return self.fill(exploration, belief, requests, picks, terms)
