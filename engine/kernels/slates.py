"""Sequential draws without replacement, slot by slot, for whole batches of requests.

A pick given as -1 is drawn; any other is taken as given, so the same kernels rank and score.
Each slot gives a uniform pick of the remaining candidates the probability ``mass``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.families import STUDENT, draw1
from engine.kernels.random import combine1, uniform1

__all__ = ["draw_by_belief", "draw_by_index", "mark_greedy"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]

# Streams of random numbers that must not share a key.
EXPLORE = np.uint64(11)
UNIFORM = np.uint64(12)
BELIEF = np.uint64(13)


@inline
def pick_uniform1(slot_key: np.uint64, item_keys: Keys, taken: Flags) -> int:
    """Pick one of the candidates not taken, each as likely: the highest of their hashes."""
    best, pick = -1.0, -1
    for j in range(len(item_keys)):
        if not taken[j]:
            draw = uniform1(combine1(combine1(slot_key, UNIFORM), item_keys[j]))
            if draw > best:
                best, pick = draw, j
    return pick


@inline
def find_leaders1(values: Floats, leaders: Ints, heights: Floats) -> int:
    """Writes: leaders, heights. Places of the largest values, largest first; returns how many.

    As many as ``leaders`` has room for, or as there are.
    """
    found, room = 0, len(leaders)
    for j in range(len(values)):
        value = values[j]
        if found == room and not value > heights[room - 1]:
            continue
        at = min(found, room - 1)
        while at > 0 and value > heights[at - 1]:
            leaders[at], heights[at] = leaders[at - 1], heights[at - 1]
            at -= 1
        leaders[at], heights[at] = j, value
        found = min(found + 1, room)
    return found


@inline
def first_left1(leaders: Ints, found: int, taken: Flags, start: int) -> int:
    """Return the first place from ``start`` in the leaders whose candidate is not taken."""
    at = start
    while at < found and taken[leaders[at]]:
        at += 1
    return at


@inline
def count_ties1(values: Floats, taken: Flags, best: float) -> int:
    """Return how many candidates not taken have the value ``best``."""
    ties = 0
    for j in range(len(values)):
        if values[j] == best and not taken[j]:
            ties += 1
    return ties


@kernel("void(f8[::1], i8[::1], u8[::1], u8[::1], u8, i8, f8, i8[:,::1], f8[:,::1])")
def draw_by_index(
    index: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    first: int,
    mass: float,
    picks: Ints,
    propensity: Floats,
) -> None:
    """Writes: picks, propensity. Each slot shows the highest index left, ties shared equally.

    index and item_keys ``(offsets[-1],)``, keys ``(n,)``, picks and propensity ``(n, k)``; first
    is the number of the first column's slot.
    """
    n, k = picks.shape
    leaders, heights = np.empty(k + 1, dtype=np.int64), np.empty(k + 1)
    for i in range(n):
        own, its_keys = index[offsets[i] : offsets[i + 1]], item_keys[offsets[i] : offsets[i + 1]]
        taken = np.zeros(len(own), dtype=np.bool_)
        found = find_leaders1(own, leaders, heights)
        for slot in range(k):
            at = first_left1(leaders, found, taken, 0)
            best, ties = heights[at], 1
            rival = first_left1(leaders, found, taken, at + 1)
            if rival < found and heights[rival] == best:
                ties = count_ties1(own, taken, best)
            if picks[i, slot] < 0:
                slot_key = combine1(combine1(seed, keys[i]), np.uint64(first + slot))
                if uniform1(combine1(slot_key, EXPLORE)) < mass:
                    picks[i, slot] = pick_uniform1(slot_key, its_keys, taken)
                elif ties == 1:
                    picks[i, slot] = leaders[at]
                else:
                    picks[i, slot] = pick_uniform1(slot_key, its_keys, taken | (own != best))
            pick = picks[i, slot]
            share = (1.0 - mass) / ties if own[pick] == best else 0.0
            propensity[i, slot] = share + mass / (len(own) - slot)
            taken[pick] = True


@kernel("void(i8, f8[::1], f8[::1], f8[::1], i8[::1], u8[::1], u8[::1], u8, i8, f8, i8[:,::1])")
def draw_by_belief(
    family: int,
    p: Floats,
    q: Floats,
    r: Floats,
    offsets: Ints,
    item_keys: Keys,
    keys: Keys,
    seed: np.uint64,
    first: int,
    mass: float,
    picks: Ints,
) -> None:
    """Writes: picks. Thompson sampling: the highest of a fresh draw of every candidate per slot.

    From a family of `engine.kernels.families`; p and q ``(offsets[-1],)``, r too or empty.
    """
    n, k = picks.shape
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        taken = np.zeros(stop - start, dtype=np.bool_)
        for slot in range(k):
            if picks[i, slot] < 0:
                slot_key = combine1(combine1(seed, keys[i]), np.uint64(first + slot))
                if uniform1(combine1(slot_key, EXPLORE)) < mass:
                    picks[i, slot] = pick_uniform1(slot_key, item_keys[start:stop], taken)
                else:
                    best = -np.inf
                    belief_key = combine1(slot_key, BELIEF)
                    for j in range(start, stop):
                        if not taken[j - start]:
                            key = combine1(belief_key, item_keys[j])
                            shape = r[j] if family == STUDENT else 0.0
                            draw = draw1(family, key, p[j], q[j], shape)
                            if draw > best:
                                best = draw
                                picks[i, slot] = j - start
            taken[picks[i, slot]] = True


@kernel("void(f8[::1], i8[::1], i8[:,::1], b1[:,::1])")
def mark_greedy(mean: Floats, offsets: Ints, picks: Ints, greedy: Flags) -> None:
    """Writes: greedy. Whether each pick had the highest mean of the candidates left to its slot."""
    n, k = picks.shape
    leaders, heights = np.empty(k, dtype=np.int64), np.empty(k)
    for i in range(n):
        own = mean[offsets[i] : offsets[i + 1]]
        taken = np.zeros(len(own), dtype=np.bool_)
        found = find_leaders1(own, leaders, heights)
        for slot in range(k):
            at = first_left1(leaders, found, taken, 0)
            greedy[i, slot] = own[picks[i, slot]] == heights[at]
            taken[picks[i, slot]] = True
