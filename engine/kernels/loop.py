"""Decide and learn in one loop: disjoint linear policies over a table of rewards.

Each event scores every arm, picks one, sees its reward and learns from it. Means and inverses are
kept up to date event by event (Sherman and Morrison 1950); the raw sums are the caller's.

Two kernels do the same work. `decide_lazily` bounds every arm's width ``√(xᵀCx)`` by
``√λ ‖L⁻¹x‖``, λ an upper bound of the largest eigenvalue of ``LᵀCL``, twice: with L the identity
and with L a root of the contexts' second moments. C only shrinks, so a stale λ still bounds; only
arms whose smaller bound reaches the best index are evaluated exactly. `decide_densely` evaluates
all, arms innermost, for worlds where the bounds exclude too few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.arms import (
    EXPLORE,
    GREEDY,
    SQUARECB,
    THOMPSON,
    UCB,
    draw_widths1,
    highest1,
    multiply_symmetric1,
    pick_by_gap1,
    pick_tied1,
    pick_uniform1,
    score_arms1,
)
from engine.kernels.compile import kernel
from engine.kernels.random import combine1, uniform1

__all__ = ["bound_eigenvalue", "bound_widths", "decide_densely", "decide_lazily"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

SQUARINGS = 4  # ‖B¹⁶‖^(1/16) is at most d^(1/32) times the largest eigenvalue of B
GROWTH = 1.3  # an arm's eigenvalue is bounded anew when its count grew by this
SAFE = 1.0 + 1e-9  # rounding of an incremental inverse stays far below


@kernel("f8(f8[:,::1], f8[:,::1], f8[:,:,::1])", scoring=True)
def bound_eigenvalue(covariance: Floats, root: Floats, work: Floats) -> float:
    """Writes: work. Upper bound of the largest eigenvalue of ``Lᵀ C L``, L the ``root``.

    All are ``(d, d)``, work ``(2, d, d)``. ``‖B‖`` (Frobenius) bounds it, and ``‖B²ᵏ‖^(1/2ᵏ)``
    better.
    """
    d = len(covariance)
    now, after = work[0], work[1]
    for p in range(d):
        out, row = after[p], covariance[p]
        for q in range(d):
            out[q] = 0.0
        for s in range(d):
            scale, other = row[s], root[s]
            for q in range(d):
                out[q] += scale * other[q]
    for p in range(d):
        out = now[p]
        for q in range(d):
            out[q] = 0.0
        for s in range(d):
            scale, other = root[s, p], after[s]
            for q in range(d):
                out[q] += scale * other[q]
    log_norm, power = 0.0, 1.0
    for _ in range(SQUARINGS):
        total = 0.0
        for p in range(d):
            for q in range(d):
                total += now[p, q] * now[p, q]
        log_norm += 0.5 * np.log(total) / power
        power *= 2.0
        for p in range(d):
            out, row = after[p], now[p]
            for q in range(d):
                out[q] = 0.0
            for s in range(d):
                scale, other = row[s] / total, now[s]
                for q in range(d):
                    out[q] += scale * other[q]
        now, after = after, now
    total = 0.0
    for p in range(d):
        for q in range(d):
            total += now[p, q] * now[p, q]
    return float(np.exp(log_norm + 0.5 * np.log(total) / power) * SAFE)


@kernel("void(f8[:,:,::1], f8[:,::1], f8[::1])", scoring=True)
def bound_widths(covariance: Floats, root: Floats, reach: Floats) -> None:
    """Writes: reach ``(K,)``. Root of `bound_eigenvalue` of each covariance ``(K, d, d)``."""
    d = len(root)
    work = np.empty((2, d, d))
    for arm in range(len(covariance)):
        reach[arm] = np.sqrt(bound_eigenvalue(covariance[arm], root, work))


@kernel(
    "i8(i8, f8[:,::1], f8[:,::1], u8[::1], u8[::1], f8[::1], f8[:,::1], f8[:,:,::1], f8[:,:,::1],"
    " f8[:,::1], i8[:,::1], i8[::1])",
    scoring=True,
)
def decide_lazily(
    kind: int,
    x: Floats,
    rewards: Floats,
    keys: Keys,
    item_keys: Keys,
    settings: Floats,
    theta: Floats,
    covariance: Floats,
    roots: Floats,
    reach: Floats,
    counts: Ints,
    picks: Ints,
) -> int:
    """Writes: theta, covariance, reach, counts, picks. Returns how many exact widths it took.

    Parameters
    ----------
    kind
        GREEDY, UCB, THOMPSON or SQUARECB.
    settings
        alpha, gamma, floor, number of events learned before.
    x
        ``(n, d)``; rewards ``(n, K)``, of which only the picked arm's is read; keys ``(n,)`` hashes
        of the seed and each event; item_keys ``(K,)``.
    theta
        ``(d, K)``; covariance ``(K, d, d)``; picks ``(n,)``.
    roots
        The identity, L and its inverse, lower triangles ``(3, d, d)``.
    reach
        ``(2, K)``: √λ for the identity and for L.
    counts
        ``(2, K)``: of each arm's events, and the count at which its reach is bounded anew.
    """
    n, d = x.shape
    arms = len(item_keys)
    alpha, gamma, floor, before = settings[0], settings[1], settings[2], settings[3]
    mean, bound, index = np.empty(arms), np.empty(arms), np.empty(arms)
    width = np.full(arms, alpha if kind == UCB else 0.0)
    product, trial, work = np.empty(d), np.empty(d), np.empty((2, d, d))
    forms = 0
    for i in range(n):
        xi, key = x[i], keys[i]
        score_arms1(xi, theta, mean)
        pick, known = -1, -1
        if floor > 0.0 and uniform1(combine1(key, EXPLORE)) < floor:
            pick = pick_uniform1(key, item_keys)
        elif kind == SQUARECB:
            pick = pick_by_gap1(key, mean, gamma * np.sqrt(before + i))
        else:
            plain, norm = 0.0, 0.0
            if kind != GREEDY:
                for p in range(d):
                    inner, row = 0.0, roots[2, p, : p + 1]
                    for q in range(len(row)):
                        inner += row[q] * xi[q]
                    norm += inner * inner
                    plain += xi[p] * xi[p]
                plain, norm = np.sqrt(plain), np.sqrt(norm)
            if kind == THOMPSON:
                draw_widths1(alpha, key, item_keys, width)
            for arm in range(arms):
                reached = min(reach[0, arm] * plain, reach[1, arm] * norm)
                bound[arm] = mean[arm] + max(width[arm], 0.0) * reached
            first, ties = highest1(bound)
            best, ties = -np.inf, 0
            for turn in range(-1, arms):
                arm = first if turn < 0 else turn
                if bound[arm] < best or turn == first:
                    continue
                value = mean[arm]
                if width[arm] != 0.0:
                    forms += 1
                    multiply_symmetric1(covariance[arm], xi, trial)
                    variance = 0.0
                    for p in range(d):
                        variance += trial[p] * xi[p]
                    value += width[arm] * np.sqrt(max(variance, 0.0))
                index[arm] = value
                if value > best:
                    best, ties, pick = value, 1, arm
                    if width[arm] != 0.0:
                        product, trial, known = trial, product, arm
                elif value == best:
                    ties += 1
            if ties > 1:
                for arm in range(arms):
                    if bound[arm] < best:
                        index[arm] = -np.inf
                pick = pick_tied1(key, item_keys, index, best)
        picks[i] = pick
        if known != pick:
            multiply_symmetric1(covariance[pick], xi, product)
        scale = 1.0
        for p in range(d):
            scale += product[p] * xi[p]
        scale = 1.0 / scale
        mine = covariance[pick]
        error = (rewards[i, pick] - mean[pick]) * scale
        for p in range(d):
            theta[p, pick] += error * product[p]
            step, row = product[p] * scale, mine[p]
            for q in range(d):
                row[q] -= step * product[q]
        counts[0, pick] += 1
        if counts[0, pick] >= counts[1, pick] and kind != GREEDY and kind != SQUARECB:
            counts[1, pick] = np.int64(GROWTH * counts[0, pick]) + 1
            for which in range(2):
                reach[which, pick] = np.sqrt(bound_eigenvalue(mine, roots[which], work))
    return forms


@kernel(
    "void(i8, f8[:,::1], f8[:,::1], u8[::1], u8[::1], f8[::1], f8[:,::1], f8[:,::1], i8[:,::1],"
    " i8[::1])",
    scoring=True,
)
def decide_densely(
    kind: int,
    x: Floats,
    rewards: Floats,
    keys: Keys,
    item_keys: Keys,
    settings: Floats,
    theta: Floats,
    covariance: Floats,
    counts: Ints,
    picks: Ints,
) -> None:
    """Writes: theta, covariance, counts, picks. As `decide_lazily`, every width evaluated.

    covariance is ``(d (d + 1) / 2, K)`` here; kind is UCB or THOMPSON.
    """
    n, d = x.shape
    arms = len(item_keys)
    alpha, floor = settings[0], settings[2]
    pairs = len(covariance)
    mean, index, product = np.empty(arms), np.empty(arms), np.empty(d)
    variance, products, mine = np.empty(arms), np.zeros(pairs), np.empty(pairs)
    width = np.full(arms, alpha)
    for i in range(n):
        xi, key = x[i], keys[i]
        score_arms1(xi, theta, mean)
        for arm in range(arms):
            variance[arm] = 0.0
        pick = -1
        if floor > 0.0 and uniform1(combine1(key, EXPLORE)) < floor:
            pick = pick_uniform1(key, item_keys)
        else:
            at = 0
            for p in range(d):
                products[at] = xi[p] * xi[p]
                twice = 2.0 * xi[p]
                for q in range(1, d - p):
                    products[at + q] = twice * xi[p + q]
                at += d - p
            at = 0
            while at + 4 <= pairs:  # four rows a pass: the sums are read and written a quarter
                w0, w1, w2, w3 = products[at], products[at + 1], products[at + 2], products[at + 3]
                c0, c1 = covariance[at], covariance[at + 1]
                c2, c3 = covariance[at + 2], covariance[at + 3]
                for arm in range(arms):
                    variance[arm] += w0 * c0[arm] + w1 * c1[arm] + w2 * c2[arm] + w3 * c3[arm]
                at += 4
            while at < pairs:
                w0, c0 = products[at], covariance[at]
                for arm in range(arms):
                    variance[arm] += w0 * c0[arm]
                at += 1
            if kind == THOMPSON:
                draw_widths1(alpha, key, item_keys, width)
            for arm in range(arms):
                index[arm] = mean[arm] + width[arm] * np.sqrt(max(variance[arm], 0.0))
            pick, ties = highest1(index)
            if ties > 1:
                pick = pick_tied1(key, item_keys, index, index[pick])
        picks[i] = pick
        for at in range(pairs):
            mine[at] = covariance[at, pick]
        for p in range(d):
            product[p] = 0.0
        at = 0
        for p in range(d):
            part, tail, out = mine[at : at + d - p], xi[p:], product[p:]
            xp, inner = xi[p], 0.0
            for q in range(len(part)):
                inner += part[q] * tail[q]
            for q in range(1, len(part)):
                out[q] += part[q] * xp
            out[0] += inner
            at += d - p
        scale = 1.0
        for p in range(d):
            scale += product[p] * xi[p]
        scale = 1.0 / scale
        at = 0
        for p in range(d):
            step = product[p] * scale
            for q in range(d - p):
                covariance[at + q, pick] = mine[at + q] - step * product[p + q]
            at += d - p
        error = (rewards[i, pick] - mean[pick]) * scale
        for p in range(d):
            theta[p, pick] += error * product[p]
        counts[0, pick] += 1
