"""Vectors by key, whoever writes them: what a table and those that read it elsewhere share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import TableConfig
from engine.errors import ShapeError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.index import FIRST
from engine.kernels.embeddings.layout import Table
from engine.kernels.embeddings.lookups import BATCH, BUSY, OWN, lookup_keys

__all__ = ["Lookups", "TableStatistics"]

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]


SAMPLED_LINES = 1024  # of the sketch, for an estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatistics:
    """What became of ids so far, and what the table takes.

    ``readmitted`` is estimated, never too low for ids that left lately. ``collisions`` counts
    claims of a key whose id is another than that it was admitted for. ``clamped`` counts events
    whose stamps were too far ahead. ``false_admission`` estimates the chance that the sketch takes
    an id never met for one met often enough, at the least threshold there is.
    """

    rows: int
    admitted: int
    rejected: int
    expired: int
    evicted: int
    erased: int
    readmitted: int
    collisions: int
    clamped: int
    false_admission: float
    watermark: int  # s
    load: float  # of the index
    index_bytes: int
    bytes: int


class Lookups(ABC):
    """Reads of a table that one writer may be writing.

    Attributes
    ----------
    config
        The table's settings.
    """

    config: TableConfig

    patience: float | None = (
        None  # s to wait for what is being written; None for as long as it takes
    )

    @abstractmethod
    def arrays(self) -> Table:
        """Return the table as it is now."""

    @cached_property
    def width(self) -> int:
        """Numbers of the longest vector, its bias included."""
        return max(feature.width for feature in self.config.features)

    def number(self, name: str) -> int:
        """Return the number of a feature; ``KeyError`` when the table has none of that name."""
        return {feature.name: i for i, feature in enumerate(self.config.features)}[name]

    def lookup(
        self, keys: Keys, features: Ints | int = 0, *, out: Floats | None = None
    ) -> tuple[Floats, Flags]:
        """Vectors of keys, the shared ones where they have none of their own.

        Where a writer in another process died within a record, zeros stand for it.

        Parameters
        ----------
        keys
            uint64 ``(n,)``.
        features
            Number of each key's feature, int64 ``(n,)``, or of all.
        out
            Where vectors are written, float32 ``(n, width)``: memory used again costs less.

        Returns
        -------
        Vectors, float32 ``(n, width)``, zeros behind a shorter one, and whether each is the key's
        own, ``(n,)``.
        """
        keys, features = self.check(keys, features)
        if out is None:
            out = np.empty((len(keys), self.width), dtype=np.float32)
        elif (
            out.shape != (len(keys), self.width)
            or out.dtype != np.float32
            or not (out.flags.c_contiguous and out.flags.writeable)
        ):
            raise ShapeError(
                f"out is {out.dtype} {out.shape}; {len(keys)} keys need contiguous float32 "
                f"({len(keys)}, {self.width}) that can be written"
            )
        found = np.full(len(keys), BUSY, dtype=np.uint8)
        places, mixes = np.empty(BATCH, dtype=np.int64), np.empty(BATCH, dtype=np.uint64)
        late = None
        while lookup_keys(self.arrays(), keys, features, out, found, places, mixes):
            if self.patience is None:
                continue
            late = late or time.monotonic() + self.patience
            if time.monotonic() > late:
                out[found == BUSY] = 0.0
                break
        return out, found == OWN

    def statistics(self) -> TableStatistics:
        """What became of ids so far."""
        t = self.arrays()
        head = t.head
        buckets = int(t.cells[0])
        used = head[at.FRESH] * t.words.itemsize * t.words.shape[1]
        index = 64 * (buckets + FIRST)
        return TableStatistics(
            rows=int(head[at.LIVE]),
            admitted=int(head[at.ADMITTED]),
            rejected=int(head[at.REJECTED]),
            expired=int(head[at.EXPIRED]),
            evicted=int(head[at.EVICTED]),
            erased=int(head[at.ERASED]),
            readmitted=int(head[at.READMITTED]),
            collisions=int(head[at.COLLISIONS]),
            clamped=int(head[at.CLAMPED]),
            false_admission=self._false_admission(),
            watermark=int(head[at.WATERMARK]),
            load=int(head[at.STORED]) / (4 * buckets),
            index_bytes=index,
            bytes=int(used + index + self.config.sketch_bytes),
        )

    def _false_admission(self) -> float:
        # An id has four counters of a line; some lines stand for all.
        thresholds = [each.threshold for each in self.config.features if each.threshold > 1]
        if not thresholds:
            return 0.0
        lines = self.arrays().sketch.reshape(-1, 8)
        some = lines[:: max(len(lines) // SAMPLED_LINES, 1)]
        nibbles = (some[:, :, None] >> np.arange(0, 64, 4, dtype=np.uint64)) & np.uint64(15)
        high = (nibbles >= min(thresholds) - 1).mean(axis=(1, 2))
        return float((high**4).mean())

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
