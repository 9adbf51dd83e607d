"""Thompson sampling over candidates that share parameters, with sampled probabilities.

The winner of a draw has no closed probability. It is estimated from draws that never include the
served one: as a share of hits, and as the number of draws of the slot's whole policy until the
served item comes again, whose expectation is the reciprocal of the probability.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.random import combine1, normal1, uniform1
from engine.kernels.slates import EXPLORE, UNIFORM, pick_uniform1

__all__ = ["draw_jointly"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]

SERVED = np.uint64(21)
ESTIMATE = np.uint64(22)
RECUR = np.uint64(23)
SHARED = np.uint64(24)
OWN = np.uint64(25)

MOST_DRAWS = 100_000
NEVER = 1 << 62


@inline
def load_factor1(features: Floats, factor: Floats, loading: Floats) -> None:
    """Writes: loading ``(f, m)``, transposed ``features @ factor`` of a lower triangle."""
    width = factor.shape[0]
    for column in range(width):
        for j in range(len(features)):
            loading[column, j] = 0.0
        for row in range(column, width):
            entry = factor[row, column]
            if entry != 0.0:
                for j in range(len(features)):
                    loading[column, j] += features[j, row] * entry


@inline
def draw_values1(
    key: np.uint64,
    location: Floats,
    loading: Floats,
    own: Floats,
    item_keys: Keys,
    taken: Flags,
    values: Floats,
) -> tuple[float, int]:
    """Writes: values. One joint draw; returns the highest not taken, and how many reach it.

    Every candidate's value is added up in the same order, so that candidates that are alike in
    all tie exactly.
    """
    shared_key, own_key = combine1(key, SHARED), combine1(key, OWN)
    for j in range(len(location)):
        values[j] = location[j]
    for column in range(len(loading)):
        z = normal1(combine1(shared_key, np.uint64(column)))
        for j in range(len(location)):
            values[j] += loading[column, j] * z
    best, ties = -np.inf, 0
    for j in range(len(location)):
        if not taken[j]:
            if own[j] > 0.0:
                values[j] += own[j] * normal1(combine1(own_key, item_keys[j]))
            if values[j] > best:
                best, ties = values[j], 1
            elif values[j] == best:
                ties += 1
    return best, ties


@inline
def count_recurrence1(
    slot_key: np.uint64,
    location: Floats,
    loading: Floats,
    own: Floats,
    item_keys: Keys,
    taken: Flags,
    values: Floats,
    left: int,
    mass: float,
    pick: int,
) -> int:
    """Return draws of the slot's whole policy until ``pick`` comes, by chance of the floor or not.

    The first time that the floor picks it is geometric, by its inverse. The draws before are
    known not to be that, so they are of the belief with probability (1 - ε) / (1 - ε / m). After
    `MOST_DRAWS` of those the floor alone decides.
    """
    recur_key = combine1(slot_key, RECUR)
    limit = NEVER
    if mass > 0.0:
        longest = math.log(uniform1(recur_key)) / math.log1p(-mass / left)
        limit = 1 + int(longest) if longest < 4e18 else NEVER
    believing = (1.0 - mass) / (1.0 - mass / left)
    trial, drawn = 1, 0
    while trial < limit and drawn < MOST_DRAWS and believing > 0.0:
        key = combine1(recur_key, np.uint64(trial))
        if uniform1(combine1(key, EXPLORE)) < believing:
            drawn += 1
            best, ties = draw_values1(key, location, loading, own, item_keys, taken, values)
            if values[pick] == best and uniform1(combine1(key, UNIFORM)) * ties < 1.0:
                return trial
        trial += 1
    return limit


@kernel(
    "void(f8[::1], f8[:,::1], f8[:,::1], f8[::1], i8[::1], u8[::1], u8[::1], u8, i8, f8, i8, "
    "i8[:,::1], f8[:,::1], i8[:,::1])"
)
def draw_jointly(
    location: Floats,
    features: Floats,
    factor: Floats,
    own: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    first: int,
    mass: float,
    samples: int,
    picks: Ints,
    hits: Floats,
    recurrence: Ints,
) -> None:
    """Writes: picks, hits, recurrence. The highest of a fresh joint draw, or a uniform pick.

    A draw is ``location + features @ factor @ z + own · ε``, ties shared equally. hits is the
    share of ``samples`` other draws that the pick won, without the floor; recurrence the number
    of draws, floor included, until it won again. location, own and item_keys ``(offsets[-1],)``,
    features ``(offsets[-1], f)``, factor ``(f, f)`` lower triangle; the three written ``(n, k)``.
    """
    n, k = picks.shape
    width = len(factor)
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        m = stop - start
        loading, values = np.empty((width, m)), np.empty(m)
        load_factor1(features[start:stop], factor, loading)
        mean, sd, items = location[start:stop], own[start:stop], item_keys[start:stop]
        taken = np.zeros(m, dtype=np.bool_)
        for slot in range(k):
            slot_key = combine1(combine1(seed, keys[i]), np.uint64(first + slot))
            if picks[i, slot] < 0:
                losers = taken.copy()
                if uniform1(combine1(slot_key, EXPLORE)) >= mass:
                    key = combine1(slot_key, SERVED)
                    best, ties = draw_values1(key, mean, loading, sd, items, taken, values)
                    for j in range(m):
                        losers[j] = taken[j] or values[j] != best
                picks[i, slot] = pick_uniform1(slot_key, items, losers)
            pick = picks[i, slot]
            hits[i, slot], recurrence[i, slot] = 1.0, 1
            if m - slot > 1:
                estimate_key = combine1(slot_key, ESTIMATE)
                won = 0.0
                for sample in range(samples):
                    key = combine1(estimate_key, np.uint64(sample))
                    best, ties = draw_values1(key, mean, loading, sd, items, taken, values)
                    if values[pick] == best:
                        won += 1.0 / ties
                hits[i, slot] = won / samples
                recurrence[i, slot] = count_recurrence1(
                    slot_key, mean, loading, sd, items, taken, values, m - slot, mass, pick
                )
            taken[pick] = True
