"""Raw sums by item: the kernels that write learned state.

Events are added one after the other in the order given, without BLAS and without reordering, so
the same log gives the same bits however it is cut into batches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import kernel

__all__ = ["add_rows", "update_cross", "update_gram", "update_outer"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel("void(f8[::1], i8[::1], f8[::1])")
def add_rows(total: Floats, rows: Ints, values: Floats) -> None:
    """Writes: total. ``total[rows[i]] += values[i]``, in order of i; total ``(m,)``."""
    for i in range(len(rows)):
        total[rows[i]] += values[i]


@kernel("void(f8[:,::1], f8[:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1])")
def update_gram(
    gram: Floats, moment: Floats, rows: Ints, x: Floats, reward: Floats, weight: Floats
) -> None:
    """Writes: gram, moment. Add ``w x xᵀ`` (packed upper triangle) and ``w r x`` to each row.

    gram ``(m, d (d + 1) / 2)``, moment ``(m, d)``, x ``(n, d)``, the others ``(n,)``.
    """
    d = x.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        at = 0
        for p in range(d):
            wx = weight[i] * x[i, p]
            moment[row, p] += wx * reward[i]
            for q in range(p, d):
                gram[row, at] += wx * x[i, q]
                at += 1


@kernel("void(f8[:,::1], i8[::1], f8[:,::1], f8[::1])")
def update_outer(gram: Floats, rows: Ints, x: Floats, weight: Floats) -> None:
    """Writes: gram ``(m, d (d + 1) / 2)``. Add ``w x xᵀ`` (packed upper triangle) to each row."""
    d = x.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        at = 0
        for p in range(d):
            wx = weight[i] * x[i, p]
            for q in range(p, d):
                gram[row, at] += wx * x[i, q]
                at += 1


@kernel("void(f8[:,:,::1], i8[::1], f8[:,::1], f8[:,::1], f8[::1])")
def update_cross(cross: Floats, rows: Ints, x: Floats, h: Floats, weight: Floats) -> None:
    """Writes: cross ``(m, d, e)``. Add ``w x hᵀ`` to each row; x ``(n, d)``, h ``(n, e)``."""
    for i in range(len(rows)):
        row = rows[i]
        for p in range(x.shape[1]):
            wx = weight[i] * x[i, p]
            for q in range(h.shape[1]):
                cross[row, p, q] += wx * h[i, q]
