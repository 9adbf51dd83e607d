"""Bayesian ridge regression per item: deriving it from raw sums, and scoring with it.

A symmetric d × d matrix is kept as its packed upper triangle, row by row: d (d + 1) / 2 numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.cholesky import (
    pack1,
    solve_ridge1,
    spread1,
)
from engine.kernels.compile import kernel

__all__ = ["derive_ridge", "predict_diagonal", "predict_linear", "weigh_covariance"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel("i8(f8[:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[:,::1])")
def derive_ridge(
    gram: Floats, moment: Floats, prior: Floats, theta: Floats, covariance: Floats
) -> int:
    """Writes: theta, covariance. Invert ``prior + gram`` by Cholesky, row by row.

    gram and covariance ``(m, d (d + 1) / 2)`` packed, moment and theta ``(m, d)``; prior, the
    precision before any outcome, ``(d (d + 1) / 2,)`` packed. Returns how many rows were not
    positive definite; theirs are left as they were.
    """
    m, d = moment.shape
    upper = np.empty((d, d))
    lower = np.empty((d, d))
    failed = 0
    for row in range(m):
        solved = solve_ridge1(
            gram[row], moment[row], prior, upper, lower, covariance[row], theta[row]
        )
        failed += 0 if solved else 1
    return failed


@kernel("void(f8[:,::1], f8[::1], f8[:,::1])")
def weigh_covariance(squared: Floats, prior: Floats, covariance: Floats) -> None:
    """Writes: covariance. V⁻¹ becomes ``V⁻¹ (squared + prior) V⁻¹``, row by row, all packed.

    The spread of a least-squares fit whose rows were weighted otherwise than their noise.
    Source: Russac et al. 2019 (D-LinUCB), the norm in equation 5.
    """
    d = int((np.sqrt(8.0 * len(prior) + 1.0) - 1.0) / 2.0)
    inverse = np.empty((d, d))
    middle = np.empty((d, d))
    half = np.empty((d, d))
    zero = np.zeros(len(prior))
    for row in range(len(covariance)):
        spread1(covariance[row], zero, inverse)
        spread1(squared[row], prior, middle)
        for p in range(d):
            half[p] = 0.0
            for s in range(d):
                share = inverse[p, s]
                total, part = half[p], middle[s]
                for q in range(d):
                    total[q] += share * part[q]
        for p in range(d):
            middle[p, p:] = 0.0
            for s in range(d):
                share = half[p, s]
                total, part = middle[p, p:], inverse[s, p:]
                for q in range(len(total)):
                    total[q] += share * part[q]
        pack1(middle, covariance[row])


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
        xi, at = x[i], 0
        for p in range(d):
            products[at] = xi[p] * xi[p]
            twice = 2.0 * xi[p]
            for q in range(1, d - p):
                products[at + q] = twice * xi[p + q]
            at += d - p
        j, stop = offsets[i], offsets[i + 1]
        while j + 4 <= stop:  # four at once: their rows come from memory side by side
            c0, c1 = covariance[rows[j]], covariance[rows[j + 1]]
            c2, c3 = covariance[rows[j + 2]], covariance[rows[j + 3]]
            w0, w1, w2, w3 = 0.0, 0.0, 0.0, 0.0
            for p in range(len(products)):
                product = products[p]
                w0 += c0[p] * product
                w1 += c1[p] * product
                w2 += c2[p] * product
                w3 += c3[p] * product
            sd[j], sd[j + 1] = np.sqrt(max(w0, 0.0)), np.sqrt(max(w1, 0.0))
            sd[j + 2], sd[j + 3] = np.sqrt(max(w2, 0.0)), np.sqrt(max(w3, 0.0))
            j += 4
        while j < stop:
            spread, variance = covariance[rows[j]], 0.0
            for p in range(len(spread)):
                variance += spread[p] * products[p]
            sd[j] = np.sqrt(max(variance, 0.0))
            j += 1
        for j in range(offsets[i], stop):
            mine, value = theta[rows[j]], 0.0
            for p in range(len(mine)):
                value += mine[p] * xi[p]
            mean[j] = value


@kernel("void(f8[:,::1], f8[:,::1], f8[:,::1], i8[::1], i8[::1], f8[::1], f8[::1])", scoring=True)
def predict_diagonal(
    theta: Floats,
    variance: Floats,
    x: Floats,
    offsets: Ints,
    rows: Ints,
    mean: Floats,
    sd: Floats,
) -> None:
    """Writes: mean, sd. ``θᵀx`` and ``√(Σ v x²)`` of every candidate of every request.

    theta and variance ``(m, d)``, x ``(n, d)``, offsets ``(n + 1,)``; rows, mean and sd
    ``(offsets[-1],)``.
    """
    squares = np.empty(x.shape[1])
    for i in range(len(x)):
        xi = x[i]
        for p in range(len(xi)):
            squares[p] = xi[p] * xi[p]
        j, stop = offsets[i], offsets[i + 1]
        while j + 4 <= stop:  # four at once: a short row's sum costs less than its loop
            a, b, c, e = rows[j], rows[j + 1], rows[j + 2], rows[j + 3]
            m0, m1, m2, m3 = theta[a], theta[b], theta[c], theta[e]
            v0, v1, v2, v3 = variance[a], variance[b], variance[c], variance[e]
            s0, s1, s2, s3, w0, w1, w2, w3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for p in range(len(xi)):
                first, second = xi[p], squares[p]
                s0 += m0[p] * first
                s1 += m1[p] * first
                s2 += m2[p] * first
                s3 += m3[p] * first
                w0 += v0[p] * second
                w1 += v1[p] * second
                w2 += v2[p] * second
                w3 += v3[p] * second
            mean[j], mean[j + 1], mean[j + 2], mean[j + 3] = s0, s1, s2, s3
            sd[j], sd[j + 1] = np.sqrt(w0), np.sqrt(w1)
            sd[j + 2], sd[j + 3] = np.sqrt(w2), np.sqrt(w3)
            j += 4
        while j < stop:
            mine, spread = theta[rows[j]], variance[rows[j]]
            value, square = 0.0, 0.0
            for p in range(len(mine)):
                value += mine[p] * xi[p]
                square += spread[p] * squares[p]
            mean[j] = value
            sd[j] = np.sqrt(square)
            j += 1
