"""Hybrid linear model: coefficients of each item beside coefficients that all share.

Source: Li et al. 2010, "A contextual-bandit approach to personalized news article
recommendation", algorithm 2. Names follow the paper: A_a, B_a and b_a of an item, A₀, b₀ and β of
all; z there is h here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.cholesky import (
    quadratic1,
    solve_ridge1,
    spread1,
)
from engine.kernels.compile import kernel

__all__ = ["eliminate_items", "predict_hybrid"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel(
    "i8(f8[:,::1], f8[:,:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[:,::1], f8[:,:,::1], f8[::1], "
    "f8[::1])"
)
def eliminate_items(
    gram: Floats,
    cross: Floats,
    moment: Floats,
    prior: Floats,
    theta: Floats,
    covariance: Floats,
    link: Floats,
    shared_gram: Floats,
    shared_moment: Floats,
) -> int:
    """Writes: all after prior. A_a⁻¹, θ = A_a⁻¹b_a and link = A_a⁻¹B_a of every item a.

    Subtracts ``B_aᵀ A_a⁻¹ B_a`` from shared_gram and ``B_aᵀ A_a⁻¹ b_a`` from shared_moment (lines
    17 and 18 of the algorithm), which turns sums into those of β alone. gram and covariance
    ``(m, d (d + 1) / 2)``, prior, shared_gram ``(h (h + 1) / 2,)`` packed; cross and link
    ``(m, d, h)``, moment and theta ``(m, d)``. Returns how many items were not positive definite;
    theirs are left as they were.
    """
    m, d = moment.shape
    h = len(shared_moment)
    upper = np.empty((d, d))
    lower = np.empty((d, d))
    taken = np.zeros((h, h))
    failed = 0
    for row in range(m):
        if not solve_ridge1(
            gram[row], moment[row], prior, upper, lower, covariance[row], theta[row]
        ):
            failed += 1
            continue
        for p in range(d):
            total = link[row, p]
            total[:] = 0.0
            for s in range(d):
                share = upper[min(p, s), max(p, s)]
                part = cross[row, s]
                for q in range(h):
                    total[q] += share * part[q]
        for s in range(d):
            for p in range(h):
                share = cross[row, s, p]
                shared_moment[p] -= share * theta[row, s]
                total, part = taken[p, p:], link[row, s, p:]
                for q in range(len(total)):
                    total[q] += share * part[q]
    at = 0
    for p in range(h):
        for q in range(p, h):
            shared_gram[at] -= taken[p, q]
            at += 1
    return failed


@kernel(
    "void(f8[:,::1], f8[:,::1], f8[:,:,::1], f8[::1], f8[::1], f8[:,::1], f8[:,::1], i8[::1], "
    "i8[::1], i8[::1], i8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1])",
    scoring=True,
)
def predict_hybrid(
    theta: Floats,
    covariance: Floats,
    link: Floats,
    beta: Floats,
    shared_covariance: Floats,
    x: Floats,
    z: Floats,
    left: Ints,
    right: Ints,
    offsets: Ints,
    rows: Ints,
    mean: Floats,
    sd: Floats,
    own: Floats,
    features: Floats,
) -> None:
    """Writes: mean, sd, own, features. ``θ_aᵀx + βᵀh`` of every candidate and its spread.

    The variance of line 12 is xᵀA_a⁻¹x, which is the item's own (own is its root), plus gᵀA₀⁻¹g
    with g = h - B_aᵀA_a⁻¹x, what is left of h once the item is accounted for (features). theta
    ``(m, d)``, link ``(m, d, h)``, beta ``(h,)``, both covariances packed; x ``(n, d)``,
    z ``(offsets[-1], e)``, left and right ``(p,)``, rows, mean, sd and own ``(offsets[-1],)``,
    features ``(offsets[-1], h)``.
    """
    d, e, h = x.shape[1], z.shape[1], len(beta)
    products = np.empty(covariance.shape[1])
    form = np.empty((h, h))
    spread1(shared_covariance, np.zeros(len(shared_covariance)), form)
    for p in range(h):
        for q in range(p):
            form[p, q] *= 2.0
    none = np.zeros(h)
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
            for p in range(e):
                features[j, p] = z[j, p]
            for p in range(len(left)):
                features[j, e + p] = x[i, left[p]] * z[j, right[p]]
            total = 0.0
            for p in range(h):
                total += beta[p] * features[j, p]
            for p in range(d):
                total += theta[row, p] * x[i, p]
                for q in range(h):
                    features[j, q] -= x[i, p] * link[row, p, q]
            variance = 0.0
            for p in range(len(products)):
                variance += covariance[row, p] * products[p]
            mean[j] = total
            sd[j] = max(variance, 0.0)
            own[j] = np.sqrt(sd[j])
        quadratic1(form, none, features, offsets[i], offsets[i + 1], sd)
        for j in range(offsets[i], offsets[i + 1]):
            sd[j] = np.sqrt(max(sd[j], 0.0))
