"""Disjoint LinUCB in NumPy, as careful people write it; Sherman–Morrison keeps the inverses."""

from __future__ import annotations

import numpy as np

from benchmarks.worlds import World

__all__ = ["Diagonal", "Einsum", "Gemv", "Packed"]

RIDGE = 1.0


class Einsum:
    """The textbook: all inverses times the context, then the row sums, by einsum."""

    name = "NumPy, einsum"

    def __init__(self, world: World, alpha: float) -> None:
        k, d = world.items, world.x.shape[1]
        self.world, self.alpha = world, alpha
        self.inverse = np.tile(np.eye(d) / RIDGE, (k, 1, 1))
        self.theta = np.zeros((k, d))

    def decide(self, i: int) -> int:
        """Return the item with the highest bound."""
        x = self.world.x[i]
        return int(np.argmax(self.theta @ x + self.alpha * np.sqrt(self.variance(x))))

    def variance(self, x: np.ndarray) -> np.ndarray:
        """xᵀ A⁻¹ x of every item."""
        products = np.einsum("kij,j->ki", self.inverse, x)
        variance: np.ndarray = np.einsum("ki,i->k", products, x)
        return variance

    def learn(self, i: int, item: int) -> None:
        """Update an item's inverse and coefficients by Sherman and Morrison (1950)."""
        x = self.world.x[i]
        v = self.inverse[item] @ x
        shrunk = v / (1.0 + x @ v)
        self.theta[item] += shrunk * (self.world.rewards[i, item] - self.theta[item] @ x)
        self.inverse[item] -= np.outer(v, shrunk)


class Gemv(Einsum):
    """The same with one BLAS product over (K d, d)."""

    name = "NumPy, one gemv"

    def variance(self, x: np.ndarray) -> np.ndarray:
        """xᵀ A⁻¹ x of every item."""
        k, d = self.theta.shape
        variance: np.ndarray = (self.inverse.reshape(k * d, d) @ x).reshape(k, d) @ x
        return variance


class Packed(Einsum):
    """One BLAS product over packed triangles, (K, d (d + 1) / 2): half of the bytes."""

    name = "NumPy, packed triangles, one gemv"

    def __init__(self, world: World, alpha: float) -> None:
        super().__init__(world, alpha)
        d = world.x.shape[1]
        self.upper = np.triu_indices(d)
        self.twice = np.where(self.upper[0] == self.upper[1], 1.0, 2.0)
        self.packed = self.inverse[:, self.upper[0], self.upper[1]].copy()

    def variance(self, x: np.ndarray) -> np.ndarray:
        """xᵀ A⁻¹ x of every item."""
        variance = self.packed @ (self.twice * x[self.upper[0]] * x[self.upper[1]])
        positive: np.ndarray = np.maximum(variance, 0.0)
        return positive

    def learn(self, i: int, item: int) -> None:
        """Update the inverse in both its forms."""
        super().learn(i, item)
        self.packed[item] = self.inverse[item][self.upper]


class Diagonal:
    """Diagonal LinUCB: a precision for every column of every item."""

    name = "NumPy, diagonal"

    def __init__(self, world: World, alpha: float) -> None:
        shape = (world.items, world.x.shape[1])
        self.world, self.alpha = world, alpha
        self.variances, self.moment = np.full(shape, 1.0 / RIDGE), np.zeros(shape)
        self.theta = np.zeros(shape)

    def decide(self, i: int) -> int:
        """Return the item with the highest bound."""
        x = self.world.x[i]
        return int(np.argmax(self.theta @ x + self.alpha * np.sqrt(self.variances @ (x * x))))

    def learn(self, i: int, item: int) -> None:
        """Add to the item's precisions."""
        x = self.world.x[i]
        self.variances[item] /= 1.0 + self.variances[item] * x * x
        self.moment[item] += self.world.rewards[i, item] * x
        self.theta[item] = self.variances[item] * self.moment[item]
