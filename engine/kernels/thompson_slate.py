"""Thompson sampling with one draw of every candidate for a whole slate, floor included.

Every slot shows the highest draw left, or with probability ε a uniform pick of the m left. Let z
be the last draw that was shown for being highest: all items left then lie below it. The weight
g(z) of a prefix, and the weight e of a prefix of uniform picks alone, follow the slots:

    e_l = ε / m · e_{l-1}
    g_l(z) = ε / m · F(z) g_{l-1}(z) + (1 - ε) f(z) (e_{l-1} + ∫_z^∞ g_{l-1}),

f and F being the density and distribution function of the l-th pick, and the prefix has probability
``P_l = e_l + ∫ g_l(z) Π F_j(z) dz`` over the items j left. The pick's own is ``P_l / P_{l-1}``.
Source: Eide et al. 2022 (FINN.no) draw once a slate; without a floor the recursion is theirs of
order statistics, ``g_l(z) = f(z) ∫_z^∞ g_{l-1}``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.families import STUDENT, draw1, log_density1, set_ends1
from engine.kernels.random import combine1, uniform1
from engine.kernels.slates import EXPLORE, pick_uniform1
from engine.kernels.thompson import (
    IMPOSSIBLE,
    NODES,
    ORDER,
    RUNNING,
    WEIGHTS,
    drop_losers1,
    list_panels1,
)

__all__ = ["draw_once", "integrate_slates"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

PANEL = 1.5  # narrower than for a single slot: later slots rest on the tails of earlier ones
SLATE = np.uint64(0x51A7E51A7E51A7E5)  # where a slot's number would stand


@kernel("void(i8, f8[::1], f8[::1], f8[::1], i8[::1], u8[::1], u8[::1], u8, f8, i8[:,::1])")
def draw_once(
    family: int,
    p: Floats,
    q: Floats,
    r: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    mass: float,
    picks: Ints,
) -> None:
    """Writes: picks. The highest left of one draw a candidate, or with ``mass`` a uniform pick.

    From a family of `engine.kernels.families`; p and q ``(offsets[-1],)``, r too or empty.
    """
    n, k = picks.shape
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        taken = np.zeros(stop - start, dtype=np.bool_)
        request_key = combine1(seed, keys[i])
        slate_key = combine1(request_key, SLATE)
        draws = np.empty(stop - start)
        for j in range(start, stop):
            shape = r[j] if family == STUDENT else 0.0
            draws[j - start] = draw1(family, combine1(slate_key, item_keys[j]), p[j], q[j], shape)
        for slot in range(k):
            if picks[i, slot] < 0:
                slot_key = combine1(request_key, np.uint64(slot))
                if uniform1(combine1(slot_key, EXPLORE)) < mass:
                    picks[i, slot] = pick_uniform1(slot_key, item_keys[start:stop], taken)
                else:
                    best = -np.inf
                    for j in range(stop - start):
                        if not taken[j] and draws[j] > best:
                            best = draws[j]
                            picks[i, slot] = j
            taken[picks[i, slot]] = True


@inline
def spread_belief1(
    family: int,
    p: float,
    q: float,
    r: float,
    log_norm: float,
    left: float,
    right: float,
    edges: Floats,
    density: Floats,
    log_cdf: Floats,
) -> None:
    """Writes: density (times half the panel's width), log_cdf. At every node of every panel."""
    below = 0.0
    for panel in range(len(edges) - 1):
        start, stop = edges[panel], edges[panel + 1]
        middle, half = 0.5 * (start + stop), 0.5 * (stop - start)
        at = panel * ORDER
        if left >= stop or right <= start:
            density[at : at + ORDER] = 0.0
            log_cdf[at : at + ORDER] = 0.0 if right <= start else IMPOSSIBLE
            continue
        for s in range(ORDER):
            x = middle + half * NODES[s]
            density[at + s] = half * math.exp(log_density1(family, p, q, r, log_norm, x))
        total = 0.0
        for s in range(ORDER):
            value = below
            for t in range(ORDER):
                value += RUNNING[s, t] * density[at + t]
            log_cdf[at + s] = IMPOSSIBLE
            if value > 1e-299:
                log_cdf[at + s] = min(math.log(value), 0.0)
            total += WEIGHTS[s] * density[at + s]
        below += total


@inline
def integrate_above1(weight: Floats, above: Floats) -> None:
    """Writes: above. The integral of ``weight`` from every node to the end of the last panel."""
    beyond = 0.0
    for panel in range(len(weight) // ORDER - 1, -1, -1):
        at = panel * ORDER
        total = 0.0
        for s in range(ORDER):
            total += WEIGHTS[s] * weight[at + s]
        for s in range(ORDER):
            value = beyond + total
            for t in range(ORDER):
                value -= RUNNING[s, t] * weight[at + t]
            above[at + s] = max(value, 0.0)
        beyond += total


@kernel("void(i8, f8[::1], f8[::1], f8[::1], i8[::1], f8, i8[:,::1], f8[:,::1])")
def integrate_slates(
    family: int,
    p: Floats,
    q: Floats,
    r: Floats,
    offsets: Ints,
    mass: float,
    picks: Ints,
    probability: Floats,
) -> None:
    """Writes: probability. Of each pick given the picks before it, as the module's head has it.

    From a family of `engine.kernels.families`; p and q ``(offsets[-1],)``, r too or empty, picks
    and probability ``(n, k)``. Weights are divided by every slot's probability, so that a long
    slate keeps its digits; after a pick that is impossible all are 0.
    """
    n, k = picks.shape
    most = np.max(np.diff(offsets)) if n > 0 else 0
    log_norm, left, right = np.empty(most), np.empty(most), np.empty(most)
    scale, low, high = np.empty(most), np.empty(most), np.empty(most)
    for i in range(n):
        first, m = offsets[i], offsets[i + 1] - offsets[i]
        pi, qi, ri = p[first : first + m], q[first : first + m], r[first : first + m]
        set_ends1(
            family, pi, qi, ri, True, log_norm, left[:m], right[:m], scale[:m], low[:m], high[:m]
        )
        drop_losers1(left[:m], right[:m], k)
        edges = list_panels1(family, PANEL, left[:m], right[:m], scale[:m], low[:m], high[:m])
        size = (len(edges) - 1) * ORDER
        chosen, density, log_cdf = np.full(m, -1), np.empty((k, size)), np.empty((k, size))
        other_density, other_log_cdf = np.empty(size), np.empty(size)
        log_rest = np.zeros(size)
        for slot in range(k):
            chosen[picks[i, slot]] = slot
        for j in range(m):
            at = chosen[j]
            shape = ri[j] if family == STUDENT else 0.0
            own_density = density[at] if at >= 0 else other_density
            own_log_cdf = log_cdf[at] if at >= 0 else other_log_cdf
            spread_belief1(
                family,
                pi[j],
                qi[j],
                shape,
                log_norm[j],
                left[j],
                right[j],
                edges,
                own_density,
                own_log_cdf,
            )
            for s in range(size):
                log_rest[s] += own_log_cdf[s]
        explored, weight, above = 1.0, np.zeros(size), np.zeros(size)
        for slot in range(k):
            if m - slot == 1:
                probability[i, slot] = 1.0 if slot == 0 or probability[i, slot - 1] > 0.0 else 0.0
                continue
            share = mass / (m - slot)
            integrate_above1(weight, above)
            total = 0.0
            for s in range(size):
                log_rest[s] -= log_cdf[slot, s]
                won = (1.0 - mass) * density[slot, s] * (explored + above[s])
                weight[s] = share * math.exp(log_cdf[slot, s]) * weight[s] + won
                total += WEIGHTS[s % ORDER] * weight[s] * math.exp(log_rest[s])
            explored *= share
            total += explored
            probability[i, slot] = min(total, 1.0)
            scaling = 1.0 / total if total > 0.0 else 0.0
            explored *= scaling
            for s in range(size):
                weight[s] *= scaling
