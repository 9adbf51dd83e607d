"""Counter-based random numbers: a draw is a hash of what it is for.

The same seed, request, slot and item always give the same number, whatever else is drawn, so
permuting candidates, batching requests or repeating a request changes nothing.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel

__all__ = [
    "beta_log_odds1",
    "combine1",
    "fold_keys",
    "log_gamma_draw1",
    "mix",
    "mix1",
    "mix_keys",
    "normal1",
    "uniform1",
]

Keys = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_A = np.uint64(0xBF58476D1CE4E5B9)
MIX_B = np.uint64(0x94D049BB133111EB)


CELLS = 64  # an octave
LOWEST = 54  # octaves below 1: the least f is 2⁻⁵⁴
FIRST_CELL = np.uint64((1023 - LOWEST) * CELLS)
CELL_MASK = np.uint64((1 << 46) - 1)


def _quantiles() -> NDArray[np.float64]:
    """Cubics of the normal quantile over ``[2⁻⁵⁴, ½)``, by value and slope at the cells' ends."""
    normal = NormalDist()
    octave = np.arange(-LOWEST, -1)
    ends = (np.ldexp(1.0, octave)[:, None] * (1.0 + np.arange(CELLS) / CELLS)).ravel()
    ends = np.append(ends, 0.5)
    value = np.array([normal.inv_cdf(end) for end in ends])
    width = np.diff(ends)
    slope = np.sqrt(2.0 * np.pi) * np.exp(0.5 * value * value)
    left, right = slope[:-1] * width, slope[1:] * width
    rise = np.diff(value)
    cubics = [value[:-1], left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise]
    return np.ascontiguousarray(np.stack(cubics, axis=1))


QUANTILES = _quantiles()


@inline
def mix1(value: np.uint64) -> np.uint64:
    """Return the finaliser of SplitMix64 (Steele et al. 2014): a bijection of 64 bits."""
    value = np.uint64(value + GOLDEN)
    value = np.uint64((value ^ (value >> np.uint64(30))) * MIX_A)
    value = np.uint64((value ^ (value >> np.uint64(27))) * MIX_B)
    return np.uint64(value ^ (value >> np.uint64(31)))


@inline
def combine1(key: np.uint64, part: np.uint64) -> np.uint64:
    """Fold one more part into a key; the order of parts matters."""
    return mix1(np.uint64(mix1(key) ^ np.uint64(part)))


@inline
def uniform1(key: np.uint64) -> float:
    """Return a number in (0, 1), one of 2⁵³, never an end."""
    return float((np.float64(key >> np.uint64(11)) + 0.5) * 1.1102230246251565e-16)


@inline
def normal1(key: np.uint64) -> float:
    """Return a standard normal number, by inverting its distribution function.

    One bit is the sign; the others make f in (0, ½), whose quantile is a cubic on each of 64
    cells an octave: off by less than 1e-8, and a few operations that vectorise.
    """
    bits = np.uint64(key >> np.uint64(11))
    f = (np.float64(bits >> np.uint64(1)) + 0.5) * 1.1102230246251565e-16
    pattern = np.float64(f).view(np.uint64)
    cell = (pattern >> np.uint64(46)) - FIRST_CELL
    at = np.float64(pattern & CELL_MASK) * 1.4210854715202004e-14
    row = QUANTILES[cell]
    z = row[0] + at * (row[1] + at * (row[2] + at * row[3]))
    return float(z if bits & np.uint64(1) else -z)


@inline
def log_gamma_draw1(key: np.uint64, shape: float) -> float:
    """Return the log of a Gamma(shape, 1) number (Marsaglia and Tsang 2000).

    In logs, for with a shape far below 1 the number itself underflows.
    """
    boost = 0.0
    if shape < 1.0:
        boost = np.log(uniform1(combine1(key, np.uint64(1)))) / shape
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    while True:
        key = combine1(key, np.uint64(2))
        z = normal1(key)
        v = 1.0 + c * z
        if v > 0.0:
            v = v * v * v
            u = uniform1(combine1(key, np.uint64(3)))
            if np.log(u) < 0.5 * z * z + d - d * v + d * np.log(v):
                return float(boost + np.log(d * v))


@inline
def beta_log_odds1(key: np.uint64, a: float, b: float) -> float:
    """Return the log-odds of a Beta(a, b) number: orders like it, and never reaches an end."""
    success = log_gamma_draw1(combine1(key, np.uint64(5)), a)
    return success - log_gamma_draw1(combine1(key, np.uint64(6)), b)


@kernel("u8[::1](u8, u8[::1])")
def fold_keys(key: np.uint64, parts: Keys) -> Keys:
    """Fold each part into a copy of the key, ``(n,)``."""
    folded = np.empty(len(parts), dtype=np.uint64)
    for i in range(len(parts)):
        folded[i] = combine1(key, parts[i])
    return folded


def mix(value: int) -> int:
    """Return what `mix1` makes of a number, as a signed one of 64 bits."""
    parts = np.array([value & (1 << 64) - 1], dtype=np.uint64)
    return int(mix_keys(parts).view(np.int64)[0])


@kernel("u8[::1](u8[::1])")
def mix_keys(keys: Keys) -> Keys:
    """Return what `mix1` makes of each key, ``(n,)``."""
    mixed = np.empty(len(keys), dtype=np.uint64)
    for i in range(len(keys)):
        mixed[i] = mix1(keys[i])
    return mixed
