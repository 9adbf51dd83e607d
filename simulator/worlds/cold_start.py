"""A catalogue in motion: items come and go, and what they are says something of their value."""

from __future__ import annotations

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from engine.features import Interaction, Numeric, Schema
from simulator.worlds.drawn import BLOCK, Drawn, DrawnWorld, sigmoid

__all__ = ["ColdStart"]

CLIP = 5.0
PARAMETERS = 106


class ColdStart(DrawnWorld):
    """Contexts x ~ N(0, I) and item features z ~ N(0, I), clipped at ±5.

    A click has chance sigmoid(base + aᵀz + xᵀWz + own); own ~ N(0, own²) is what an item's
    features do not tell. Models of single items learn every newcomer from nothing; those that
    share what they know of z need not.

    Parameters
    ----------
    items
        How many are on offer at any time.
    arrivals
        How many come later, one every ``every`` visits, each in place of the oldest.
    features
        Columns of x besides the intercept, and of z.
    base
        Log-odds of a click on a usual item in a usual context.
    spread
        Standard deviation of aᵀz, and of xᵀWz.
    own
        Standard deviation of what the features do not tell.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        items: int = 10,
        arrivals: int = 190,
        every: int = 50,
        features: int = 3,
        base: float = -2.0,
        spread: float = 1.0,
        own: float = 0.3,
    ) -> None:
        if every < 1 or arrivals < 0:
            raise ConfigError(
                f"every and arrivals are {every} and {arrivals}; give visits above 0, items not "
                "below"
            )
        super().__init__(_schema(features), items + arrivals, seed=seed)
        self.items, self.arrivals, self.every = items, arrivals, every
        rng = np.random.default_rng([seed, PARAMETERS])
        self.z = np.clip(rng.normal(size=(items + arrivals, features)), -CLIP, CLIP)
        scale = spread / np.sqrt(features)
        self.appeal = base + self.z @ (scale * rng.normal(size=features))
        self.appeal += own * rng.normal(size=len(self.z))
        self.taste = scale / np.sqrt(features) * rng.normal(size=(features, features))
        self._present, self._rows, self._oldest = self._everything, self.z, -1

    def present(self, t: int) -> Ints:
        """Return the items on offer, the oldest first."""
        oldest = min(t // self.every, self.arrivals)
        if oldest != self._oldest:
            self._present = np.arange(oldest, oldest + self.items)
            self._rows, self._oldest = self.z[self._present], oldest
        return self._present

    def item_rows(self, present: Ints) -> Floats:
        """Rows of the items' features."""
        return self._rows if present is self._present else self.z[present]

    def draw(self, first: int, rng: np.random.Generator) -> Drawn:  # noqa: ARG002
        """Draw contexts, and whether each item, there or not, would be clicked."""
        x = np.ones((BLOCK, len(self.schema.columns)))
        x[:, 1:] = np.clip(rng.normal(size=(BLOCK, self.z.shape[1])), -CLIP, CLIP)
        truth = sigmoid(self.appeal + x[:, 1:] @ self.taste @ self.z.T)
        return Drawn(x, truth, (rng.random(truth.shape) < truth).astype(np.float64))


def _schema(features: int) -> Schema:
    context = [Numeric(name=f"x{i}", clip=CLIP) for i in range(features)]
    item = [Numeric(name=f"z{j}", of="item", clip=CLIP) for j in range(features)]
    products = [Interaction(left=x.name, right=z.name) for x in context for z in item]
    return Schema(features=(*context, *item, *products))
