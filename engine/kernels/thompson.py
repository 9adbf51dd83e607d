"""Probabilities of Thompson sampling: quadrature for normal beliefs, Monte Carlo for Beta."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.random import beta1, combine1

__all__ = ["estimate_beta_wins", "integrate_normal_wins"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

AUDIT = np.uint64(14)  # draws that estimate a probability never decide a slate
REACH = 6.5  # standard deviations kept on either side of a mean; Φ(-6.5) is 4e-11
PANEL = 2.5  # widest panel, in the least standard deviation it meets
NEGLIGIBLE = -35.0  # log of a panel's mass not worth integrating
NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)


@inline
def log_normal_cdf1(z: float) -> float:
    """Return log Φ(z), at least -700: a sum of larger ones could not be taken apart again."""
    if z < -37.0:
        return -700.0
    if z < -10.0:
        # Asymptotic series, relative error below 1e-6 here; Abramowitz and Stegun 26.2.12.
        zz = 1.0 / (z * z)
        series = 1.0 - zz * (1.0 - 3.0 * zz * (1.0 - 5.0 * zz))
        return -0.5 * z * z - math.log(-z) - 0.9189385332046727 + math.log(series)
    return math.log(0.5 * math.erfc(-z * 0.7071067811865476))


@inline
def kth_largest_lower_end1(mean: Floats, sd: Floats, k: int) -> float:
    """Return the k-th largest ``mean - REACH sd``: below it no slot's maximum lies."""
    top = np.full(k, -np.inf)
    for j in range(len(mean)):
        value = mean[j] - REACH * sd[j]
        if value > top[k - 1]:
            at = k - 1
            while at > 0 and top[at - 1] < value:
                top[at] = top[at - 1]
                at -= 1
            top[at] = value
    return float(top[k - 1])


@inline
def least_sd1(mean: Floats, sd: Floats, left: float, right: float) -> float:
    """Return the least sd of the beliefs that vary between ``left`` and ``right``."""
    least: float = np.inf
    for j in range(len(mean)):
        reach = REACH * sd[j]
        if sd[j] < least and mean[j] - reach < right and mean[j] + reach > left:
            least = sd[j]
    return float(least)


@inline
def log_reach1(mean: Floats, sd: Floats, x: float, k: int) -> float:
    """Return the most that log P(all draws but k lie below ``x``) can be."""
    least = np.zeros(k)
    total = 0.0
    for j in range(len(mean)):
        value = log_normal_cdf1((x - mean[j]) / sd[j])
        total += value
        if value < least[k - 1]:
            at = k - 1
            while at > 0 and least[at - 1] > value:
                least[at] = least[at - 1]
                at -= 1
            least[at] = value
    return float(total - np.sum(least))


@kernel("void(f8[::1], f8[::1], i8[::1], i8[:,::1], f8[:,::1])")
def integrate_normal_wins(
    mean: Floats, sd: Floats, offsets: Ints, picks: Ints, probability: Floats
) -> None:
    """Writes: probability. That each pick's N(mean, sd²) draw is the highest of those left.

    ``∫ φ_i(x) Π_{j≠i} Φ_j(x) dx`` by 10-point Gauss–Legendre on panels bisected until none is
    wider than ``PANEL`` of the least sd that varies in it. ``Σ log Φ`` is taken once per node for
    all slots: each slot removes the item taken before it. mean and sd ``(offsets[-1],)``, sd > 0;
    picks and probability ``(n, k)``.
    """
    n, k = picks.shape
    stack = np.empty((128, 2))
    log_rest = np.empty(len(NODES))
    for i in range(n):
        all_mean, all_sd = mean[offsets[i] : offsets[i + 1]], sd[offsets[i] : offsets[i + 1]]
        low = kth_largest_lower_end1(all_mean, all_sd, k)
        survive = all_mean + REACH * all_sd > low
        mu, sigma = all_mean[survive], all_sd[survive]
        high = np.max(mu + REACH * sigma)
        probability[i, :] = 0.0
        stack[0, 0], stack[0, 1], depth = low, high, 1
        while depth > 0:
            depth -= 1
            left, right = stack[depth, 0], stack[depth, 1]
            if log_reach1(mu, sigma, right, k) < NEGLIGIBLE:
                continue
            middle = 0.5 * (left + right)
            if right - left > PANEL * least_sd1(mu, sigma, left, right) and left < middle < right:
                stack[depth, 0], stack[depth, 1] = middle, right
                stack[depth + 1, 0], stack[depth + 1, 1] = left, middle
                depth += 2
                continue
            half = 0.5 * (right - left)
            log_rest[:] = 0.0
            for j in range(len(mu)):
                if mu[j] + REACH * sigma[j] > left:
                    for q in range(len(NODES)):
                        log_rest[q] += log_normal_cdf1(
                            (middle + half * NODES[q] - mu[j]) / sigma[j]
                        )
            for slot in range(k):
                m, s = all_mean[picks[i, slot]], all_sd[picks[i, slot]]
                if m + REACH * s <= left:
                    continue
                for q in range(len(NODES)):
                    z = (middle + half * NODES[q] - m) / s
                    log_rest[q] -= log_normal_cdf1(z)
                    density = math.exp(log_rest[q] - 0.5 * z * z) / (2.5066282746310002 * s)
                    probability[i, slot] += half * WEIGHTS[q] * density
        for slot in range(k):
            probability[i, slot] = min(probability[i, slot], 1.0)


@kernel("void(f8[::1], f8[::1], i8[::1], u8[::1], u8[::1], u8, i8, i8[:,::1], f8[:,::1])")
def estimate_beta_wins(
    a: Floats,
    b: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    draws: int,
    picks: Ints,
    probability: Floats,
) -> None:
    """Writes: probability. How often each pick's Beta(a, b) draw is the highest of those left.

    From ``draws`` joint draws that share nothing with the draw that chose the slate, so the
    estimate is unbiased. a and b ``(offsets[-1],)``; picks and probability ``(n, k)``.
    """
    n, k = picks.shape
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        value = np.empty(stop - start)
        probability[i, :] = 0.0
        request_key = combine1(combine1(seed, keys[i]), AUDIT)
        for draw in range(draws):
            draw_key = combine1(request_key, np.uint64(draw))
            for j in range(stop - start):
                value[j] = beta1(
                    combine1(draw_key, item_keys[start + j]), a[start + j], b[start + j]
                )
            for slot in range(k):
                pick = picks[i, slot]
                if value[pick] == np.max(value):
                    probability[i, slot] += 1.0
                value[pick] = -1.0
        for slot in range(k):
            probability[i, slot] /= draws
