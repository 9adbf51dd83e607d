"""Scoring with coefficients that all items share, and factors for drawing them.

A joint row φ = (x, z, x_l z_r, …) is linear in (1, z) once the context x is given. So the request
is folded into the coefficients once, and a candidate costs e numbers and not f.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.cholesky import factorise1, quadratic1, spread1
from engine.kernels.compile import kernel

__all__ = ["factor_covariance", "join_rows", "predict_joint"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel("b1(f8[::1], f8[:,::1])")
def factor_covariance(covariance: Floats, factor: Floats) -> bool:
    """Writes: factor ``(f, f)``, lower, factor · factorᵀ being the packed covariance.

    Returns whether the covariance was positive definite; the factor is of no use when not.
    """
    f = len(factor)
    upper = np.empty((f, f))
    spread1(covariance, np.zeros(len(covariance)), upper)
    definite = factorise1(upper)
    for p in range(f):
        for q in range(f):
            factor[p, q] = upper[q, p] if q <= p else 0.0
    return definite


@kernel("void(f8[:,::1], f8[:,::1], i8[::1], i8[::1], i8[::1], f8[:,::1])")
def join_rows(x: Floats, z: Floats, left: Ints, right: Ints, offsets: Ints, out: Floats) -> None:
    """Writes: out. Joint rows ``(offsets[-1], f)`` of contexts x ``(n, d)`` and their candidates.

    z ``(offsets[-1], e)``; left and right ``(p,)`` columns of x and of z to multiply.
    """
    d, e = x.shape[1], z.shape[1]
    for i in range(len(x)):
        for j in range(offsets[i], offsets[i + 1]):
            for p in range(d):
                out[j, p] = x[i, p]
            for p in range(e):
                out[j, d + p] = z[j, p]
            for p in range(len(left)):
                out[j, d + e + p] = x[i, left[p]] * z[j, right[p]]


@kernel(
    "void(f8[::1], f8[::1], f8[:,::1], f8[:,::1], i8[::1], i8[::1], i8[::1], f8[::1], f8[::1])",
    scoring=True,
)
def predict_joint(
    theta: Floats,
    covariance: Floats,
    x: Floats,
    z: Floats,
    left: Ints,
    right: Ints,
    offsets: Ints,
    mean: Floats,
    sd: Floats,
) -> None:
    """Writes: mean, sd. ``θᵀφ`` and ``√(φᵀ A⁻¹ φ)`` of every candidate of every request.

    theta ``(f,)``, covariance packed, x ``(n, d)``, z ``(offsets[-1], e)``, left and right
    ``(p,)``, offsets ``(n + 1,)``; mean and sd ``(offsets[-1],)``.
    """
    f, d, e = len(theta), x.shape[1], z.shape[1]
    place = np.zeros(f, dtype=np.int64)  # of a column in (1, z)
    value = np.ones(f)  # what the context multiplies it by
    for p in range(e):
        place[d + p] = 1 + p
    for p in range(len(left)):
        place[d + e + p] = 1 + right[p]
    folded = np.empty(1 + e)  # mean and variance as forms in (1, z)
    form = np.empty((1 + e, 1 + e))
    for i in range(len(x)):
        for p in range(d):
            value[p] = x[i, p]
        for p in range(len(left)):
            value[d + e + p] = x[i, left[p]]
        folded[:] = 0.0
        form[:] = 0.0
        at = 0
        for p in range(f):
            folded[place[p]] += theta[p] * value[p]
            form[place[p], place[p]] += covariance[at] * value[p] * value[p]
            at += 1
            for q in range(p + 1, f):
                low, high = min(place[p], place[q]), max(place[p], place[q])
                form[high, low] += 2.0 * covariance[at] * value[p] * value[q]
                at += 1
        for j in range(offsets[i], offsets[i + 1]):
            total = folded[0]
            for p in range(e):
                total += folded[1 + p] * z[j, p]
            mean[j] = total
            sd[j] = form[0, 0]
        quadratic1(form[1:, 1:], form[1:, 0], z, offsets[i], offsets[i + 1], sd)
        for j in range(offsets[i], offsets[i + 1]):
            sd[j] = np.sqrt(max(sd[j], 0.0))
