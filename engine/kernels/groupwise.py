"""Ridge regression by item and group, weighted by AdaNormalHedge among the groups awake.

Source of the weights: Luo and Schapire 2015, "Achieving all with no parameters: AdaNormalHedge",
equation 1 and section 5 (sleeping experts).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.solve import project1

__all__ = ["predict_groupwise", "update_groupwise"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@inline
def exponent1(regret: float, scale: float) -> float:
    """Return ``[R]₊² / 3C``, the log of the potential Φ(R, C)."""
    above = max(regret, 0.0)
    return above * above / (3.0 * scale)


@inline
def set_weights1(regret: Floats, spread: Floats, awake: Ints, share: Floats) -> None:
    """Writes: share. ``p_g ∝ Φ(R + 1, C + 1) - Φ(R - 1, C + 1)`` of the groups awake.

    regret, spread and share ``(G,)``. Potentials are taken relative to the largest, for they grow
    like eᶜ; where all weights are 0 the groups awake share alike.
    """
    most = 0.0
    for g in awake:
        most = max(most, exponent1(regret[g] + 1.0, spread[g] + 1.0))
    total = 0.0
    for g in awake:
        upper = exponent1(regret[g] + 1.0, spread[g] + 1.0)
        lower = exponent1(regret[g] - 1.0, spread[g] + 1.0)
        share[g] = math.exp(upper - most) - math.exp(lower - most)
        total += share[g]
    for g in awake:
        share[g] = share[g] / total if total > 0.0 else 1.0 / len(awake)


@inline
def find_awake1(x: Floats, places: Ints, awake: Ints) -> int:
    """Writes: awake. Return how many groups hold a row: 0 always does, the others by column."""
    awake[0] = 0
    count = 1
    for g in range(len(places)):
        if x[places[g]] != 0.0:
            awake[count] = g + 1
            count += 1
    return count


@kernel(
    "void(f8[:,:,::1], f8[:,:,::1], f8[:,::1], f8[:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1], "
    "i8[::1], f8, f8, f8)"
)
def update_groupwise(
    gram: Floats,
    moment: Floats,
    regret: Floats,
    spread: Floats,
    rows: Ints,
    x: Floats,
    reward: Floats,
    weight: Floats,
    places: Ints,
    precision: float,
    low: float,
    high: float,
) -> None:
    """Writes: gram, moment, regret, spread. One event after the other, in order.

    gram ``(m, G, d (d + 1) / 2)`` packed, moment ``(m, G, d)``, regret and spread ``(m, G)``,
    x ``(n, d)``, places ``(G - 1,)`` the columns of the groups but the first, the others ``(n,)``.
    Each group awake predicts from what came before; its squared loss, of predictions and rewards
    clipped to [low, high] and scaled to [0, 1], moves its regret, then it learns.
    """
    d, size = x.shape[1], len(places) + 1
    left, right, work = np.empty(d), np.empty(d), np.empty(gram.shape[2])
    members, share, loss = np.empty(size, dtype=np.int64), np.empty(size), np.empty(size)
    for i in range(len(rows)):
        row = rows[i]
        awake = members[: find_awake1(x[i], places, members)]
        set_weights1(regret[row], spread[row], awake, share)
        target = (min(max(reward[i], low), high) - low) / (high - low)
        mixed = 0.0
        for g in awake:
            mean, _ = project1(gram[row, g], precision, moment[row, g], x[i], left, right, work)
            error = (min(max(mean, low), high) - low) / (high - low) - target
            loss[g] = error * error
            mixed += share[g] * loss[g]
        for g in awake:
            gained = mixed - loss[g]
            regret[row, g] += gained
            spread[row, g] += abs(gained)
            at = 0
            for p in range(d):
                wx = weight[i] * x[i, p]
                moment[row, g, p] += wx * reward[i]
                for q in range(p, d):
                    gram[row, g, at] += wx * x[i, q]
                    at += 1


@kernel(
    "void(f8[:,:,::1], f8[:,:,::1], f8[:,::1], f8[:,::1], f8[:,::1], i8[::1], i8[::1], i8[::1], "
    "f8, f8, f8[::1], f8[::1])",
    scoring=True,
)
def predict_groupwise(
    theta: Floats,
    covariance: Floats,
    regret: Floats,
    spread: Floats,
    x: Floats,
    offsets: Ints,
    rows: Ints,
    places: Ints,
    low: float,
    high: float,
    mean: Floats,
    sd: Floats,
) -> None:
    """Writes: mean, sd. Predictions and widths of the groups awake, by their weights.

    theta ``(m, G, d)``, covariance ``(m, G, d (d + 1) / 2)`` packed, regret and spread ``(m, G)``,
    x ``(n, d)``, offsets ``(n + 1,)``, places ``(G - 1,)``; rows, mean and sd ``(offsets[-1],)``.
    """
    d, size = x.shape[1], len(places) + 1
    members, share = np.empty(size, dtype=np.int64), np.empty(size)
    for i in range(len(x)):
        awake = members[: find_awake1(x[i], places, members)]
        for j in range(offsets[i], offsets[i + 1]):
            row = rows[j]
            set_weights1(regret[row], spread[row], awake, share)
            mean[j], sd[j] = 0.0, 0.0
            for g in awake:
                value, variance, at = 0.0, 0.0, 0
                for p in range(d):
                    value += theta[row, g, p] * x[i, p]
                    half = 0.5 * covariance[row, g, at] * x[i, p]
                    for q in range(1, d - p):
                        half += covariance[row, g, at + q] * x[i, p + q]
                    variance += 2.0 * x[i, p] * half
                    at += d - p
                mean[j] += share[g] * min(max(value, low), high)
                sd[j] += share[g] * np.sqrt(max(variance, 0.0))
