"""Online Bayesian logistic regression per item: learning in order, and expected chances.

Precision sums are packed upper triangles in the full form, ``(d,)`` in the diagonal one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.solve import project1

__all__ = ["expect_logistic", "update_logistic", "update_logistic_diagonal"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEWTON_STEPS = 60
REACH = 6.5  # standard deviations integrated on either side
STEP = 1.2  # widest step in units of the logistic function's argument


@inline
def logistic1(a: float) -> float:
    """Return 1 / (1 + e⁻ᵃ), without overflow."""
    if a >= 0.0:
        return 1.0 / (1.0 + math.exp(-a))
    grown = math.exp(a)
    return grown / (1.0 + grown)


@inline
def find_mode1(mean: float, variance: float, y: float) -> float:
    """Return the mode a of N(a; mean, variance) · σ(a)ʸ (1 - σ(a))¹⁻ʸ.

    The root of ``a - mean - variance (y - σ(a))``, which grows with slope 1 or more: Newton,
    bisecting where a step would leave the bracket.
    """
    low, high = mean - variance * (1.0 - y), mean + variance * y
    a = mean
    for _ in range(NEWTON_STEPS):
        p = logistic1(a)
        value = a - mean - variance * (y - p)
        if value > 0.0:
            high = a
        else:
            low = a
        following = a - value / (1.0 + variance * p * (1.0 - p))
        if not low <= following <= high:
            following = 0.5 * (low + high)
        if abs(following - a) <= 1e-13 * (1.0 + abs(a)):
            return following
        a = following
    return a


@kernel("void(f8[:,::1], f8[:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1], f8[::1])")
def update_logistic(
    precision: Floats,
    shift: Floats,
    rows: Ints,
    x: Floats,
    y: Floats,
    weight: Floats,
    prior: Floats,
) -> None:
    """Writes: precision, shift. One Laplace step an event, in order, at that event's own mode.

    precision ``(m, d (d + 1) / 2)``, shift ``(m, d)``, x ``(n, d)``, the others ``(n,)``: prior
    is the precision of the prior in units of the landmark. With a the mode of θᵀx, p = σ(a) and
    k = p (1 - p): precision += w k x xᵀ, shift += w (y - p + k a) x.
    """
    d = x.shape[1]
    left, right, work = np.empty(d), np.empty(d), np.empty(precision.shape[1])
    for i in range(len(rows)):
        row = rows[i]
        mean, variance = project1(precision[row], prior[i], shift[row], x[i], left, right, work)
        a = find_mode1(mean, weight[i] * variance, y[i])
        p = logistic1(a)
        curvature = weight[i] * (p * (1.0 - p))
        pull = weight[i] * (y[i] - p) + curvature * a
        at = 0
        for s in range(d):
            shift[row, s] += pull * x[i, s]
            wx = curvature * x[i, s]
            for t in range(s, d):
                precision[row, at] += wx * x[i, t]
                at += 1


@kernel("void(f8[:,::1], f8[:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1], f8[::1])")
def update_logistic_diagonal(
    precision: Floats,
    shift: Floats,
    rows: Ints,
    x: Floats,
    y: Floats,
    weight: Floats,
    prior: Floats,
) -> None:
    """Writes: precision, shift. As `update_logistic` with independent weights; both ``(m, d)``.

    With m' the mode: precision += w k x², shift += w ((y - p) x + k x² m'), column by column.
    """
    d = x.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        mean, variance = 0.0, 0.0
        for s in range(d):
            scaled = x[i, s] / (prior[i] + precision[row, s])
            mean += shift[row, s] * scaled
            variance += x[i, s] * scaled
        p = logistic1(find_mode1(mean, weight[i] * variance, y[i]))
        curvature = weight[i] * (p * (1.0 - p))
        pull = weight[i] * (y[i] - p)
        for s in range(d):
            mode = (shift[row, s] + pull * x[i, s]) / (prior[i] + precision[row, s])
            added = curvature * x[i, s] * x[i, s]
            shift[row, s] += pull * x[i, s] + added * mode
            precision[row, s] += added


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1])")
def expect_logistic(a: Floats, b: Floats, mean: Floats, sd: Floats) -> None:
    """Writes: mean, sd. Mean and standard deviation of σ(u), u ~ N(a, b²); all ``(n,)``.

    By the trapezoid rule, which for a normal weight errs by about exp(-2 π² / (b · step)): below
    1e-5 for b up to 40.
    """
    for i in range(len(a)):
        step = max(min(1.0, STEP / b[i]), REACH / 256.0) if b[i] > 0.0 else 1.0
        middle = logistic1(a[i])
        total, first, second = 1.0, 0.0, 0.0
        z = step
        while z <= REACH:
            weight = math.exp(-0.5 * z * z)
            above = logistic1(a[i] + b[i] * z) - middle
            below = logistic1(a[i] - b[i] * z) - middle
            total += 2.0 * weight
            first += weight * (above + below)
            second += weight * (above * above + below * below)
            z += step
        first /= total
        mean[i] = middle + first
        sd[i] = np.sqrt(max(second / total - first * first, 0.0))
