"""Raw sums by item: the kernels that write learned state.

Events are added one after the other in the order given, without BLAS and without reordering, so
the same log gives the same bits however it is cut into batches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel

__all__ = ["add_rows", "update_columns", "update_cross", "update_gram", "update_outer"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel("void(f8[::1], i8[::1], f8[::1])")
def add_rows(total: Floats, rows: Ints, values: Floats) -> None:
    """Writes: total. ``total[rows[i]] += values[i]``, in order of i; total ``(m,)``."""
    for i in range(len(rows)):
        total[rows[i]] += values[i]


@inline
def add_outer1(packed: Floats, x: Floats, weight: float) -> None:
    """Writes: packed. Add ``w x xᵀ``; row by row as views, which the compiler vectorises."""
    at, d = 0, len(x)
    for p in range(d):
        wx = weight * x[p]
        part, tail = packed[at : at + d - p], x[p:]
        for q in range(len(part)):
            part[q] += wx * tail[q]
        at += d - p


@kernel("void(f8[:,::1], f8[:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1])")
def update_gram(
    gram: Floats, moment: Floats, rows: Ints, x: Floats, reward: Floats, weight: Floats
) -> None:
    """Writes: gram, moment. Add ``w x xᵀ`` (packed upper triangle) and ``w r x`` to each row.

    gram ``(m, d (d + 1) / 2)``, moment ``(m, d)``, x ``(n, d)``, the others ``(n,)``.
    """
    for i in range(len(rows)):
        first, xi = moment[rows[i]], x[i]
        for p in range(len(xi)):
            first[p] += weight[i] * xi[p] * reward[i]
        add_outer1(gram[rows[i]], xi, weight[i])


@kernel("void(f8[:,::1], i8[::1], f8[:,::1], f8[::1])")
def update_outer(gram: Floats, rows: Ints, x: Floats, weight: Floats) -> None:
    """Writes: gram ``(m, d (d + 1) / 2)``. Add ``w x xᵀ`` (packed upper triangle) to each row."""
    for i in range(len(rows)):
        add_outer1(gram[rows[i]], x[i], weight[i])


@kernel("void(f8[:,::1], f8[:,::1], i8[::1], f8[:,::1], f8[::1], f8[::1])")
def update_columns(
    precision: Floats, moment: Floats, rows: Ints, x: Floats, reward: Floats, weight: Floats
) -> None:
    """Writes: precision, moment. Add ``w x²`` and ``w r x``, column by column, to each row.

    precision and moment ``(m, d)``, x ``(n, d)``, the others ``(n,)``.
    """
    for i in range(len(rows)):
        xi, second, first = x[i], precision[rows[i]], moment[rows[i]]
        for p in range(len(xi)):
            wx = weight[i] * xi[p]
            second[p] += wx * xi[p]
            first[p] += wx * reward[i]


@kernel("void(f8[:,:,::1], i8[::1], f8[:,::1], f8[:,::1], f8[::1])")
def update_cross(cross: Floats, rows: Ints, x: Floats, h: Floats, weight: Floats) -> None:
    """Writes: cross ``(m, d, e)``. Add ``w x hᵀ`` to each row; x ``(n, d)``, h ``(n, e)``."""
    for i in range(len(rows)):
        mine, xi, hi = cross[rows[i]], x[i], h[i]
        for p in range(len(xi)):
            wx, row = weight[i] * xi[p], mine[p]
            for q in range(len(hi)):
                row[q] += wx * hi[q]
