"""Sums of (cluster, item) pairs in the tables Python and numba bring along."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from benchmarks.worlds import Floats

__all__ = ["IntDict", "TupleDict", "TypedDict"]


class TupleDict:
    """dict of (cluster, item) to a list of two sums."""

    name = "dict, key (cluster, item)"
    events = 1000

    def __init__(self, clusters: int, items: int) -> None:
        self.sums = {(c, i): [0.0, 0.0] for c in range(clusters) for i in range(items)}

    def add(self, cluster: np.ndarray, weight: Floats, item: np.ndarray, reward: Floats) -> None:
        """Add w² and w r to the pairs of every event."""
        columns = cluster.tolist(), weight.tolist(), item.tolist(), reward.tolist()
        for clusters, weights, i, r in zip(*columns, strict=True):
            for c, w in zip(clusters, weights, strict=True):
                sums = self.sums[c, i]
                sums[0] += w * w
                sums[1] += w * r


class IntDict:
    """dict of one number a pair to a list of two sums."""

    name = "dict, key cluster · items + item"
    events = 1000

    def __init__(self, clusters: int, items: int) -> None:
        self.items = items
        self.sums = {key: [0.0, 0.0] for key in range(clusters * items)}

    def add(self, cluster: np.ndarray, weight: Floats, item: np.ndarray, reward: Floats) -> None:
        """Add w² and w r to the pairs of every event."""
        keys = (cluster * self.items + item[:, None]).tolist()
        for row, weights, r in zip(keys, weight.tolist(), reward.tolist(), strict=True):
            for key, w in zip(row, weights, strict=True):
                sums = self.sums[key]
                sums[0] += w * w
                sums[1] += w * r


class TypedDict:
    """numba.typed.Dict of one number a pair to a row of two sums, in a compiled loop."""

    name = "numba.typed.Dict to a row"
    events = 20_000

    def __init__(self, clusters: int, items: int) -> None:
        self.items, self.sums = items, np.zeros((clusters * items, 2))
        self.rows: Any = numba.typed.Dict.empty(numba.int64, numba.int64)
        _fill(self.rows, clusters * items)

    def add(self, cluster: np.ndarray, weight: Floats, item: np.ndarray, reward: Floats) -> None:
        """Add w² and w r to the pairs of every event."""
        _add(self.rows, self.sums, self.items, cluster, weight, item, reward)


def _fill_rows(rows: Any, n: int) -> None:
    for key in range(n):
        rows[key] = key


def _add_rows(  # noqa: PLR0917  (compiled)
    rows: Any,
    sums: Floats,
    items: int,
    cluster: np.ndarray,
    weight: Floats,
    item: np.ndarray,
    reward: Floats,
) -> None:
    for i in range(len(item)):
        for c in range(cluster.shape[1]):
            row = rows[cluster[i, c] * items + item[i]]
            sums[row, 0] += weight[i, c] * weight[i, c]
            sums[row, 1] += weight[i, c] * reward[i]


_fill: Any = numba.njit(_fill_rows)
_add: Any = numba.njit(_add_rows)
