"""What the decide-and-learn loops share: scores of all arms, and how one of them is picked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, inline_scoring
from engine.kernels.random import combine1, normal1, uniform1

__all__ = [
    "EXPLORE",
    "GREEDY",
    "SQUARECB",
    "THOMPSON",
    "UCB",
    "draw_widths1",
    "highest1",
    "multiply_symmetric1",
    "pick_by_gap1",
    "pick_tied1",
    "pick_uniform1",
    "score_arms1",
]

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

GREEDY, UCB, THOMPSON, SQUARECB = 0, 1, 2, 3
EXPLORE, UNIFORM, BELIEF, TIES = np.uint64(11), np.uint64(12), np.uint64(13), np.uint64(14)


@inline_scoring
def score_arms1(x: Floats, theta: Floats, mean: Floats) -> None:
    """Writes: mean. ``θᵀx`` of every arm; theta ``(d, K)``, four columns a pass."""
    d, arms, p = len(x), len(mean), 0
    for arm in range(arms):
        mean[arm] = 0.0
    while p + 4 <= d:
        x0, x1, x2, x3 = x[p], x[p + 1], x[p + 2], x[p + 3]
        t0, t1, t2, t3 = theta[p], theta[p + 1], theta[p + 2], theta[p + 3]
        for arm in range(arms):
            mean[arm] += x0 * t0[arm] + x1 * t1[arm] + x2 * t2[arm] + x3 * t3[arm]
        p += 4
    while p < d:
        x0, t0 = x[p], theta[p]
        for arm in range(arms):
            mean[arm] += x0 * t0[arm]
        p += 1


@inline_scoring
def draw_widths1(alpha: float, key: np.uint64, item_keys: Keys, width: Floats) -> None:
    """Writes: width. A normal draw of every arm, in standard deviations of its belief."""
    draw_key = combine1(key, BELIEF)
    for arm in range(len(width)):
        width[arm] = alpha * normal1(combine1(draw_key, item_keys[arm]))


@inline
def highest1(index: Floats) -> tuple[int, int]:
    """Return the first arm of the highest index, and how many have it."""
    best, pick, ties = -np.inf, 0, 0
    for arm in range(len(index)):
        if index[arm] > best:
            best, pick, ties = index[arm], arm, 1
        elif index[arm] == best:
            ties += 1
    return pick, ties


@inline
def pick_tied1(key: np.uint64, item_keys: Keys, index: Floats, best: float) -> int:
    """Return one of the arms whose index is ``best``, each as likely."""
    high, pick = -1.0, -1
    for arm in range(len(index)):
        if index[arm] == best:
            draw = uniform1(combine1(combine1(key, TIES), item_keys[arm]))
            if draw > high:
                high, pick = draw, arm
    return pick


@inline
def pick_by_gap1(key: np.uint64, mean: Floats, gamma: float) -> int:
    """Inverse gap weighting (Foster and Rakhlin 2020, algorithm 1): the best gets the rest."""
    arms = len(mean)
    best = np.max(mean)
    ties, rest = 0, 1.0
    for arm in range(arms):
        if mean[arm] == best:
            ties += 1
        else:
            rest -= 1.0 / (arms + gamma * (best - mean[arm]))
    left = uniform1(combine1(key, BELIEF))
    for arm in range(arms):
        share = rest / ties if mean[arm] == best else 1.0 / (arms + gamma * (best - mean[arm]))
        left -= share
        if left < 0.0:
            return arm
    return arms - 1


@inline
def pick_uniform1(key: np.uint64, item_keys: Keys) -> int:
    """Return any arm, each as likely."""
    high, pick = -1.0, 0
    for arm in range(len(item_keys)):
        draw = uniform1(combine1(combine1(key, UNIFORM), item_keys[arm]))
        if draw > high:
            high, pick = draw, arm
    return pick


@inline_scoring
def multiply_symmetric1(matrix: Floats, x: Floats, out: Floats) -> None:
    """Writes: out. ``matrix @ x`` of a symmetric matrix, by rows."""
    for q in range(len(x)):
        out[q] = 0.0
    for p in range(len(x)):
        xp, row = x[p], matrix[p]
        for q in range(len(x)):
            out[q] += row[q] * xp
