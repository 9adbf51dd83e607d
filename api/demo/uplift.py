"""Click rates of two groups of visitors, and the uplift of one over the other.

A visitor sees many slots, so slots are not independent: the unit is the visitor. The click rate
is a ratio of two sums over visitors, its variance comes by the delta method (Deng et al. 2018,
"Applying the delta method in metric analytics").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rate", "Uplift", "click_rate", "uplift"]

Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A ratio of sums over visitors, its standard error, and how many visitors there were."""

    value: float
    se: float
    visitors: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, within [0, 1]."""
        return max(self.value - Z95 * self.se, 0.0), min(self.value + Z95 * self.se, 1.0)


@dataclass(frozen=True, kw_only=True)
class Uplift:
    """Relative difference of two rates, with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def click_rate(clicks: Sequence[float], slots: Sequence[float]) -> Rate:
    """Clicks per slot, of arrays with one entry a visitor ``(n,)``; visitors shown nothing drop."""
    seen = np.asarray(slots, dtype=np.float64)
    acted: NDArray[np.float64] = np.asarray(clicks, dtype=np.float64)[seen > 0]
    seen = seen[seen > 0]
    n = len(seen)
    if n == 0:
        return Rate(value=0.0, se=math.inf, visitors=0)
    rate = float(acted.sum() / seen.sum())
    if n == 1:
        return Rate(value=rate, se=math.inf, visitors=1)
    residual = acted - rate * seen  # mean 0 by construction
    variance = float(residual @ residual) / (n - 1) / n / float(seen.mean()) ** 2
    return Rate(value=rate, se=math.sqrt(variance), visitors=n)


def uplift(treated: Rate, control: Rate) -> Uplift:
    """``treated / control - 1`` with a 95 % interval, symmetric for the logarithm of the ratio."""
    if min(treated.value, control.value) <= 0 or not math.isfinite(treated.se + control.se):
        return Uplift(value=None, low=None, high=None)
    spread = Z95 * math.hypot(treated.se / treated.value, control.se / control.value)
    ratio = treated.value / control.value
    return Uplift(
        value=ratio - 1, low=ratio * math.exp(-spread) - 1, high=ratio * math.exp(spread) - 1
    )
