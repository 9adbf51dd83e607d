"""Decide and learn in one loop, each column of a context explaining the reward by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.arms import (
    EXPLORE,
    SQUARECB,
    THOMPSON,
    UCB,
    draw_widths1,
    highest1,
    pick_by_gap1,
    pick_tied1,
    pick_uniform1,
    score_arms1,
)
from engine.kernels.compile import kernel
from engine.kernels.random import combine1, uniform1

__all__ = ["decide_columnwise"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

SAFE = 1.0 + 1e-9  # of a bound, for the rounding of what it bounds


@kernel(
    "i8(i8, f8[:,::1], f8[:,::1], u8[::1], u8[::1], f8[::1], f8[:,::1], f8[:,::1], f8[::1],"
    " i8[::1])",
    scoring=True,
)
def decide_columnwise(
    kind: int,
    x: Floats,
    rewards: Floats,
    keys: Keys,
    item_keys: Keys,
    settings: Floats,
    theta: Floats,
    variance: Floats,
    reach: Floats,
    picks: Ints,
) -> int:
    """Writes: theta, variance, reach, picks. Returns how many exact widths it took.

    As `decide_lazily`, each column explaining all by itself: theta ``(d, K)`` and variance
    ``(K, d)`` are b / d and 1 / d of every arm's columns, reach ``(K,)`` the root of the largest
    variance of an arm, which times ``‖x‖`` bounds its width.
    """
    n, d = x.shape
    arms = len(item_keys)
    alpha, gamma, floor, before = settings[0], settings[1], settings[2], settings[3]
    mean, bound, index = np.empty(arms), np.empty(arms), np.empty(arms)
    width = np.full(arms, alpha if kind == UCB else 0.0)
    squares = np.empty(d)
    widths = 0
    for i in range(n):
        xi, key = x[i], keys[i]
        score_arms1(xi, theta, mean)
        norm = 0.0
        for p in range(d):
            squares[p] = xi[p] * xi[p]
            norm += squares[p]
        norm = np.sqrt(norm) * SAFE
        if floor > 0.0 and uniform1(combine1(key, EXPLORE)) < floor:
            pick = pick_uniform1(key, item_keys)
        elif kind == SQUARECB:
            pick = pick_by_gap1(key, mean, gamma * np.sqrt(before + i))
        else:
            if kind == THOMPSON:
                draw_widths1(alpha, key, item_keys, width)
            for arm in range(arms):
                bound[arm] = mean[arm] + max(width[arm], 0.0) * reach[arm] * norm
                index[arm] = -np.inf
            first, ties = highest1(bound)
            best, pick, ties = -np.inf, first, 0
            for turn in range(-1, arms):
                arm = first if turn < 0 else turn
                if bound[arm] < best or turn == first:
                    continue
                value = mean[arm]
                if width[arm] != 0.0:
                    widths += 1
                    spread, row = 0.0, variance[arm]
                    for p in range(d):
                        spread += squares[p] * row[p]
                    value += width[arm] * np.sqrt(spread)
                index[arm] = value
                if value > best:
                    best, ties, pick = value, 1, arm
                elif value == best:
                    ties += 1
            if ties > 1:
                pick = pick_tied1(key, item_keys, index, best)
        picks[i] = pick
        reward, mine, largest = rewards[i, pick], variance[pick], 0.0
        for p in range(d):
            shrink = 1.0 / (1.0 + mine[p] * squares[p])
            theta[p, pick] = (theta[p, pick] + mine[p] * xi[p] * reward) * shrink
            mine[p] *= shrink
            largest = max(largest, mine[p])
        reach[pick] = np.sqrt(largest)
    return widths
