"""Which rows may be returned: checked inside a scan, of the rows that would be among the best.

Few rows ever reach the k-th best score so far, so filters cost next to nothing; and what they
turn away never takes a place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted
from engine.kernels.retrieval.best import bound1, offer1
from engine.kernels.retrieval.dots import any_above1

__all__ = ["allowed1", "excluded1", "offer_block1"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@inline_uncounted
def allowed1(row: int, live: Bytes, available: Bytes, begins: Ints, ends: Ints, now: int) -> bool:
    """Whether a row may be returned to anybody; filters that are empty let all through."""
    if len(live) and live[row] == 0:
        return False
    if len(available) and available[row] == 0:
        return False
    if len(begins) and now < begins[row]:
        return False
    return not (len(ends) and now >= ends[row])


@inline_uncounted
def excluded1(row: int, excluded: Ints, low: int, high: int) -> bool:
    """Whether a row is in ``excluded[low:high]``, which is sorted."""
    stop = high
    while low < high:
        middle = (low + high) // 2
        if excluded[middle] < row:
            low = middle + 1
        else:
            high = middle
    return bool(low < stop and excluded[low] == row)


@inline_uncounted
def offer_block1(
    ids: Ints, values: Singles, m: int,
    live: Bytes, available: Bytes, begins: Ints, ends: Ints, now: int,
    excluded: Ints, low: int, high: int,
    rows: Ints, scores: Singles, count: int,
) -> int:  # fmt: skip
    """Writes: rows, scores. Keeps those of m scored rows that may be; returns how many are kept."""
    bound = bound1(scores, count)
    if not any_above1(values, m, bound):
        return count
    for s in range(m):
        if values[s] >= bound:
            row = ids[s]
            if allowed1(row, live, available, begins, ends, now) and not excluded1(
                row, excluded, low, high
            ):
                count = offer1(rows, scores, count, row, values[s])
                bound = bound1(scores, count)
    return count
