"""Slates whose lower slots are seen less: clicks do not tell an item's worth by themselves.

In both worlds a visitor of one of two segments is attracted by an item with a chance of the
pair's own. Source: Craswell et al. 2008, "An experimental comparison of click position-bias
models": the examination hypothesis, and the cascade model.
"""

from __future__ import annotations

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from engine.features import Categorical, Schema
from simulator.worlds.base import Visit
from simulator.worlds.drawn import BLOCK, Drawn, DrawnWorld

__all__ = ["Cascade", "PositionBiased"]

SEGMENTS = ("new", "old")
PARAMETERS, LOOKS = 107, 108


class _Attraction(DrawnWorld):
    """Chances of attraction, ``(2, items)``, uniform between ``low`` and ``high``."""

    def __init__(self, *, seed: int, items: int, low: float, high: float) -> None:
        if not 0 <= low < high <= 1:
            raise ConfigError(f"low and high are {low} and {high}; give chances, low below high")
        schema = Schema(features=(Categorical(name="segment", values=SEGMENTS),))
        super().__init__(schema, items, seed=seed)
        rng = np.random.default_rng([seed, PARAMETERS])
        self.attraction = rng.uniform(low, high, size=(len(SEGMENTS), items))

    def draw(self, first: int, rng: np.random.Generator) -> Drawn:  # noqa: ARG002
        """Draw segments, and whether each item would attract."""
        segment = rng.integers(len(SEGMENTS), size=BLOCK)
        x = np.ones((BLOCK, len(self.schema.columns)))
        x[:, 1:] = np.eye(len(SEGMENTS))[segment]
        truth = self.attraction[segment]
        return Drawn(x, truth, (rng.random(truth.shape) < truth).astype(np.float64))


class PositionBiased(_Attraction):
    """A slot is looked at with a chance of its own, and clicked when its item attracts.

    Parameters
    ----------
    looks
        Chance that each slot is looked at, in order; the first must be 1.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        items: int = 12,
        looks: tuple[float, ...] = (1.0, 0.6, 0.4, 0.25),
        low: float = 0.05,
        high: float = 0.5,
    ) -> None:
        if not looks or looks[0] != 1 or not all(0 < look <= 1 for look in looks):
            raise ConfigError(f"looks are {looks}; give chances above 0, the first of them 1")
        self.slots = len(looks)
        self.looks = np.array(looks)
        super().__init__(seed=seed, items=items, low=low, high=high)

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:
        """1 for every slot that is looked at and whose item attracts."""
        drawn = np.random.default_rng([self.seed, LOOKS, t]).random(len(picks))
        looked = (drawn < self.looks[: len(picks)]).astype(np.float64)
        return super().rewards(t, visit, picks) * looked

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Expected clicks of a slate."""
        return float(visit.truth[picks] @ self.looks[: len(picks)])


class Cascade(_Attraction):
    """A slate is read from the top until an item attracts; that one is clicked."""

    def __init__(
        self,
        *,
        seed: int = 0,
        items: int = 12,
        slots: int = 4,
        low: float = 0.05,
        high: float = 0.5,
    ) -> None:
        self.slots = slots
        super().__init__(seed=seed, items=items, low=low, high=high)

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:
        """1 for the first slot whose item attracts."""
        attracted = super().rewards(t, visit, picks)
        return np.asarray(attracted * (np.cumsum(attracted) == 1))

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Chance of a click."""
        return float(1.0 - np.prod(1.0 - visit.truth[picks]))
