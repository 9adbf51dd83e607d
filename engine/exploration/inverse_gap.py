"""Inverse gap weighting: the further a mean lies below the best, the rarer its pick.

Probabilities follow the estimates alone, so they are exact whatever the model. Gaps are in units
of the declared reward range, and the sharpness γ grows with the outcomes t learned from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats
from engine.errors import ConfigError
from engine.exploration.weighted import Weighted
from engine.kernels.explore import FAST_GAP, INVERSE_GAP

__all__ = ["FastCB", "SquareCB", "check_range"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InverseGap(Weighted):
    """What the two weightings share: how γ grows, and the range of rewards.

    Parameters
    ----------
    scale, exponent
        ``γ = scale · t^exponent``. Before the first outcome γ is 0 and the pick uniform, unless
        the exponent is 0.
    low, high
        Range of rewards.
    """

    scale: float = 10.0
    exponent: float = 0.5
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_growth(self.scale, self.exponent)
        check_range(self.low, self.high)

    def gamma(self, belief: Belief) -> float:
        """Return γ after the outcomes learned from."""
        return float(self.scale * belief.total**self.exponent)


@dataclass(frozen=True, slots=True, kw_only=True)
class SquareCB(InverseGap):
    """Of K left, one worse than the best by Δ has probability ``1 / (K + γ Δ)``.

    The best has the rest. Bests that tie share it equally, which makes the order of candidates
    irrelevant; Vowpal Wabbit gives it to the first of them. Source: Foster and Rakhlin 2020,
    "Beyond UCB", with Vowpal Wabbit's ``γ = 10 √t``.

    Gaps are divided by the range of rewards.
    """

    def weights(self, belief: Belief) -> tuple[int, Floats, float]:
        """Means, and γ per unit of reward."""
        return INVERSE_GAP, belief.mean, self.gamma(belief) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class FastCB(InverseGap):
    """Of K left with losses L, the best B, one has probability ``B / (K B + γ (L - B))``.

    The best has the rest, shared when several tie. Where the best expects almost no loss, the
    others are hardly tried. Source: Foster and Krishnamurthy 2021, "Efficient first-order
    contextual bandits", algorithm 1, with the γ that `SquareCB` has. The loss of a mean m is
    ``(high - m) / (high - low)``, clipped to [0, 1].
    """

    def weights(self, belief: Belief) -> tuple[int, Floats, float]:
        """Losses times -1, and γ."""
        loss = np.clip((self.high - belief.mean) / (self.high - self.low), 0.0, 1.0)
        return FAST_GAP, -loss, self.gamma(belief)


def check_growth(scale: float, exponent: float) -> None:
    """Raise ``ConfigError`` when γ would not be a number above 0."""
    if not 0 < scale < np.inf:
        raise ConfigError(f"scale is {scale}; give a number above 0")
    if not 0 <= exponent <= 1:
        raise ConfigError(f"exponent is {exponent}; give 0 (no growth) to 1")


def check_range(low: float, high: float) -> None:
    """Raise ``ConfigError`` when a reward range is empty."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"low, high are {low}, {high}; give the range of rewards, low below high")
