"""Raw sums by item: the kernels that write learned state.

Events are added one after the other in the order given, without BLAS and without reordering, so
the same log gives the same bits however it is cut into batches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import kernel

__all__ = ["add_rows", "update_gram"]

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
        mine, first, xi = gram[rows[i]], moment[rows[i]], x[i]
        at = 0
        for p in range(d):
            wx = weight[i] * xi[p]
            first[p] += wx * reward[i]
            part, tail = mine[at : at + d - p], xi[p:]
            for q in range(len(part)):
                part[q] += wx * tail[q]
            at += d - p
