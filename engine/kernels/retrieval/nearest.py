"""The nearest of many centroids: the largest ``x · c - |c|² / 2``, of equals the lowest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.retrieval.dots import best_of1, score_block1

__all__ = ["BATCH", "CENTROIDS", "add1", "add_members", "find_nearest", "nearest1"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

BATCH = 16  # vectors at a time
CENTROIDS = 64  # scored at a time, for every vector of a batch


@inline_uncounted
def add1(values: Singles, more: Singles, m: int) -> None:
    """Writes: values. Adds the first m of others to them."""
    for i in range(m):
        values[i] += more[i]


@inline_uncounted
def nearest1(
    centroids: Singles, halves: Singles, numbers: Ints, width: int,
    vectors: Singles, start: int, m: int, values: Singles, found: Ints, best: Singles, at: int,
) -> None:  # fmt: skip
    """Writes: values, found, best. The nearest to each of m vectors that begin at ``start``.

    Goes to ``found[at : at + m]``, and ``x · c - |c|² / 2`` to best; 0 and -inf when that is
    NaN for every centroid. centroids are flat, halves ``-|c|² / 2``, numbers ``0, 1, …``.
    """
    for s in range(at, at + m):
        found[s], best[s] = 0, -np.inf
    for c in range(0, len(halves), CENTROIDS):
        few = min(CENTROIDS, len(halves) - c)
        for s in range(m):
            score_block1(
                centroids, width, 0, width, numbers, c, few, vectors, start + s * width, values
            )
            add1(values, halves[c:], few)
            place = best_of1(values, few, best[at + s])
            if place >= 0:
                found[at + s], best[at + s] = c + place, values[place]


@kernel("void(f4[::1], f4[::1], i8[::1], i8, f4[::1], f4[::1], i8[::1], f4[::1])", counted=False)
def find_nearest(
    centroids: Singles, halves: Singles, numbers: Ints, width: int,
    vectors: Singles, values: Singles, found: Ints, best: Singles,
) -> None:  # fmt: skip
    """Writes: values, found, best. The nearest to every vector, as `nearest1`; all laid flat."""
    for begin in range(0, len(found), BATCH):
        m = min(BATCH, len(found) - begin)
        nearest1(
            centroids, halves, numbers, width, vectors, begin * width, m, values, found, best, begin
        )


@kernel("void(f4[:,::1], i8[::1], f8[:,::1], i8[::1])", counted=False)
def add_members(vectors: Singles, found: Ints, sums: Floats, counts: Ints) -> None:
    """Writes: sums, counts. Adds every vector to the sum of its centroid, in order."""
    for i in range(len(found)):
        c = found[i]
        counts[c] += 1
        for j in range(vectors.shape[1]):
            sums[c, j] += np.float64(vectors[i, j])
