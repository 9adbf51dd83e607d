"""Thompson slates of independent normal beliefs: draws and their probabilities, in one pass.

Slot l shows the highest of fresh draws of the candidates left, which candidate a is with
probability ``∫ φ_a(z) Π_{j≠a} Φ_j(z) dz``. The integrand is smooth and vanishes at both ends, so
equally spaced nodes converge faster than any power of their distance. What makes it quick: below a
cut that the highest draw of no slot falls under, nothing matters, so most candidates are left out;
the product of those never shown is taken once for all slots; distribution functions come from a
table. Where spreads differ so much that too many nodes were needed, the caller integrates
adaptively instead (`engine.kernels.thompson`).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, inline_scoring, kernel
from engine.kernels.random import combine1, normal1, uniform1
from engine.kernels.slates import BELIEF, EXPLORE, pick_uniform1

__all__ = ["draw_normal_slates"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]

STEPS = 32.0  # cells of the table a unit
REACH = 8.0  # the table's ends; Φ(-8) is 6e-16
MISSED = 1e-8  # most probability that the highest draw lies below the cut
TAIL = 6.0  # standard deviations above a mean past which a draw does not lie; 1e-9
FEW = 500  # candidates whose tails past it add up to less than the bound; of more, FAR ones do
FAR = 7.0
SPACING = 0.28  # distance of nodes, in the least spread that matters: off by 1e-7 among a thousand
MAX_NODES = 512

_T = np.arange(-REACH * STEPS, REACH * STEPS + 2.0) / STEPS
# Φ and φ at the cells' middles: Taylor's third order is then off by less than 1e-9.
CDF = np.array([NormalDist().cdf(t) for t in _T])
PDF = np.array([NormalDist().pdf(t) for t in _T])
# With c candidates left whose Φ is at most MISSED ** (1 / c), the highest is below with MISSED.
GROUPS = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256])
QUANTILES = np.array([NormalDist().inv_cdf(MISSED ** (1.0 / c)) for c in GROUPS])


@inline_scoring
def multiply_cdf1(product: Floats, start: float, step: float, tail: float) -> None:
    """Writes: product. Multiply each entry by Φ at ``start + step · place``, 1 past the tail."""
    last = len(product)
    if start + step * (last - 1) > tail:
        last = min(max(int((tail - start) / step) + 2, 0), last)
    low = start + REACH
    for q in range(last):
        above = min(max(low + step * q, 0.0), 2.0 * REACH)  # from the table's lower end
        cell = np.uint64(above * STEPS + 0.5)
        place = np.float64(cell) * (1.0 / STEPS)
        off, middle = above - place, place - REACH
        bend = 1.0 - off * (0.5 * middle - off * (middle * middle - 1.0) * 0.16666666666666666)
        product[q] *= CDF[cell] + PDF[cell] * off * bend


@inline_scoring
def bound_below1(mean: Floats, sd: Floats, k: int, low: float, high: float) -> float:
    """Return a cut that the highest of any ``m - k + 1`` draws is above, but for MISSED."""
    best = low
    for group in range(len(GROUPS)):
        wanted, quantile = GROUPS[group] + k - 1, QUANTILES[group]
        if wanted > len(mean):
            break
        least, most = best, high
        for _ in range(14):
            middle = 0.5 * (least + most)
            count = 0
            for j in range(len(mean)):
                count += 1 if mean[j] + quantile * sd[j] >= middle else 0
            if count >= wanted:
                least = middle
            else:
                most = middle
        best = least
    return best


@inline_scoring
def draw_normals1(
    mean: Floats, sd: Floats, item_keys: Keys, belief_key: np.uint64, draws: Floats
) -> None:
    """Writes: draws. A draw of every belief; apart from the search, so that it vectorises."""
    for j in range(len(draws)):
        draws[j] = mean[j] + sd[j] * normal1(combine1(belief_key, item_keys[j]))


@inline
def draw_slots1(
    mean: Floats,
    sd: Floats,
    item_keys: Keys,
    inside: Ints,
    all_keys: Keys,
    key: np.uint64,
    first: int,
    mass: float,
    picks: Ints,
) -> None:
    """Writes: picks. Draw the slots given as -1; mean, sd and item_keys are of ``inside`` alone."""
    taken, draws = np.zeros(len(all_keys), dtype=np.bool_), np.empty(len(inside))
    for slot in range(len(picks)):
        if picks[slot] < 0:
            slot_key = combine1(key, np.uint64(first + slot))
            if uniform1(combine1(slot_key, EXPLORE)) < mass:
                picks[slot] = pick_uniform1(slot_key, all_keys, taken)
            else:
                belief_key = combine1(slot_key, BELIEF)
                draw_normals1(mean, sd, item_keys, belief_key, draws)
                best, place = -np.inf, -1
                for j in range(len(inside)):
                    if draws[j] > best and not taken[inside[j]]:
                        best, place = draws[j], inside[j]
                picks[slot] = place
        taken[picks[slot]] = True


@inline_scoring
def integrate_slots1(
    mean: Floats, sd: Floats, inside: Ints, picks: Ints, grid: Floats, probability: Floats
) -> None:
    """Writes: probability. Win probabilities of the picks; grid is the cut, spacing and nodes."""
    cut, spacing, nodes = grid[0], grid[1], int(grid[2])
    product = np.ones(nodes)
    tail = TAIL if len(inside) <= FEW else FAR
    rows = np.full(len(picks), -1)
    for j in range(len(inside)):
        shown = False
        for slot in range(len(picks)):
            if picks[slot] == inside[j]:
                shown = True
                rows[slot] = j
        if not shown:
            multiply_cdf1(product, (cut - mean[j]) / sd[j], spacing / sd[j], tail)
    # From the last slot up, each slot's rivals are those never shown and the later picks.
    for slot in range(len(picks) - 1, -1, -1):
        probability[slot] = 0.0
        j = rows[slot]
        if j >= 0:
            start, step = (cut - mean[j]) / sd[j], spacing / sd[j]
            total = 0.0
            for q in range(nodes):
                t = start + step * q
                if -TAIL - 2.0 < t < TAIL + 2.0:
                    total += math.exp(-0.5 * t * t) * product[q]
            probability[slot] = min(total * step * 0.3989422804014327, 1.0)
            multiply_cdf1(product, start, step, tail)


@kernel(
    "void(f8[::1], f8[::1], i8[::1], u8[::1], u8[::1], u8, i8, f8, i8[:,::1], f8[:,::1], b1[::1])"
)
def draw_normal_slates(
    mean: Floats,
    sd: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    first: int,
    mass: float,
    picks: Ints,
    probability: Floats,
    left_out: Flags,
) -> None:
    """Writes: picks, probability, left_out. Thompson slates of beliefs N(mean, sd²), sd > 0.

    mean, sd and item_keys ``(offsets[-1],)``, keys ``(n,)``, picks and probability ``(n, k)``.
    Picks of -1 are drawn, with probability ``mass`` uniformly; the probabilities are without
    ``mass``. ``left_out`` ``(n,)`` marks requests whose probabilities were not integrated.
    """
    n, k = picks.shape
    most = np.max(np.diff(offsets)) if n > 0 else 0
    inside = np.empty(most, dtype=np.int64)
    its_mean, its_sd = np.empty(most), np.empty(most)
    its_keys = np.empty(most, dtype=np.uint64)
    for i in range(n):
        begin, end = offsets[i], offsets[i + 1]
        mine, spread = mean[begin:end], sd[begin:end]
        low, high, top = np.inf, -np.inf, -np.inf
        for j in range(end - begin):
            low = min(low, mine[j] - REACH * spread[j])
            high = max(high, mine[j] + TAIL * spread[j])
            top = max(top, mine[j])
        cut = bound_below1(mine, spread, k, low, high)
        size, least = 0, np.inf
        for j in range(end - begin):
            if mine[j] + TAIL * spread[j] >= cut:
                inside[size], its_mean[size], its_sd[size] = j, mine[j], spread[j]
                its_keys[size] = item_keys[begin + j]
                least = min(least, spread[j])
                size += 1
        draw_slots1(
            its_mean[:size],
            its_sd[:size],
            its_keys[:size],
            inside[:size],
            item_keys[begin:end],
            combine1(seed, keys[i]),
            first,
            mass,
            picks[i],
        )
        spacing = SPACING * least
        nodes = np.ceil((high - cut) / spacing) + 1.0
        left_out[i] = not nodes <= MAX_NODES
        if not left_out[i]:
            grid = np.array([cut, spacing, nodes])
            integrate_slots1(
                its_mean[:size], its_sd[:size], inside[:size], picks[i], grid, probability[i]
            )
