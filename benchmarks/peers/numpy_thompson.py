"""Thompson slates in NumPy: by sampling, and by the same integrals on a common grid.

Both draw a slate slot by slot, a fresh draw of every candidate left, and state how likely each
pick was: ``mean`` and ``sd`` are ``(m,)``, picks and probabilities ``(k,)``.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.worlds import Floats

__all__ = ["estimate_slate", "integrate_slate"]

DRAWS = 1000
REACH = 6.5  # standard deviations on either side of a mean
STEP = 0.5  # of the grid, in the least standard deviation that matters
TABLE = 20_000  # entries of the normal distribution's table

_Z = np.linspace(-REACH, REACH, TABLE + 1)
_CDF = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _Z])


def estimate_slate(
    rng: np.random.Generator, mean: Floats, sd: Floats, k: int, floor: float
) -> tuple[np.ndarray, Floats]:
    """Propensities as shares of 1,000 joint draws of all candidates."""
    picks = _draw(rng, mean, sd, k, floor)
    draws = rng.normal(mean, sd, size=(DRAWS, len(mean)))
    probability = np.empty(k)
    for slot, pick in enumerate(picks):
        wins = np.count_nonzero(draws.argmax(axis=1) == pick)
        probability[slot] = (1.0 - floor) * wins / DRAWS + floor / (len(mean) - slot)
        draws[:, pick] = -np.inf
    return picks, probability


def integrate_slate(
    rng: np.random.Generator, mean: Floats, sd: Floats, k: int, floor: float
) -> tuple[np.ndarray, Floats]:
    """Propensities by the trapezoidal rule, from the k-th highest lower end upwards.

    Candidates whose upper end lies below are left out; Φ is read from a table.
    """
    picks = _draw(rng, mean, sd, k, floor)
    low, high = mean - REACH * sd, mean + REACH * sd
    start = np.partition(low, len(low) - k)[len(low) - k]
    alive = np.flatnonzero(high > start)
    place = np.full(len(mean), -1)
    place[alive] = np.arange(len(alive))
    step = STEP * sd[alive].min()
    grid = np.arange(start, high.max() + step, step)
    z = (grid - mean[alive, None]) / sd[alive, None]
    density = np.exp(-0.5 * z * z) / (math.sqrt(2.0 * math.pi) * sd[alive, None])
    log_cdf = np.log(np.maximum(np.interp(z, _Z, _CDF), 1e-300))
    rest, probability = log_cdf.sum(axis=0), np.empty(k)
    for slot, pick in enumerate(picks):
        won = 0.0
        if place[pick] >= 0:
            rest -= log_cdf[place[pick]]
            won = step * float(density[place[pick]] @ np.exp(rest))
        probability[slot] = (1.0 - floor) * won + floor / (len(mean) - slot)
    return picks, probability


def _draw(rng: np.random.Generator, mean: Floats, sd: Floats, k: int, floor: float) -> np.ndarray:
    left = np.ones(len(mean), dtype=np.bool_)
    picks = np.empty(k, dtype=np.int64)
    for slot in range(k):
        if rng.random() < floor:
            picks[slot] = rng.choice(np.flatnonzero(left))
        else:
            draw = mean + sd * rng.standard_normal(len(mean))
            picks[slot] = np.argmax(np.where(left, draw, -np.inf))
        left[picks[slot]] = False
    return picks
