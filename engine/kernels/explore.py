"""Draws from probabilities stated outright, and indices that need solving.

A pick given as -1 is drawn; any other is taken as given, so the same kernels rank and score.
Probabilities are those of the candidates left to a slot; every slot gives a uniform pick of them
the probability ``mass``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.random import combine1, uniform1

__all__ = [
    "EXPONENTIAL",
    "FAST_GAP",
    "INVERSE_GAP",
    "SOFTMAX",
    "TOP",
    "draw_by_replicas",
    "draw_by_weights",
    "find_kl_bounds",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]

SOFTMAX, INVERSE_GAP, FAST_GAP, EXPONENTIAL, TOP = range(5)

RACE = np.uint64(15)  # a stream of random numbers of its own


@inline
def draw_race1(slot_key: np.uint64, item_keys: Keys, weight: Floats) -> int:
    """Draw a candidate with probability proportional to its weight, by exponential clocks.

    The first clock to ring, ``argmin -log(u) / w``, is ``argmax log w + Gumbel noise``.
    """
    race_key = combine1(slot_key, RACE)
    first, pick = np.inf, -1
    for j in range(len(item_keys)):
        if weight[j] > 0.0:
            time = -math.log(uniform1(combine1(race_key, item_keys[j]))) / weight[j]
            if time < first:
                first, pick = time, j
    return pick


@inline
def mth_largest1(score: Floats, taken: Flags, m: int) -> float:
    """Return the m-th largest score of the candidates not taken."""
    top = np.full(m, -np.inf)
    for j in range(len(score)):
        if not taken[j] and score[j] > top[m - 1]:
            at = m - 1
            while at > 0 and top[at - 1] < score[j]:
                top[at] = top[at - 1]
                at -= 1
            top[at] = score[j]
    return float(top[m - 1])


@inline
def weigh_top1(score: Floats, taken: Flags, left: int, m: int, weight: Floats) -> None:
    """Writes: weight. Uniform over the m highest; ties for the last places share them."""
    places = min(m, left)
    boundary = mth_largest1(score, taken, places)
    above, ties = 0, 0
    for j in range(len(score)):
        if not taken[j]:
            above += score[j] > boundary
            ties += score[j] == boundary
    for j in range(len(score)):
        weight[j] = 0.0
        if not taken[j]:
            if score[j] > boundary:
                weight[j] = 1.0 / places
            elif score[j] == boundary:
                weight[j] = (places - above) / (ties * places)


@inline
def weigh1(
    kind: int, score: Floats, taken: Flags, left: int, sharpness: float, weight: Floats
) -> None:
    """Writes: weight. The probability of every candidate not taken; 0 of the others."""
    if kind == TOP:
        weigh_top1(score, taken, left, int(sharpness), weight)
        return
    best, ties = -np.inf, 0
    for j in range(len(score)):
        if not taken[j]:
            if score[j] > best:
                best, ties = score[j], 1
            elif score[j] == best:
                ties += 1
    rate = sharpness / left if kind == EXPONENTIAL else sharpness
    total = 0.0
    for j in range(len(score)):
        weight[j] = 0.0
        if not taken[j]:
            # A best of infinity is as far from itself as any other: not at all.
            gap = 0.0 if score[j] == best else best - score[j]
            if kind in (SOFTMAX, EXPONENTIAL):
                weight[j] = math.exp(-rate * gap)
            elif gap == 0.0:
                continue
            elif kind == INVERSE_GAP:
                weight[j] = 1.0 / (left + rate * gap)
            elif rate == 0.0:
                weight[j] = 1.0 / left  # also where the best loss is 0
            else:
                weight[j] = -best / (-best * left + rate * gap)
            total += weight[j]
    for j in range(len(score)):
        if not taken[j]:
            if kind == SOFTMAX:
                weight[j] /= total
            elif kind == EXPONENTIAL:
                weight[j] = (1.0 - sharpness) * weight[j] / total + sharpness / left
            elif score[j] == best:
                weight[j] = (1.0 - total) / ties


@inline
def mix_floor1(taken: Flags, left: int, mass: float, weight: Floats) -> None:
    """Writes: weight. Mix probabilities with a uniform pick of the candidates not taken."""
    for j in range(len(weight)):
        if taken[j]:
            weight[j] = 0.0
        elif left == 1:
            weight[j] = 1.0
        else:
            weight[j] = (1.0 - mass) * weight[j] + mass / left


@kernel("void(i8, f8[::1], f8, i8[::1], u8[::1], u8[::1], u8, i8, f8, i8[:,::1], f8[:,::1])")
def draw_by_weights(
    kind: int,
    score: Floats,
    sharpness: float,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    first: int,
    mass: float,
    picks: Ints,
    propensity: Floats,
) -> None:
    """Writes: picks, propensity. Each slot draws from probabilities of the candidates left to it.

    Of m candidates left with score s and best score b, the t of them that reach b sharing what
    the others leave (`INVERSE_GAP`, `FAST_GAP`):

    - `SOFTMAX`: ``∝ exp(sharpness · s)``
    - `INVERSE_GAP`: ``1 / (m + sharpness · (b - s))``
    - `FAST_GAP`: ``-b / (-m b + sharpness · (b - s))``, scores being losses times -1
    - `EXPONENTIAL`: ``(1 - sharpness) · softmax(sharpness / m · s) + sharpness / m``
    - `TOP`: ``1 / sharpness`` for as many of the highest, ties for the last places sharing them

    score and item_keys ``(offsets[-1],)``, keys ``(n,)``, picks and propensity ``(n, k)``; first
    is the number of the first column's slot.
    """
    n, k = picks.shape
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        taken = np.zeros(stop - start, dtype=np.bool_)
        weight = np.empty(stop - start)
        for slot in range(k):
            left = stop - start - slot
            weigh1(kind, score[start:stop], taken, left, sharpness, weight)
            mix_floor1(taken, left, mass, weight)
            if picks[i, slot] < 0:
                slot_key = combine1(combine1(seed, keys[i]), np.uint64(first + slot))
                picks[i, slot] = draw_race1(slot_key, item_keys[start:stop], weight)
            propensity[i, slot] = weight[picks[i, slot]]
            taken[picks[i, slot]] = True


@kernel("void(f8[:,::1], i8[::1], u8[::1], u8[::1], u8, i8, f8, i8[:,::1], f8[:,::1])")
def draw_by_replicas(
    replicas: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    first: int,
    mass: float,
    picks: Ints,
    propensity: Floats,
) -> None:
    """Writes: picks, propensity. Each slot shows the best of one replica, drawn afresh.

    The probability of a candidate is the share of replicas in which it is the best left, ties
    within a replica shared equally; replicas ``(R, offsets[-1])``, R > 0.
    """
    n, k = picks.shape
    size = len(replicas)
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        taken = np.zeros(stop - start, dtype=np.bool_)
        weight = np.empty(stop - start)
        for slot in range(k):
            left = stop - start - slot
            weight[:] = 0.0
            for r in range(size):
                best, ties = -np.inf, 0
                for j in range(stop - start):
                    if not taken[j]:
                        if replicas[r, start + j] > best:
                            best, ties = replicas[r, start + j], 1
                        elif replicas[r, start + j] == best:
                            ties += 1
                for j in range(stop - start):
                    if not taken[j] and replicas[r, start + j] == best:
                        weight[j] += 1.0 / (ties * size)
            mix_floor1(taken, left, mass, weight)
            if picks[i, slot] < 0:
                slot_key = combine1(combine1(seed, keys[i]), np.uint64(first + slot))
                picks[i, slot] = draw_race1(slot_key, item_keys[start:stop], weight)
            propensity[i, slot] = weight[picks[i, slot]]
            taken[picks[i, slot]] = True


@kernel("void(f8[::1], f8[::1], f8, f8[::1])", scoring=True)
def find_kl_bounds(mean: Floats, count: Floats, budget: float, bound: Floats) -> None:
    """Writes: bound. The largest q with ``count · kl(mean, q) ≤ budget``, kl of Bernoullis.

    Newton from above the root, where the convex kl lets no step fall below it; the start is the
    lesser of Pinsker's bound and of one that leaves ``(1 - mean) log(1 - q)`` alone. A count of 0
    gives 1. Arrays ``(m,)``.
    """
    for j in range(len(mean)):
        p = min(max(mean[j], 0.0), 1.0)
        if count[j] <= 0.0 or p == 1.0:
            bound[j] = 1.0
            continue
        level = budget / count[j]
        if p == 0.0 or level <= 0.0:
            bound[j] = p if level <= 0.0 else -math.expm1(-level)
            continue
        entropy = -p * math.log(p) - (1.0 - p) * math.log1p(-p)
        q = min(p + math.sqrt(0.5 * level), -math.expm1(-(level + entropy) / (1.0 - p)))
        for _ in range(60):
            if not p < q < 1.0:
                break
            excess = -entropy - p * math.log(q) - (1.0 - p) * math.log1p(-q) - level
            step = excess * q * (1.0 - q) / (q - p)
            if not step > 1e-15 * q:
                break
            q -= step
        bound[j] = max(q, p)
