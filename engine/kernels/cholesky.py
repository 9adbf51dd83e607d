"""Cholesky factors of small dense matrices, for kernels that derive beliefs from sums.

A symmetric d × d matrix is kept as its packed upper triangle, row by row: d (d + 1) / 2 numbers.
Inner loops run along views of two rows and carry no sum, so the compiler can widen them without
reordering; indexing both matrices in the loop instead is two to five times slower.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline

__all__ = [
    "factorise1",
    "invert_factor1",
    "multiply_factors1",
    "multiply_packed1",
    "pack1",
    "quadratic1",
    "solve_ridge1",
    "spread1",
    "unpack1",
]

Floats = NDArray[np.float64]


@inline
def unpack1(packed: Floats, prior: Floats, upper: Floats) -> None:
    """Writes: the upper triangle of upper ``(d, d)``, the sum of two packed ones."""
    at = 0
    for p in range(len(upper)):
        for q in range(p, len(upper)):
            upper[p, q] = packed[at] + prior[at]
            at += 1


@inline
def spread1(packed: Floats, prior: Floats, full: Floats) -> None:
    """Writes: full ``(d, d)``, both triangles, the sum of two packed ones."""
    at = 0
    for p in range(len(full)):
        for q in range(p, len(full)):
            full[p, q] = packed[at] + prior[at]
            full[q, p] = full[p, q]
            at += 1


@inline
def pack1(upper: Floats, packed: Floats) -> None:
    """Writes: packed, the upper triangle of upper ``(d, d)``."""
    at = 0
    for p in range(len(upper)):
        for q in range(p, len(upper)):
            packed[at] = upper[p, q]
            at += 1


@inline
def factorise1(upper: Floats) -> bool:
    """Writes: the upper triangle of upper ``(d, d)``, A becomes U with A = UᵀU.

    Returns whether A was positive definite; U is of no use when it was not.
    """
    d = len(upper)
    for p in range(d):
        row = upper[p]
        if not 0.0 < row[p] < np.inf:
            return False
        scale = 1.0 / np.sqrt(row[p])
        for q in range(p, d):
            row[q] *= scale
        for q in range(p + 1, d):
            share = row[q]
            below, right = upper[q, q:], row[q:]
            for s in range(len(below)):
                below[s] -= share * right[s]
    return True


@inline
def invert_factor1(upper: Floats, lower: Floats) -> None:
    """Writes: the lower triangle of lower ``(d, d)``, which becomes U⁻ᵀ."""
    for q in range(len(upper)):
        row = lower[q]
        row[:q] = 0.0
        row[q] = 1.0
        for p in range(q):
            share = upper[p, q]
            here, above = row[: p + 1], lower[p, : p + 1]
            for s in range(len(here)):
                here[s] -= share * above[s]
        scale = 1.0 / upper[q, q]
        for s in range(q + 1):
            row[s] *= scale


@inline
def multiply_factors1(lower: Floats, upper: Floats) -> None:
    """Writes: the upper triangle of upper ``(d, d)``, which becomes lowerᵀ lower: A⁻¹."""
    d = len(upper)
    for p in range(d):
        upper[p, p:] = 0.0
    for s in range(d):
        for p in range(s + 1):
            share = lower[s, p]
            total, part = upper[p, p : s + 1], lower[s, p : s + 1]
            for q in range(len(total)):
                total[q] += share * part[q]


@inline
def multiply_packed1(packed: Floats, vector: Floats, out: Floats) -> None:
    """Writes: out ``(d,)``, the product of a packed matrix and a vector."""
    d = len(vector)
    for p in range(d):
        out[p] = 0.0
    at = 0
    for p in range(d):
        total = packed[at] * vector[p]
        for q in range(p + 1, d):
            value = packed[at + q - p]
            total += value * vector[q]
            out[q] += value * vector[p]
        out[p] += total
        at += d - p


@inline
def quadratic1(
    form: Floats, linear: Floats, rows: Floats, first: int, last: int, out: Floats
) -> None:
    """Writes: out from first to last, plus ``linearᵀy + yᵀ form y`` of each row y.

    form ``(h, h)`` lower triangle, linear ``(h,)``, rows ``(n, h)``, out ``(n,)``. Four rows at a
    time read the form once; the last are repeated, so that a row's bits do not depend on how many
    there are.
    """
    h = len(linear)
    for j in range(first, last, 4):
        j1, j2, j3 = min(j + 1, last - 1), min(j + 2, last - 1), min(j + 3, last - 1)
        total, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0
        for p in range(h):
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            for q in range(p + 1):
                value = form[p, q]
                a += value * rows[j, q]
                b += value * rows[j1, q]
                c += value * rows[j2, q]
                d += value * rows[j3, q]
            total += rows[j, p] * (linear[p] + a)
            total1 += rows[j1, p] * (linear[p] + b)
            total2 += rows[j2, p] * (linear[p] + c)
            total3 += rows[j3, p] * (linear[p] + d)
        out[j] += total
        if j + 1 < last:
            out[j1] += total1
        if j + 2 < last:
            out[j2] += total2
        if j + 3 < last:
            out[j3] += total3


@inline
def solve_ridge1(
    gram: Floats,
    moment: Floats,
    prior: Floats,
    upper: Floats,
    lower: Floats,
    covariance: Floats,
    theta: Floats,
) -> bool:
    """Writes: upper, lower, covariance, theta. Invert ``prior + gram``; False if not definite.

    The inverse stands in the upper triangle of ``upper``, and packed in ``covariance``.
    """
    unpack1(gram, prior, upper)
    if not factorise1(upper):
        return False
    invert_factor1(upper, lower)
    multiply_factors1(lower, upper)
    pack1(upper, covariance)
    multiply_packed1(covariance, moment, theta)
    return True
