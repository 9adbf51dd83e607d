"""Families of beliefs: how to draw from them, and their densities where those are smooth.

A candidate's belief is a family and three numbers:

- `NORMAL`: N(p, q²), q > 0
- `BETA`: Beta(p, q), on the log-odds scale
- `GAMMA`: Gamma(shape p, rate q), on the log scale
- `STUDENT`: p + q t, t of Student's distribution with r degrees of freedom

Scales are increasing functions of the value, so that which draw is highest stays the same; on
them every density is smooth whatever its parameters. r is read for `STUDENT` alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline
from engine.kernels.random import beta_log_odds1, combine1, log_gamma_draw1, normal1

__all__ = ["BETA", "GAMMA", "NORMAL", "STUDENT", "draw1", "log_density1", "set_ends1"]

Floats = NDArray[np.float64]

NORMAL, BETA, GAMMA, STUDENT = range(4)

HALF_LOG_TAU = 0.9189385332046727


@inline
def draw1(family: int, key: np.uint64, p: float, q: float, r: float) -> float:
    """Draw from a belief, on its family's scale."""
    if family == BETA:
        return beta_log_odds1(key, p, q)
    if family == GAMMA:
        return log_gamma_draw1(key, p) - math.log(q)
    z = normal1(key)
    if family == STUDENT:
        # z / √(χ² / r), with χ² / 2 of Gamma(r / 2, 1), in logs for it underflows
        log_half = log_gamma_draw1(combine1(key, np.uint64(7)), 0.5 * r)
        z *= math.exp(-0.5 * (log_half - math.log(0.5 * r)))
    return p + q * z


@inline
def log_norm1(family: int, p: float, q: float, r: float) -> float:
    """Log of what a belief's density is divided by."""
    if family == BETA:
        return math.lgamma(p) + math.lgamma(q) - math.lgamma(p + q)
    if family == GAMMA:
        return math.lgamma(p) - p * math.log(q)
    if family == STUDENT:
        ratio = math.lgamma(0.5 * r) - math.lgamma(0.5 * (r + 1.0))
        return ratio + 0.5 * math.log(math.pi * r) + math.log(q)
    return HALF_LOG_TAU + math.log(q)


@inline
def log_density1(family: int, p: float, q: float, r: float, log_norm: float, x: float) -> float:
    """Log density at x of the family's scale."""
    if family == BETA:
        # p log σ(x) + q log σ(-x), by the larger of the two for its digits
        tail = math.log1p(math.exp(-abs(x)))
        return p * (min(x, 0.0) - tail) + q * (min(-x, 0.0) - tail) - log_norm
    if family == GAMMA:
        return p * x - q * math.exp(x) - log_norm
    z = (x - p) / q
    if family == STUDENT:
        return -0.5 * (r + 1.0) * math.log1p(z * z / r) - log_norm
    return -0.5 * z * z - log_norm


@inline
def beta_left_end1(a: float, b: float, log_norm: float, log_tail: float) -> float:
    """Return where, left of its mode, the log density of the log-odds is ``log_tail``.

    By Newton from ``(log_tail + log B) / a``, which lies left of it because ``σ(x)ᵃ ≤ eᵃˣ``; the
    log density is concave, so every step stays left.
    """
    x = (log_tail + log_norm) / a
    for _ in range(60):
        value = log_density1(BETA, a, b, 0.0, log_norm, x) - log_tail
        share = 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0
        slope = a * (1.0 - share) - b * share
        if slope <= 0.0 or value > -1e-3:
            break
        x -= value / slope
    return x


