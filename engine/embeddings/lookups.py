"""Vectors by key, whoever writes them: what a table and those that read it elsewhere share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import TableConfig
from engine.errors import ShapeError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import Table
from engine.kernels.embeddings.lookups import BUSY, OWN, lookup_keys

__all__ = ["NEVER", "Lookups", "settled"]

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

PATIENCE = 0.05  # s, many times what a writer takes over a record, or an index that moves
NEVER = -1  # no layout has this number: what is not found is asked for again


class Lookups(ABC):
    """Reads of a table that one writer may be writing.

    Attributes
    ----------
    config
        The table's settings.
    """

    config: TableConfig

    @abstractmethod
    def arrays(self) -> tuple[Table, int]:
        """Return the table as it is now, and the number of its layout."""

    @cached_property
    def width(self) -> int:
        """Numbers of the longest vector, its bias included."""
        return max(feature.width for feature in self.config.features)

    def number(self, name: str) -> int:
        """Return the number of a feature; ``KeyError`` when the table has none of that name."""
        return {feature.name: i for i, feature in enumerate(self.config.features)}[name]

    def lookup(self, keys: Keys, features: Ints | int = 0) -> tuple[Floats, Flags]:
        """Vectors of keys, the shared ones where they have none of their own.

        A key that its writer does not come to an end with, because it died, reads as zeros.

        Parameters
        ----------
        keys
            uint64 ``(n,)``.
        features
            Number of each key's feature, int64 ``(n,)``, or of all.

        Returns
        -------
        Vectors, float32 ``(n, width)``, zeros behind a shorter one, and whether each is the key's
        own, ``(n,)``.
        """
        keys, features = self.check(keys, features)
        out = np.zeros((len(keys), self.width), dtype=np.float32)
        found = np.empty(len(keys), dtype=np.uint8)
        table, layout = self.arrays()
        lookup_keys(*table, layout, keys, features, out, found)
        if np.any(found == BUSY):
            self._ask_again(keys, features, out, found)
        return out, found == OWN

    def _ask_again(self, keys: Keys, features: Ints, out: Floats, found: NDArray[np.uint8]) -> None:
        """Writes: out, found. Reads what was being written until it is whole."""
        deadline = time.monotonic() + PATIENCE
        again = np.flatnonzero(found == BUSY)
        while len(again):
            part = np.zeros((len(again), self.width), dtype=np.float32)
            told, late = found[again], time.monotonic() > deadline
            table, layout = self.arrays()
            if late:
                layout = int(table.head[at.LAYOUT])  # what is not found by now is not there
            lookup_keys(*table, layout, keys[again], features[again], part, told)
            part[told == BUSY] = 0.0
            out[again], found[again] = part, told
            if late:
                return
            again = again[told == BUSY]

    def check(self, keys: Keys, features: Ints | int) -> tuple[Keys, Ints]:
        """Bring what is asked for to the types kernels take; ``ShapeError`` when it cannot be."""
        keys = np.ascontiguousarray(keys, dtype=np.uint64)
        if isinstance(features, int):
            features = np.full(len(keys), features, dtype=np.int64)
        known = len(self.config.features)
        if keys.ndim != 1 or features.shape != keys.shape:
            raise ShapeError(f"keys are {keys.shape} and features {features.shape}; give (n,) each")
        if len(features) and not (features.min() >= 0 and features.max() < known):
            raise ShapeError(
                f"features are {features.min()} to {features.max()}; the table has 0 to {known - 1}"
            )
        return keys, np.ascontiguousarray(features)


def settled(head: Ints) -> int:
    """Number of a layout, `NEVER` while it is changing."""
    layout = int(head[at.LAYOUT])
    return NEVER if layout & 1 else layout
