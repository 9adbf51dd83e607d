"""Sequential draw without replacement: each slot explores among the candidates left."""

from __future__ import annotations

from dataclasses import dataclass

from engine.batches import Belief, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.policy import Exploration

__all__ = ["SequentialDraw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialDraw:
    """Slots are filled in order.

    Parameters
    ----------
    floor
        Probability mass of each slot shared evenly by the candidates left to it, so that none
        is impossible: with m left, each has probability ``floor / m`` or more.
    """

    floor: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor is {self.floor}; give a probability, 0 to 1")

    def check(self, exploration: Exploration, family: str) -> None:
        """Raise ``ConfigError`` when the lists' propensities could not be stated."""
        exploration.check(family)

    def draw(
        self, exploration: Exploration, belief: Belief, requests: Requests, picks: Ints, seed: int
    ) -> Slates:
        """Fill ``picks`` (-1: draw; else: taken as given) and state each one's propensity."""
        return exploration.draw(belief, requests, picks, seed=seed, floor=self.floor)
