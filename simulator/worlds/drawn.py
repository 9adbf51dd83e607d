"""Worlds drawn in blocks: whole arrays of visits at once, or one visit after the other.

A block follows from the seed and its number alone, so a policy's picks never change what comes
next, every policy meets the same visits, and arrays for compiled loops hold the same numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from engine.features import Schema
from simulator.worlds.base import Visit

__all__ = ["Drawn", "DrawnWorld", "sigmoid"]

BLOCK = 1024
VISIT_MS = 10  # a hundred visits a second
VISITS = 101  # the stream of random numbers that visits are drawn from


class Drawn(NamedTuple):
    """Visits in order, and what every item would have earned in each."""

    x: Floats  # (n, d), rows of the world's schema
    truth: Floats  # (n, K) expected reward of an item shown first
    reward: Floats  # (n, K) the reward it would have had


class DrawnWorld(ABC):
    """A world of ``K`` items whose visits are drawn in blocks of 1024.

    Parameters
    ----------
    seed
        Everything follows from it.
    """

    slots = 1
    first_pass: int | None = None

    def __init__(self, schema: Schema, items: int, *, seed: int) -> None:
        if items < self.slots + 1:
            raise ConfigError(f"items is {items}; give {self.slots + 1} or more, to choose from")
        self.schema = schema
        self.seed = seed
        self.item_ids = tuple(f"item-{i:03d}" for i in range(items))
        self._everything = np.arange(items)
        self._block = Drawn(np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0)))
        self._first = -1

    @abstractmethod
    def draw(self, first: int, rng: np.random.Generator) -> Drawn:
        """Draw the visits ``first : first + BLOCK``."""

    def block(self, number: int) -> Drawn:
        """Visits ``number * BLOCK`` and the next, always the same."""
        return self.draw(number * BLOCK, np.random.default_rng([self.seed, VISITS, number]))

    def batch(self, n: int) -> Drawn:
        """Return the first ``n`` visits as whole arrays."""
        blocks = [self.block(number) for number in range(-(-n // BLOCK))]
        return Drawn(*(np.concatenate(arrays)[:n] for arrays in zip(*blocks, strict=True)))

    def present(self, t: int) -> Ints:  # noqa: ARG002
        """Items that visit ``t`` may be shown; the same object as long as the set is the same."""
        return self._everything

    def item_rows(self, present: Ints) -> Floats | None:  # noqa: ARG002
        """Rows of item features ``(m, e)``; None when the world has none."""
        return None

    def visit(self, t: int) -> Visit:
        """Return visit number ``t``."""
        first, row = t - t % BLOCK, t % BLOCK
        if first != self._first:
            self._block, self._first = self.block(t // BLOCK), first
        present = self.present(t)
        return Visit(
            self._block.x[row : row + 1],
            present,
            self._block.truth[row, present],
            t * VISIT_MS,
            self.item_rows(present),
        )

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:
        """Rewards of a slate of visit ``t``, the latest."""
        return np.asarray(self._block.reward[t % BLOCK, visit.candidates[picks]])

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Sum of the slate's expected rewards."""
        return float(visit.truth[picks].sum())


def sigmoid(logit: Floats) -> Floats:
    """Return the chance of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))
