"""Online bootstrap: how often every replica sees an outcome, and ridge regression of each.

Source: Oza and Russell 2001, "Online bagging and boosting": each replica learns an outcome a
Poisson(1) number of times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.random import combine1, uniform1
from engine.kernels.solve import solve1

__all__ = ["derive_replicas", "draw_repeats", "predict_replicas", "update_replicas"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

NONE = 0.36787944117144233  # e⁻¹, the chance of Poisson(1) = 0


@inline
def poisson1(u: float) -> float:
    """Return the Poisson(1) number whose distribution function first reaches u."""
    count, chance, reached = 0.0, NONE, NONE
    while u > reached and count < 20.0:
        count += 1.0
        chance /= count
        reached += chance
    return count


@kernel("void(u8, i8[::1], u8[:,::1], f8[:,::1])")
def draw_repeats(seed: np.uint64, time_ms: Ints, bits: Keys, repeats: Floats) -> None:
    """Writes: repeats. Poisson(1) numbers ``(n, R)``, hashed of an outcome's time and row.

    bits ``(n, d)`` are the context rows' bit patterns. Outcomes of one slate share them, so a
    replica takes or leaves a slate whole, and what it takes depends on no other outcome.
    """
    for i in range(len(time_ms)):
        key = combine1(seed, np.uint64(time_ms[i]))
        for p in range(bits.shape[1]):
            key = combine1(key, bits[i, p])
        for replica in range(repeats.shape[1]):
            repeats[i, replica] = poisson1(uniform1(combine1(key, np.uint64(replica))))


@kernel(
    "void(f8[:,:,::1], f8[:,:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1], f8[:,::1])",
)
def update_replicas(
    gram: Floats,
    moment: Floats,
    rows: Ints,
    x: Floats,
    reward: Floats,
    weight: Floats,
    repeats: Floats,
) -> None:
    """Writes: gram, moment. Add ``w c x xᵀ`` (packed) and ``w c r x``, c a replica's repeats.

    gram ``(m, R, d (d + 1) / 2)``, moment ``(m, R, d)``, x ``(n, d)``, repeats ``(n, R)``, the
    others ``(n,)``.
    """
    d = x.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        for replica in range(repeats.shape[1]):
            times = weight[i] * repeats[i, replica]
            if times == 0.0:
                continue
            at = 0
            for p in range(d):
                wx = times * x[i, p]
                moment[row, replica, p] += wx * reward[i]
                for q in range(p, d):
                    gram[row, replica, at] += wx * x[i, q]
                    at += 1


@kernel("i8(f8[:,:,::1], f8[:,:,::1], f8, f8[:,:,::1])")
def derive_replicas(gram: Floats, moment: Floats, precision: float, theta: Floats) -> int:
    """Writes: theta. ``(precision · I + gram)⁻¹ moment`` of every item's replicas.

    gram ``(m, R, d (d + 1) / 2)`` packed, moment and theta ``(m, R, d)``. Returns how many
    systems were not positive definite.
    """
    m, replicas, d = moment.shape
    right, work = np.empty(d), np.empty(gram.shape[2])
    failed = 0
    for row in range(m):
        for replica in range(replicas):
            solved = solve1(
                gram[row, replica],
                precision,
                moment[row, replica],
                theta[row, replica],
                right,
                work,
            )
            failed += not solved
    return failed


@kernel("void(f8[:,:,::1], f8[:,::1], i8[::1], i8[::1], f8[:,::1])", scoring=True)
def predict_replicas(theta: Floats, x: Floats, offsets: Ints, rows: Ints, mean: Floats) -> None:
    """Writes: mean. ``θᵀx`` of every replica of every candidate, ``(R, offsets[-1])``.

    theta ``(m, R, d)``, x ``(n, d)``, offsets ``(n + 1,)``, rows ``(offsets[-1],)``.
    """
    for i in range(len(x)):
        for j in range(offsets[i], offsets[i + 1]):
            for replica in range(theta.shape[1]):
                value = 0.0
                for p in range(x.shape[1]):
                    value += theta[rows[j], replica, p] * x[i, p]
                mean[replica, j] = value
