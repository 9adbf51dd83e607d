"""Probabilities of Thompson sampling over independent beliefs, by quadrature.

``P(i is highest) = ∫ f_i(x) Π_{j≠i} F_j(x) dx`` by Gauss–Legendre on panels fine enough for the
narrowest belief that varies in them. The distribution functions F are the running integrals of
the densities on the same panels, so a family needs no more than its log density.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.families import STUDENT, local_scale1, log_density1, set_ends1

__all__ = ["integrate_wins"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ORDER = 10
PANEL = 2.5  # widest panel, in the least scale that varies in it
IMPOSSIBLE = -690.0  # log of the least probability told from 0: sums stay exact to 1e-13

NODES, WEIGHTS = legendre.leggauss(ORDER)
# RUNNING @ f(NODES) are the integrals of f from -1 to every node, exact to degree ORDER - 1.
_BASIS = np.eye(ORDER)
RUNNING = np.array(
    [legendre.legval(NODES, legendre.legint(row, lbnd=-1)) for row in _BASIS]
).T @ np.linalg.inv(legendre.legvander(NODES, ORDER - 1))


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
def drop_losers1(left: Floats, right: Floats, k: int) -> float:
    """Writes: left, right. Give candidates that win no slot no width; return the cut.

    Below the cut, the k-th largest left end, the highest draw of no slot lies.
    """
    cut = kth_largest1(left, k)
    for j in range(len(left)):
        if right[j] <= cut:
            left[j], right[j] = -np.inf, -np.inf
    return cut


@inline
def list_panels1(
    family: int,
    widest: float,
    left: Floats,
    right: Floats,
    scale: Floats,
    low: Floats,
    high: Floats,
) -> Floats:
    """Return edges of panels, ascending, none wider than the least scale in it times widest."""
    start, stop = np.inf, -np.inf
    for j in range(len(left)):
        if right[j] > -np.inf:
            start, stop = min(start, left[j]), max(stop, right[j])
    edges = np.empty(64)
    edges[0] = start
    count = 1
    stack = np.empty(256)
    stack[0] = stop
    depth = 1
    while depth > 0:
        start, stop = edges[count - 1], stack[depth - 1]
        finest = np.inf
        for j in range(len(left)):
            if left[j] < stop and right[j] > start:
                own = local_scale1(family, scale[j], low[j], high[j], start, stop)
                finest = min(finest, own)
        middle = 0.5 * (start + stop)
        if stop - start > widest * finest and start < middle < stop and depth < 256:
            stack[depth] = middle
            depth += 1
            continue
        if count == len(edges):
            longer = np.empty(2 * count)
            longer[:count] = edges
            edges = longer
        edges[count] = stop
        count += 1
        depth -= 1
    return edges[:count]


@kernel("void(i8, f8[::1], f8[::1], f8[::1], i8[::1], i8[:,::1], f8[:,::1])")
def integrate_wins(
    family: int, p: Floats, q: Floats, r: Floats, offsets: Ints, picks: Ints, probability: Floats
) -> None:
    """Writes: probability. That each pick's draw is the highest of those left to its slot.

    Draws are of a family, see `engine.kernels.families`, fresh for every slot; p and q
    ``(offsets[-1],)``, r too or empty, picks and probability ``(n, k)``. The product over
    candidates is taken once per node for all slots: each slot divides by the items taken before
    it and its own.
    """
    n, k = picks.shape
    most = np.max(np.diff(offsets)) if n > 0 else 0
    log_norm, left, right = np.empty(most), np.empty(most), np.empty(most)
    scale, low, high = np.empty(most), np.empty(most), np.empty(most)
    below = np.empty(most)  # distribution function at the start of the panel
    density, log_cdf = np.empty((most, ORDER)), np.empty((most, ORDER))
    log_rest = np.empty(ORDER)
    for i in range(n):
        first, m = offsets[i], offsets[i + 1] - offsets[i]
        pi, qi, ri = p[first : first + m], q[first : first + m], r[first : first + m]
        set_ends1(
            family, pi, qi, ri, False, log_norm, left[:m], right[:m], scale[:m], low[:m], high[:m]
        )
        cut = drop_losers1(left[:m], right[:m], k)
        edges = list_panels1(family, PANEL, left[:m], right[:m], scale[:m], low[:m], high[:m])
        probability[i, :] = 0.0
        below[:m] = 0.0
        for panel in range(len(edges) - 1):
            start, stop = edges[panel], edges[panel + 1]
            middle, half = 0.5 * (start + stop), 0.5 * (stop - start)
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
                shape = ri[j] if family == STUDENT else 0.0
                total = 0.0
                for s in range(ORDER):
                    x = middle + half * NODES[s]
                    density[j, s] = half * math.exp(
                        log_density1(family, pi[j], qi[j], shape, log_norm[j], x)
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
