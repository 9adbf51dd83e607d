"""The best k rows of a slab by inner product, every row scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import kernel
from engine.kernels.memory import prefetch1
from engine.kernels.retrieval.best import sort1
from engine.kernels.retrieval.dots import score_block1
from engine.kernels.retrieval.filters import allowed1, offer_block1

__all__ = ["scan_rows"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

BLOCK = 64  # rows that stay in the nearest cache while every query is scored
SCATTERED = 32  # rows asked for ahead when they do not follow each other
MANY = 4  # queries from which it pays to leave rows out before they are scored
LINE = 16  # numbers


@kernel(
    "void(f4[::1], i8, i8, i8, i8, u1[::1], u1[::1], i8[::1], i8[::1], i8, i8[::1], b1,"
    " f4[:,::1], i8[::1], i8[::1], i8[::1], f4[::1], i8[::1], i8[:,::1], f4[:,::1])",
    scoring=True,
    counted=False,
)
def scan_rows(
    flat: Singles, words: int, start: int, size: int, bias: int,
    live: Bytes, available: Bytes, begins: Ints, ends: Ints, now: int,
    given: Ints, every: bool,
    queries: Singles, offsets: Ints, excluded: Ints,
    ids: Ints, values: Singles, counts: Ints,
    rows: Ints, scores: Singles,
) -> None:  # fmt: skip
    """Writes: rows, scores. Best ``k`` of every row of the slab, or of those given.

    A row's score for query i is the product of its words ``start : start + size`` with
    ``queries[i]``, plus its word ``bias`` unless that is -1. Rows that `allowed1` does not let
    through, and those in ``excluded[offsets[i] : offsets[i + 1]]``, take no place. rows and scores
    are ``(n, k)``, best first.
    """
    n = len(queries)
    total = len(flat) // words if every else len(given)
    block = BLOCK if every else SCATTERED
    for first in range(0, total, block):
        m = 0
        for at in range(first, min(first + block, total)):
            row = at if every else given[at]
            ids[m] = row
            if n < MANY or allowed1(row, live, available, begins, ends, now):
                m += 1
        if not every:
            for at in range(first + block, min(first + 2 * block, total)):
                for word in range(start, start + size, LINE):
                    prefetch1(flat, given[at] * words + word)
        for i in range(n if m else 0):
            score_block1(flat, words, start, size, ids, 0, m, queries[i], 0, values)
            if bias >= 0:
                for s in range(m):
                    values[s] += flat[ids[s] * words + bias]
            counts[i] = offer_block1(
                ids, values, m, live, available, begins, ends, now,
                excluded, offsets[i], offsets[i + 1], rows[i], scores[i], counts[i],
            )  # fmt: skip
    for i in range(n):
        sort1(rows[i], scores[i], counts[i])
