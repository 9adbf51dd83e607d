"""One way to ask for candidates: every item is scored while they are few, likely lists beyond."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import ConfigError
from engine.retrieval.centroids import Centroids, lists_for
from engine.retrieval.exact import search_exact
from engine.retrieval.inverted import InvertedFile
from engine.retrieval.records import Exclusions, Filters, Found, Records

__all__ = ["Retriever", "RetrieverConfig"]

UNBOUNDED = 1e30
"""Spread of the one list that rows are in before centroids are trained: it comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """How candidates are found.

    Attributes
    ----------
    exact_up_to
        Rows up to which every one is scored.
    nprobe
        Lists scanned beyond; see `InvertedFile.search`.
    lists
        Lists of the inverted file; 0 for what suits the rows there are when it is trained.
    seed
        Of the training.
    capacity
        Rows that the slab may come to have; see `InvertedFile`.
    """

    exact_up_to: int = 50_000
    nprobe: int = 8
    lists: int = 0
    seed: int = 0
    capacity: int = 0

    def __post_init__(self) -> None:
        if min(self.exact_up_to, self.nprobe - 1, self.lists, self.capacity) < 0:
            raise ConfigError(
                f"exact_up_to is {self.exact_up_to}, nprobe {self.nprobe}, lists {self.lists}, "
                f"capacity {self.capacity}; give 1 or more to nprobe, 0 or more to the others"
            )


class Retriever:
    """Finds the rows of largest product with a query, of those it was told of.

    All rows are in one list at first, which is scanned from end to end. Training takes seconds and
    changes nothing: call `train` off-path when `wants_training`, `adopt` what it made, and
    `carry_over` rows until none is left. Answers are exact until that is begun, and again when rows
    have become few. It may not be searched while another thread updates it.

    Attributes
    ----------
    config
        How candidates are found.
    index
        The lists, None before the first `update`.
    """

    def __init__(self, config: RetrieverConfig | None = None) -> None:
        self.config = config or RetrieverConfig()
        self.index: InvertedFile | None = None

    def __len__(self) -> int:
        """Rows that may be found."""
        return 0 if self.index is None else len(self.index)

    @property
    def is_exact(self) -> bool:
        """Whether every row is scored."""
        whole = self.index is None or len(self.index.sizes) == 1
        return whole or len(self) <= self.config.exact_up_to

    @property
    def wants_training(self) -> bool:
        """Whether there are too many rows for an exact scan, or far more than lists suit."""
        if self.index is None or self.index.left_behind or len(self) <= self.config.exact_up_to:
            return False
        lists = len(self.index.centroids)
        grown = not self.config.lists and lists_for(len(self)) >= 2 * lists
        return lists == 1 or grown

    def update(self, records: Records, rows: ArrayLike) -> None:
        """Take note of rows written, freed or given to other keys. Writes: this retriever.

        Rows it was never told of are not found: those of users, say, in a table of both.
        """
        if self.index is None:
            values = np.zeros((1, records.width), dtype=np.float32)
            spreads = np.full(1, UNBOUNDED, dtype=np.float32)
            one = Centroids(values=values, spreads=spreads)
            self.index = InvertedFile(one, capacity=self.config.capacity)
        self.index.update(records, rows)

    def train(self, records: Records) -> Centroids:
        """Train centroids for the rows there are now; changes nothing.

        Raises ``ConfigError`` when there are none.
        """
        if self.index is None:
            raise ConfigError("there are no rows to train from; update some first")
        lists = self.config.lists or None
        return self.index.train(records, lists=lists, seed=self.config.seed)

    def adopt(self, centroids: Centroids) -> None:
        """Assign with these centroids from now on. Writes: this retriever.

        Rows there are stay where they are, and are found there, until `carry_over` moves them.
        Raises ``ConfigError`` before the first `update`, or while some are still to be moved.
        """
        if self.index is None:
            raise ConfigError("there are no rows to assign; update some first")
        self.index.adopt(centroids)

    def carry_over(self, records: Records, limit: int) -> int:
        """Move up to ``limit`` rows to lists of the newest centroids; returns how many are left.

        Writes: this retriever.
        """
        return 0 if self.index is None else self.index.carry_over(records, limit)

    def search(
        self,
        records: Records,
        queries: ArrayLike,
        k: int,
        *,
        filters: Filters | None = None,
        excluded: Exclusions | None = None,
    ) -> Found:
        """Find k rows of large ``q · v`` (plus bias) for every query, best first.

        See `InvertedFile.search`: every list is scanned when this `is_exact`.
        """
        if self.index is None:
            nothing = np.zeros(len(records.slab), dtype=np.uint8)
            return search_exact(replace(records, live=nothing), queries, k, excluded=excluded)
        nprobe = len(self.index.sizes) if self.is_exact else self.config.nprobe
        return self.index.search(
            records, queries, k, nprobe=nprobe, filters=filters, excluded=excluded
        )
