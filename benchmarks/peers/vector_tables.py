"""Vectors of 64-bit keys in the tables Python and numba bring along."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["DictVectors", "TypedVectors"]

Keys = NDArray[np.uint64]
Vectors = NDArray[np.float32]


class TypedVectors:
    """numba.typed.Dict of a key to a row, which a compiled loop copies."""

    name = "numba.typed.Dict to a row"

    def __init__(self, keys: Keys, vectors: Vectors) -> None:
        self.vectors = vectors
        self.rows: Any = numba.typed.Dict.empty(numba.uint64, numba.int64)
        _fill(self.rows, keys)

    def lookup(self, keys: Keys, out: Vectors) -> None:
        """Copy the vector of every key."""
        _copy(self.rows, self.vectors, keys, out)


class DictVectors:
    """dict of a key to a row, and one gather of NumPy."""

    name = "dict to a row, np.take"

    def __init__(self, keys: Keys, vectors: Vectors) -> None:
        self.vectors = vectors
        self.rows = {key: row for row, key in enumerate(keys.tolist())}

    def lookup(self, keys: Keys, out: Vectors) -> None:
        """Copy the vector of every key."""
        rows = [self.rows[key] for key in keys.tolist()]
        np.take(self.vectors, rows, axis=0, out=out, mode="clip")


def _fill_rows(rows: Any, keys: Keys) -> None:
    for row in range(len(keys)):
        rows[keys[row]] = row


def _copy_rows(rows: Any, vectors: Vectors, keys: Keys, out: Vectors) -> None:
    for i in range(len(keys)):
        row = rows[keys[i]]
        for j in range(out.shape[1]):
            out[i, j] = vectors[row, j]


_fill: Any = numba.njit(_fill_rows)
_copy: Any = numba.njit(_copy_rows)
