"""Worlds to decide and learn in: contexts, and what every item would earn in each.

How fast an exact policy can be depends on how soon the world tells good items from bad: the
worlds range from kind to adverse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORLDS", "Setting", "World", "make_world"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``x (n, d)`` and ``rewards (n, K)``."""

    x: Floats
    rewards: Floats

    @property
    def items(self) -> int:
        """How many may be chosen in every event."""
        return int(self.rewards.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A kind of world, and the width of the confidence bound in it."""

    about: str
    make: Callable[[np.random.Generator, int, int, int], World]
    alpha: float


def make_world(name: str, items: int, columns: int, events: int) -> World:
    """Draw the world of a setting, always the same."""
    return WORLDS[name].make(np.random.default_rng(17), items, columns, events)


def _isotropic(rng: np.random.Generator, items: int, columns: int, events: int) -> World:
    """Every direction alike: nothing to gain from the order of columns."""
    x = rng.normal(size=(events, columns))
    theta = rng.normal(size=(items, columns)) / np.sqrt(columns)
    return World(x=x, rewards=x @ theta.T + rng.normal(size=(events, items)))


def _contexts(rng: np.random.Generator, columns: int, events: int) -> Floats:
    """Return an intercept and columns whose variance falls like 1/i, as of real features."""
    x = rng.normal(size=(events, columns)) / np.sqrt(np.arange(1, columns + 1))
    x[:, 0] = 1.0
    return x


def _decaying(rng: np.random.Generator, items: int, columns: int, events: int) -> World:
    """Linear rewards over contexts of decaying variance, noise as large as the signal."""
    x = _contexts(rng, columns, events)
    theta = rng.normal(size=(items, columns)) / np.sqrt(columns)
    signal = x @ theta.T
    return World(x=x, rewards=signal + signal.std() * rng.normal(size=signal.shape))


def _clicks(rng: np.random.Generator, items: int, columns: int, events: int) -> World:
    """Clicks at rates about 3 %: hardly any signal in an event."""
    x = _contexts(rng, columns, events)
    theta = 0.3 * rng.normal(size=(items, columns)) / np.sqrt(columns)
    rate = np.clip(0.03 * np.exp(x @ theta.T), 0.0, 1.0)
    return World(x=x, rewards=(rng.random((events, items)) < rate).astype(float))


WORLDS = {
    "isotropic, alpha=1": Setting(about="normal contexts", make=_isotropic, alpha=1.0),
    "decaying, alpha=0.1": Setting(about="intercept, 1/i spectrum", make=_decaying, alpha=0.1),
    "decaying, alpha=1": Setting(about="intercept, 1/i spectrum", make=_decaying, alpha=1.0),
    "clicks, alpha=0.1": Setting(about="clicks at 3 %", make=_clicks, alpha=0.1),
    "clicks, alpha=1": Setting(about="clicks at 3 %, bound far too wide", make=_clicks, alpha=1.0),
}
