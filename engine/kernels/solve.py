"""Normal beliefs of a linear form, straight from raw sums, for models that learn in order.

Elimination without square roots (A = L D Lᵀ): when all sums are multiplied by a power of two, as
forgetting does when it moves the landmark, the mean keeps its bits. A symmetric matrix is packed
as its upper triangle, row by row, so every inner loop runs over contiguous numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline

__all__ = ["project1", "solve1"]

Floats = NDArray[np.float64]


@inline
def eliminate1(packed: Floats, precision: float, left: Floats, right: Floats, work: Floats) -> bool:
    """Writes: left, right, work. Return whether ``A = precision · I + packed`` is definite.

    work ``(d (d + 1) / 2,)`` becomes D Lᵀ, left and right ``(d,)`` are multiplied by L⁻¹.
    """
    d = len(left)
    work[:] = packed
    at = 0
    for p in range(d):
        work[at] += precision
        at += d - p
    start = 0
    for p in range(d):
        pivot = work[start]
        if not 0.0 < pivot < np.inf:
            return False
        row = start + d - p
        for i in range(p + 1, d):
            factor = work[start + i - p] / pivot
            if factor != 0.0:
                left[i] -= factor * left[p]
                right[i] -= factor * right[p]
                for j in range(d - i):
                    work[row + j] -= factor * work[start + i - p + j]
            row += d - i
        start += d - p
    return True


@inline
def project1(
    packed: Floats,
    precision: float,
    moment: Floats,
    x: Floats,
    left: Floats,
    right: Floats,
    work: Floats,
) -> tuple[float, float]:
    """Writes: left, right, work. Return mean and variance of θᵀx, θ ~ N(A⁻¹ moment, A⁻¹).

    ``A = precision · I + packed``; moment, x, left and right ``(d,)``. Both are 0 when A is not
    positive definite.
    """
    d = len(x)
    left[:] = moment
    right[:] = x
    if not eliminate1(packed, precision, left, right, work):
        return 0.0, 0.0
    mean, variance, at = 0.0, 0.0, 0
    for p in range(d):
        scaled = right[p] / work[at]
        mean += left[p] * scaled
        variance += right[p] * scaled
        at += d - p
    return mean, variance


@inline
def solve1(
    packed: Floats,
    precision: float,
    moment: Floats,
    theta: Floats,
    right: Floats,
    work: Floats,
) -> bool:
    """Writes: theta, right, work. Set θ = A⁻¹ moment; return whether A is positive definite."""
    d = len(moment)
    theta[:] = moment
    right[:] = 0.0
    if not eliminate1(packed, precision, theta, right, work):
        return False
    at = len(work)
    for p in range(d - 1, -1, -1):
        at -= d - p
        value = theta[p]
        for j in range(p + 1, d):
            value -= work[at + j - p] * theta[j]
        theta[p] = value / work[at]
    return True
