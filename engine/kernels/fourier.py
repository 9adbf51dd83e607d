"""Random Fourier features: rows whose inner products approximate a Gaussian kernel.

Source: Rahimi and Recht 2007, "Random features for large-scale kernel machines", in the form of
pairs of a cosine and a sine, which has no phase to draw and gives every row the same length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import kernel
from engine.kernels.random import combine1, normal1

__all__ = ["draw_frequencies", "map_features"]

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

FREQUENCY = np.uint64(21)  # a stream of random numbers of its own


@kernel("void(u8, u8[::1], f8, f8[:,::1])")
def draw_frequencies(seed: np.uint64, column_keys: Keys, scale: float, out: Floats) -> None:
    """Writes: out ``(p, m)``. Entry (j, k) is N(0, scale²), hashed of (seed, k, column_keys[j])."""
    stream = combine1(seed, FREQUENCY)
    for k in range(out.shape[1]):
        key = combine1(stream, np.uint64(k))
        for j in range(len(column_keys)):
            out[j, k] = scale * normal1(combine1(key, column_keys[j]))


@kernel("void(f8[:,::1], f8[:,::1], f8, f8[:,::1])")
def map_features(rows: Floats, frequencies: Floats, length: float, out: Floats) -> None:
    """Writes: out. ``length · √(1/m) · (cos w₁ᵀy, sin w₁ᵀy, …)`` of each row y.

    rows ``(n, p)``, frequencies ``(p, m)``, out ``(n, 2 m)``; every row of out has that length.
    What is learned from is made here: no sum is reordered.
    """
    p, m = frequencies.shape
    unit = length / np.sqrt(m)
    angles = np.empty(m)
    for i in range(len(rows)):
        angles[:] = 0.0
        for j in range(p):
            entry = rows[i, j]
            if entry != 0.0:
                for k in range(m):
                    angles[k] += entry * frequencies[j, k]
        for k in range(m):
            out[i, 2 * k] = unit * np.cos(angles[k])
            out[i, 2 * k + 1] = unit * np.sin(angles[k])
