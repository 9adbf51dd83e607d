"""Clicks: each item's log-odds are linear in the context."""

from __future__ import annotations

import numpy as np

from engine.features import Numeric, Schema
from simulator.worlds.drawn import BLOCK, Drawn, DrawnWorld, sigmoid

__all__ = ["Logistic"]

CLIP = 5.0
PARAMETERS = 103


class Logistic(DrawnWorld):
    """Contexts x ~ N(0, I), clipped at ±5; a click with chance sigmoid(base + appeal + θᵀx).

    Parameters
    ----------
    features, items
        Columns of x besides the intercept, and number of items.
    base
        Log-odds of a click on a usual item in a usual context.
    spread
        Standard deviation of θᵀx; an item's appeal ~ N(0, (spread / 2)²).
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        features: int = 5,
        items: int = 10,
        base: float = -2.0,
        spread: float = 1.5,
    ) -> None:
        schema = Schema(features=tuple(Numeric(name=f"x{i}", clip=CLIP) for i in range(features)))
        super().__init__(schema, items, seed=seed)
        rng = np.random.default_rng([seed, PARAMETERS])
        self.theta = spread / np.sqrt(features) * rng.normal(size=(items, features))
        self.appeal = base + spread / 2 * rng.normal(size=items)

    def draw(self, first: int, rng: np.random.Generator) -> Drawn:  # noqa: ARG002
        """Draw contexts, and whether each item would be clicked."""
        x = np.ones((BLOCK, len(self.schema.columns)))
        x[:, 1:] = np.clip(rng.normal(size=(BLOCK, self.theta.shape[1])), -CLIP, CLIP)
        truth = sigmoid(self.appeal + x[:, 1:] @ self.theta.T)
        return Drawn(x, truth, (rng.random(truth.shape) < truth).astype(np.float64))
