"""Probabilities of Thompson sampling over independent beliefs, by quadrature.

``P(i is highest) = ∫ f_i(x) Π_{j≠i} F_j(x) dx`` by Gauss–Legendre on panels fine enough for the
narrowest belief that varies in them. The distribution functions F are the running integrals of
the densities on the same panels, so a family needs no more than its log density. Beta beliefs are
taken on the log-odds scale, where their densities are smooth whatever their parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel

__all__ = ["integrate_wins"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ORDER = 10
PANEL = 2.5  # widest panel, in the least scale that varies in it
REACH = 6.5  # standard deviations kept on either side of a normal mean; Φ(-6.5) is 4e-11
LOG_TAIL = -27.0  # log density on the log-odds scale at which a Beta belief is cut
IMPOSSIBLE = -690.0  # log of the least probability told from 0: sums stay exact to 1e-13

NODES, WEIGHTS = legendre.leggauss(ORDER)
# RUNNING @ f(NODES) are the integrals of f from -1 to every node, exact to degree ORDER - 1.
_BASIS = np.eye(ORDER)
RUNNING = np.array(
    [legendre.legval(NODES, legendre.legint(row, lbnd=-1)) for row in _BASIS]
).T @ np.linalg.inv(legendre.legvander(NODES, ORDER - 1))


@inline
def log_density1(beta: bool, p: float, q: float, log_norm: float, x: float) -> float:
    """Log density at x: of N(p, q²), or of the log-odds of Beta(p, q)."""
    if beta:
        # p log σ(x) + q log σ(-x), by the larger of the two for its digits
        tail = math.log1p(math.exp(-abs(x)))
        return p * (min(x, 0.0) - tail) + q * (min(-x, 0.0) - tail) - log_norm
    z = (x - p) / q
    return -0.5 * z * z - log_norm


@inline
def beta_left_end1(a: float, b: float, log_norm: float) -> float:
    """Return where, left of its mode, the log density of the log-odds is `LOG_TAIL`.

    By Newton from ``(LOG_TAIL + log B) / a``, which lies left of it because ``σ(x)ᵃ ≤ eᵃˣ``; the
    log density is concave, so every step stays left.
    """
    x = (LOG_TAIL + log_norm) / a
    for _ in range(60):
        value = log_density1(True, a, b, log_norm, x) - LOG_TAIL
        share = 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0
        slope = a * (1.0 - share) - b * share
        if slope <= 0.0 or value > -1e-3:
            break
        x -= value / slope
    return x


@inline
def set_ends1(
    beta: bool, p: Floats, q: Floats, log_norm: Floats, left: Floats, right: Floats, scale: Floats
) -> None:
    """Writes: log_norm, left, right, scale. Where each belief varies, and how quickly."""
    for j in range(len(p)):
        if beta:
            log_norm[j] = math.lgamma(p[j]) + math.lgamma(q[j]) - math.lgamma(p[j] + q[j])
            left[j] = beta_left_end1(p[j], q[j], log_norm[j])
            right[j] = -beta_left_end1(q[j], p[j], log_norm[j])
            scale[j] = math.sqrt(1.0 / p[j] + 1.0 / q[j])
        else:
            log_norm[j] = math.log(2.5066282746310002 * q[j])
            left[j], right[j], scale[j] = p[j] - REACH * q[j], p[j] + REACH * q[j], q[j]


@inline
def kth_largest1(values: Floats, k: int) -> float:
    """Return the k-th largest of the values."""
    top = np.full(k, -np.inf)
    for value in values:
        if value > top[k - 1]:
            at = k - 1
            while at > 0 and top[at - 1] < value:
                top[at] = top[at - 1]
                at -= 1
            top[at] = value
    return float(top[k - 1])


@inline
def finest1(
    beta: bool, left: Floats, right: Floats, scale: Floats, start: float, stop: float
) -> float:
    """Return the least scale of the beliefs that vary between ``start`` and ``stop``."""
    least: float = np.inf
    # The log-odds density has poles at ±πi: near 0 a panel must be short whatever the scale.
    pole: float = np.inf
    if beta:
        pole = max(1.6, 0.5 * max(start, -stop))
    for j in range(len(scale)):
        if left[j] < stop and right[j] > start:
            least = min(least, scale[j], pole)
    return float(least)


@kernel("void(b1, f8[::1], f8[::1], i8[::1], i8[:,::1], f8[:,::1])")
def integrate_wins(
    beta: bool, p: Floats, q: Floats, offsets: Ints, picks: Ints, probability: Floats
) -> None:
    """Writes: probability. That each pick's draw is the highest of those left to its slot.

    Draws are from Beta(p, q) when ``beta``, else from N(p, q²), q > 0; p and q
    ``(offsets[-1],)``, picks and probability ``(n, k)``. The product over candidates is taken
    once per node for all slots: each slot divides by the items taken before it and its own.
    """
    n, k = picks.shape
    most = np.max(np.diff(offsets))
    log_norm, left, right, scale = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    below = np.empty(most)  # distribution function at the start of the panel
    density, log_cdf = np.empty((most, ORDER)), np.empty((most, ORDER))
    stack, log_rest = np.empty((256, 2)), np.empty(ORDER)
    for i in range(n):
        first, m = offsets[i], offsets[i + 1] - offsets[i]
        pi, qi = p[first : first + m], q[first : first + m]
        set_ends1(beta, pi, qi, log_norm[:m], left[:m], right[:m], scale[:m])
        cut = kth_largest1(left[:m], k)  # below it no slot's highest draw lies
        for j in range(m):
            if right[j] <= cut:
                left[j], right[j] = -np.inf, -np.inf  # can never win, and never matters
        probability[i, :] = 0.0
        below[:m] = 0.0
        stack[0, 1] = np.max(right[:m])
        stack[0, 0] = stack[0, 1]
        for j in range(m):
            if right[j] > cut:
                stack[0, 0] = min(stack[0, 0], left[j])
        depth = 1
        while depth > 0:
            depth -= 1
            start, stop = stack[depth, 0], stack[depth, 1]
            finest = finest1(beta, left[:m], right[:m], scale[:m], start, stop)
            middle, half = 0.5 * (start + stop), 0.5 * (stop - start)
            if stop - start > PANEL * finest and start < middle < stop and depth < 254:
                stack[depth, 0], stack[depth, 1] = middle, stop
                stack[depth + 1, 0], stack[depth + 1, 1] = start, middle
                depth += 2
                continue
            log_rest[:] = 0.0
            for j in range(m):
                if right[j] <= start:
                    log_cdf[j, :] = 0.0
                    density[j, :] = 0.0
                    continue
                if left[j] >= stop:
                    log_cdf[j, :] = IMPOSSIBLE
                    density[j, :] = 0.0
                    log_rest += IMPOSSIBLE
                    continue
                total = 0.0
                for s in range(ORDER):
                    x = middle + half * NODES[s]
                    density[j, s] = half * math.exp(
                        log_density1(beta, pi[j], qi[j], log_norm[j], x)
                    )
                    total += WEIGHTS[s] * density[j, s]
                if stop > cut:
                    for s in range(ORDER):
                        value = below[j]
                        for t in range(ORDER):
                            value += RUNNING[s, t] * density[j, t]
                        log_cdf[j, s] = IMPOSSIBLE
                        if value > 1e-299:
                            log_cdf[j, s] = min(math.log(value), 0.0)
                        log_rest[s] += log_cdf[j, s]
                below[j] += total
            if stop <= cut:
                continue
            for slot in range(k):
                j = picks[i, slot]
                for s in range(ORDER):
                    log_rest[s] -= log_cdf[j, s]
                    probability[i, slot] += WEIGHTS[s] * density[j, s] * math.exp(log_rest[s])
        for slot in range(k):
            probability[i, slot] = min(max(probability[i, slot], 0.0), 1.0)