@inline
def gamma_ends1(a: float, b: float, log_norm: float, log_tail: float) -> tuple[float, float]:
    """Return where the log density of the log of a Gamma number is ``log_tail``.

    By Newton from outside, where the concave log density keeps every step: on the left from
    where ``eᵃˣ`` alone would be that low, on the right from the lesser of two bounds.
    """
    x = (log_tail + log_norm) / a
    for _ in range(60):
        value = log_density1(GAMMA, a, b, 0.0, log_norm, x) - log_tail
        slope = a - b * math.exp(x)
        if slope <= 0.0 or value > -1e-3:
            break
        x -= value / slope
    # u right of the mode log(a / b) the log density fell by a (eᵘ - 1 - u): above a u² / 2, and
    # above a eᵘ / 2 from u = 2 on.
    mode = math.log(a / b)
    fall = (log_density1(GAMMA, a, b, 0.0, log_norm, mode) - log_tail) / a
    y = mode + min(math.sqrt(2.0 * fall), max(2.0, math.log(2.0 * fall)))
    for _ in range(60):
        value = log_density1(GAMMA, a, b, 0.0, log_norm, y) - log_tail
        slope = a - b * math.exp(y)
        if slope >= 0.0 or value > -1e-3:
            break
        y -= value / slope
    return x, y


@inline
def student_reach1(r: float, tail: float) -> float:
    """Return a t beyond which less than ``tail`` lies, nearly: f(t) (t / r + 1 / t)."""
    reach = 6.5
    norm = log_norm1(STUDENT, 0.0, 1.0, r)
    while reach < 1e100:
        log_tail = log_density1(STUDENT, 0.0, 1.0, r, norm, reach)
        if log_tail + math.log(reach / r + 1.0 / reach) < math.log(tail):
            break
        reach *= 1.3
    return reach


@inline
def set_ends1(
    family: int,
    p: Floats,
    q: Floats,
    r: Floats,
    deep: bool,
    log_norm: Floats,
    left: Floats,
    right: Floats,
    scale: Floats,
    low: Floats,
    high: Floats,
) -> None:
    """Writes: all but p, q and r. Where each belief varies, and how quickly.

    Outside left and right less than 1e-10 is left out, 1e-15 when ``deep``, about. Between low
    and high, where a density bends for more reasons than its scale, see `local_scale1`.
    """
    reach = 8.0 if deep else 6.5  # Φ(-6.5) is 4e-11
    log_tail = -37.0 if deep else -27.0
    for j in range(len(p)):
        shape = r[j] if family == STUDENT else 0.0
        log_norm[j] = log_norm1(family, p[j], q[j], shape)
        if family == BETA:
            # left of its end a density f grows as eᵖˣ: f / p lies there
            left[j] = beta_left_end1(p[j], q[j], log_norm[j], log_tail + min(math.log(p[j]), 0.0))
            right[j] = -beta_left_end1(q[j], p[j], log_norm[j], log_tail + min(math.log(q[j]), 0.0))
            scale[j] = math.sqrt(1.0 / p[j] + 1.0 / q[j])
            high[j] = math.log(max(p[j] + q[j], 1.0))
            low[j] = -high[j]
        elif family == GAMMA:
            below = log_tail + min(math.log(p[j]), 0.0)
            left[j], right[j] = gamma_ends1(p[j], q[j], log_norm[j], below)
            scale[j] = math.sqrt(1.0 / p[j])
            low[j], high[j] = -math.log(q[j]), np.inf
        else:
            if family == STUDENT:
                reach = student_reach1(r[j], 1e-14 if deep else 1e-11)
            left[j], right[j] = p[j] - reach * q[j], p[j] + reach * q[j]
            scale[j] = q[j]
            if family == STUDENT:
                scale[j] = q[j] * min(1.0, 0.5 * math.sqrt(r[j]))
            low[j], high[j] = p[j], p[j]


@inline
def local_scale1(
    family: int, scale: float, low: float, high: float, start: float, stop: float
) -> float:
    """Return how quickly a belief's density varies between ``start`` and ``stop``.

    Log-odds of Beta numbers have poles at ±πi; with p + q above 1 they fall ever faster as far
    out as low and high, logs of Gamma numbers from low on; Student's poles lie over its location.
    Away from there a panel may be as wide as that is far.
    """
    if family == NORMAL:
        return scale
    distance = max(start - high, low - stop)
    if family == STUDENT:
        return max(scale, 0.5 * distance)
    nearest = 1.6 if high == 0.0 else 0.8
    return min(scale, max(nearest, 0.5 * distance))
