"""Bayesian ridge regression per item: deriving it from raw sums, and scoring with it.

A symmetric d × d matrix is kept as its packed upper triangle, row by row: d (d + 1) / 2 numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import kernel

__all__ = ["derive_ridge", "predict_linear"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel("i8(f8[:,::1], f8[:,::1], f8, f8[:,::1], f8[:,::1])")
def derive_ridge(
    gram: Floats, moment: Floats, precision: float, theta: Floats, covariance: Floats
) -> int:
    """Writes: theta, covariance. Invert ``precision · I + gram`` by Cholesky, row by row.

    gram and covariance ``(m, d (d + 1) / 2)`` packed, moment and theta ``(m, d)``. Returns how
    many rows were not positive definite; theirs are left as they were.
    """
    m, d = moment.shape
    lower = np.zeros((d, d))
    inverse = np.zeros((d, d))
    failed = 0
    for row in range(m):
        at = 0
        for p in range(d):
            for q in range(p, d):
                lower[q, p] = gram[row, at]
                at += 1
            lower[p, p] += precision
        definite = True
        for p in range(d):
            pivot = lower[p, p]
            for s in range(p):
                pivot -= lower[p, s] * lower[p, s]
            if not pivot > 0.0:
                definite = False
                break
            pivot = np.sqrt(pivot)
            lower[p, p] = pivot
            for q in range(p + 1, d):
                value = lower[q, p]
                for s in range(p):
                    value -= lower[q, s] * lower[p, s]
                lower[q, p] = value / pivot
        if not definite:
            failed += 1
            continue
        # inverse := lower⁻¹, then covariance = lower⁻ᵀ lower⁻¹
        for p in range(d):
            inverse[p, p] = 1.0 / lower[p, p]
            for q in range(p + 1, d):
                value = 0.0
                for s in range(p, q):
                    value -= lower[q, s] * inverse[s, p]
                inverse[q, p] = value / lower[q, q]
        at = 0
        for p in range(d):
            theta[row, p] = 0.0
        for p in range(d):
            for q in range(p, d):
                value = 0.0
                for s in range(q, d):
                    value += inverse[s, p] * inverse[s, q]
                covariance[row, at] = value
                theta[row, p] += value * moment[row, q]
                if q != p:
                    theta[row, q] += value * moment[row, p]
                at += 1
    return failed


@kernel("void(f8[:,::1], f8[:,::1], f8[:,::1], i8[::1], i8[::1], f8[::1], f8[::1])", scoring=True)
def predict_linear(
    theta: Floats,
    covariance: Floats,
    x: Floats,
    offsets: Ints,
    rows: Ints,
    mean: Floats,
    sd: Floats,
) -> None:
    """Writes: mean, sd. ``θᵀx`` and ``√(xᵀ A⁻¹ x)`` of every candidate of every request.

    theta ``(m, d)``, covariance packed, x ``(n, d)``, offsets ``(n + 1,)``; rows, mean and sd
    ``(offsets[-1],)``. Source: Li et al. 2010 (LinUCB), the width of equation 5 without α.
    """
    d = x.shape[1]
    products = np.empty(covariance.shape[1])
    for i in range(len(x)):
        at = 0
        for p in range(d):
            products[at] = x[i, p] * x[i, p]
            at += 1
            for q in range(p + 1, d):
                products[at] = 2.0 * x[i, p] * x[i, q]
                at += 1
        for j in range(offsets[i], offsets[i + 1]):
            row = rows[j]
            value = 0.0
            for p in range(d):
                value += theta[row, p] * x[i, p]
            variance = 0.0
            for p in range(len(products)):
                variance += covariance[row, p] * products[p]
            mean[j] = value
            sd[j] = np.sqrt(max(variance, 0.0))
