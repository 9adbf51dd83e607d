"""The best k of what is offered: a heap with the worst on top, which turns most away at once.

Of two rows the one with the higher score is better, of equal scores the lower row. What is kept
is the same in whatever order rows are offered. A score that is NaN is never kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted
from engine.kernels.retrieval.dots import any_above1

__all__ = ["bound1", "offer1", "pick1", "sort1"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

GROUP = 64  # values compared at once


@inline_uncounted
def worse1(score: np.float32, row: int, other: np.float32, other_row: int) -> bool:
    """Whether a row comes after another."""
    return bool(score < other or (score == other and row > other_row))


@inline_uncounted
def bound1(scores: Singles, count: int) -> np.float32:
    """Score below which nothing more is kept."""
    return scores[0] if count == len(scores) else np.float32(-np.inf)


@inline_uncounted
def sink1(rows: Ints, scores: Singles, at: int, count: int, row: int, score: np.float32) -> None:
    """Writes: rows, scores. Puts a row at a place of a heap of ``count``, or below it."""
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        other = child + 1
        if other < count and worse1(scores[other], rows[other], scores[child], rows[child]):
            child = other
        if not worse1(scores[child], rows[child], score, row):
            break
        rows[at], scores[at] = rows[child], scores[child]
        at = child
    rows[at], scores[at] = row, score


@inline_uncounted
def offer1(rows: Ints, scores: Singles, count: int, row: int, score: np.float32) -> int:
    """Writes: rows, scores. Keeps a row if it is among the best; returns how many are kept."""
    if count == len(rows):
        if worse1(scores[0], rows[0], score, row):
            sink1(rows, scores, 0, count, row, score)
        return count
    at = count
    while at > 0:
        parent = (at - 1) // 2
        if not worse1(score, row, scores[parent], rows[parent]):
            break
        rows[at], scores[at] = rows[parent], scores[parent]
        at = parent
    rows[at], scores[at] = row, score
    return count + 1


@inline_uncounted
def sort1(rows: Ints, scores: Singles, count: int) -> None:
    """Writes: rows, scores. Best first; -1 and -inf where there are none."""
    for left in range(count - 1, 0, -1):
        row, score = rows[left], scores[left]
        rows[left], scores[left] = rows[0], scores[0]
        sink1(rows, scores, 0, left, row, score)
    for at in range(count, len(rows)):
        rows[at], scores[at] = -1, -np.inf


@inline_uncounted
def pick1(values: Singles, m: int, rows: Ints, scores: Singles) -> int:
    """Writes: rows, scores. The best of m values, as many as rows holds; returns how many."""
    count, first = 0, 0
    while first < m:
        few = min(GROUP, m - first)
        if any_above1(values[first:], few, bound1(scores, count)):
            for at in range(first, first + few):
                if values[at] >= bound1(scores, count):
                    count = offer1(rows, scores, count, at, values[at])
        first += few
    sort1(rows, scores, count)
    return count
