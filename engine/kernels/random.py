"""Counter-based random numbers: a draw is a hash of what it is for.

The same seed, request, slot and item always give the same number, whatever else is drawn, so
permuting candidates, batching requests or repeating a request changes nothing.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import inline

__all__ = ["beta_log_odds1", "combine1", "log_gamma_draw1", "mix1", "normal1", "uniform1"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_A = np.uint64(0xBF58476D1CE4E5B9)
MIX_B = np.uint64(0x94D049BB133111EB)


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
    """Return a standard normal number (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(uniform1(key)))
    return float(radius * np.cos(6.283185307179586 * uniform1(mix1(key))))


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
