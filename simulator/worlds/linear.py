"""Worlds whose rewards are linear in the context: where regret is measured.

Source: the two worlds of the usual regret bounds. In the first, contexts vary so much that even
a greedy policy explores; in the second, where every mean is positive and nothing is known of an
item from another context, it stays with the first item that paid.
"""

from __future__ import annotations

import numpy as np

from engine.errors import ConfigError
from engine.features import Categorical, Numeric, Schema
from simulator.worlds.drawn import BLOCK, Drawn, DrawnWorld

__all__ = ["Gaussian", "OneHot"]

CLIP = 5.0
PARAMETERS = 102  # the stream of random numbers that a world's parameters are drawn from


class Gaussian(DrawnWorld):
    """Contexts x ~ N(0, I), clipped at ±5; reward θᵀx + noise.

    Parameters
    ----------
    features, items
        Columns of x besides the intercept, and number of items.
    spread
        Standard deviation of θᵀx: every item's θ ~ N(0, spread² / features · I).
    noise
        Standard deviation of a reward about its mean.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        features: int = 10,
        items: int = 10,
        spread: float = 0.2,
        noise: float = 0.3,
    ) -> None:
        schema = Schema(features=tuple(Numeric(name=f"x{i}", clip=CLIP) for i in range(features)))
        super().__init__(schema, items, seed=seed)
        rng = np.random.default_rng([seed, PARAMETERS])
        self.theta = spread / np.sqrt(features) * rng.normal(size=(items, features))
        self.noise = noise

    def draw(self, first: int, rng: np.random.Generator) -> Drawn:  # noqa: ARG002
        """Draw contexts, and a reward of every item."""
        x = np.ones((BLOCK, len(self.schema.columns)))
        x[:, 1:] = np.clip(rng.normal(size=(BLOCK, self.theta.shape[1])), -CLIP, CLIP)
        truth = x[:, 1:] @ self.theta.T
        return Drawn(x, truth, truth + self.noise * rng.normal(size=truth.shape))


class OneHot(DrawnWorld):
    """One of a few contexts, each as likely, with means of its own for every item.

    Parameters
    ----------
    contexts, items
        How many there are.
    low, high
        Means are uniform between them.
    noise
        Standard deviation of a reward about its mean.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        contexts: int = 5,
        items: int = 20,
        low: float = 0.1,
        high: float = 0.9,
        noise: float = 0.3,
    ) -> None:
        if not low < high:
            raise ConfigError(f"low and high are {low} and {high}; give low below high")
        values = tuple(f"c{i}" for i in range(contexts))
        schema = Schema(features=(Categorical(name="context", values=values),))
        super().__init__(schema, items, seed=seed)
        rng = np.random.default_rng([seed, PARAMETERS])
        self.mean = rng.uniform(low, high, size=(contexts, items))
        self.noise = noise

    def draw(self, first: int, rng: np.random.Generator) -> Drawn:  # noqa: ARG002
        """Draw contexts, and a reward of every item."""
        context = rng.integers(len(self.mean), size=BLOCK)
        x = np.ones((BLOCK, len(self.schema.columns)))
        x[:, 1:] = np.eye(len(self.mean))[context]
        truth = self.mean[context]
        return Drawn(x, truth, truth + self.noise * rng.normal(size=truth.shape))
