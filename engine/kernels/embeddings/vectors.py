"""Sums over two vectors of one slab, in eight parts that a processor adds at once.

The order of the additions is stated here, not left to the compiler: what is learned rests on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted

__all__ = ["cross1", "inner1"]

Floats = NDArray[np.float32]
LANES = 8


@inline_uncounted
def inner1(left: Floats, a: np.uint64, right: Floats, b: np.uint64, d: int) -> np.float32:
    """Return the inner product of ``left[a : a + d]`` and ``right[b : b + d]``."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    whole = np.uint64(d - d % LANES)
    j = np.uint64(0)
    while j < whole:
        p, q = a + j, b + j
        s0 += left[p] * right[q]
        s1 += left[p + np.uint64(1)] * right[q + np.uint64(1)]
        s2 += left[p + np.uint64(2)] * right[q + np.uint64(2)]
        s3 += left[p + np.uint64(3)] * right[q + np.uint64(3)]
        s4 += left[p + np.uint64(4)] * right[q + np.uint64(4)]
        s5 += left[p + np.uint64(5)] * right[q + np.uint64(5)]
        s6 += left[p + np.uint64(6)] * right[q + np.uint64(6)]
        s7 += left[p + np.uint64(7)] * right[q + np.uint64(7)]
        j += np.uint64(LANES)
    total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
    while j < np.uint64(d):
        total += left[a + j] * right[b + j]
        j += np.uint64(1)
    return total


@inline_uncounted
def cross1(
    flat: Floats, a: np.uint64, b: np.uint64, d: int, keep: np.float32, a_of_b: np.float32,
    keep_b: np.float32, b_of_a: np.float32,
) -> None:  # fmt: skip
    """Writes: flat. Moves two vectors, each by a part of the other as it was before.

    ``flat[a : a + d]`` becomes ``keep`` times itself less ``a_of_b`` times the other; the other
    likewise.
    """
    whole = np.uint64(d - d % LANES)
    j = np.uint64(0)
    while j < whole:
        p, q = a + j, b + j
        x0, x1, x2, x3 = (
            flat[p],
            flat[p + np.uint64(1)],
            flat[p + np.uint64(2)],
            flat[p + np.uint64(3)],
        )
        x4, x5 = flat[p + np.uint64(4)], flat[p + np.uint64(5)]
        x6, x7 = flat[p + np.uint64(6)], flat[p + np.uint64(7)]
        y0, y1, y2, y3 = (
            flat[q],
            flat[q + np.uint64(1)],
            flat[q + np.uint64(2)],
            flat[q + np.uint64(3)],
        )
        y4, y5 = flat[q + np.uint64(4)], flat[q + np.uint64(5)]
        y6, y7 = flat[q + np.uint64(6)], flat[q + np.uint64(7)]
        flat[p] = keep * x0 - a_of_b * y0
        flat[p + np.uint64(1)] = keep * x1 - a_of_b * y1
        flat[p + np.uint64(2)] = keep * x2 - a_of_b * y2
        flat[p + np.uint64(3)] = keep * x3 - a_of_b * y3
        flat[p + np.uint64(4)] = keep * x4 - a_of_b * y4
        flat[p + np.uint64(5)] = keep * x5 - a_of_b * y5
        flat[p + np.uint64(6)] = keep * x6 - a_of_b * y6
        flat[p + np.uint64(7)] = keep * x7 - a_of_b * y7
        flat[q] = keep_b * y0 - b_of_a * x0
        flat[q + np.uint64(1)] = keep_b * y1 - b_of_a * x1
        flat[q + np.uint64(2)] = keep_b * y2 - b_of_a * x2
        flat[q + np.uint64(3)] = keep_b * y3 - b_of_a * x3
        flat[q + np.uint64(4)] = keep_b * y4 - b_of_a * x4
        flat[q + np.uint64(5)] = keep_b * y5 - b_of_a * x5
        flat[q + np.uint64(6)] = keep_b * y6 - b_of_a * x6
        flat[q + np.uint64(7)] = keep_b * y7 - b_of_a * x7
        j += np.uint64(LANES)
    while j < np.uint64(d):
        x, y = flat[a + j], flat[b + j]
        flat[a + j] = keep * x - a_of_b * y
        flat[b + j] = keep_b * y - b_of_a * x
        j += np.uint64(1)
