"""One way to ask for candidates: an exact scan while items are few, an inverted file beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import ConfigError
from engine.retrieval.centroids import Centroids, lists_for, train_for
from engine.retrieval.exact import search_exact
from engine.retrieval.inverted import InvertedFile
from engine.retrieval.records import Exclusions, Filters, Found, Records

__all__ = ["Retriever", "RetrieverConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """How candidates are found.

    Attributes
    ----------
    exact_up_to
        Live rows up to which every one is scored.
    nprobe
        Lists scanned beyond; see `InvertedFile.search`.
    lists
        Lists of the inverted file; 0 for what suits the rows there are when it is trained.
    seed
        Of the training.
    """

    exact_up_to: int = 50_000
    nprobe: int = 8
    lists: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.exact_up_to < 0 or self.nprobe < 1 or self.lists < 0:
            raise ConfigError(
                f"exact_up_to is {self.exact_up_to}, nprobe {self.nprobe}, lists {self.lists}; "
                "give 0 or more, 1 or more, 0 or more"
            )


class Retriever:
    """Finds the rows of largest product with a query, one way or the other.

    Training takes seconds and changes nothing: call `train` off-path when `wants_training`, and
    `adopt` what it made. Until then the scan is exact, and slower.

    Attributes
    ----------
    config
        How candidates are found.
    index
        The inverted file, None before the first `adopt`.
    live
        Live rows at the last `update`.
    """

    def __init__(self, config: RetrieverConfig | None = None) -> None:
        self.config = config or RetrieverConfig()
        self.index: InvertedFile | None = None
        self.live = 0

    @property
    def wants_training(self) -> bool:
        """Whether there are too many rows for an exact scan, or far more than lists suit."""
        if self.live <= self.config.exact_up_to:
            return False
        if self.index is None:
            return True
        grown = not self.config.lists and lists_for(self.live) >= 2 * len(self.index.centroids)
        return grown and not self.index.left_behind

    def update(self, records: Records, rows: ArrayLike) -> None:
        """Take note of rows written, freed or given to other keys. Writes: this retriever."""
        given = records.check_rows(rows)
        self.live = int(np.count_nonzero(records.live)) if len(records.live) else len(records.slab)
        if self.index is not None:
            self.index.update(records, given)

    def train(self, records: Records) -> Centroids:
        """Train centroids for the rows that are live now; changes nothing."""
        lists = self.config.lists or None
        return train_for(records, records.live_rows(), lists=lists, seed=self.config.seed)

    def adopt(self, records: Records, centroids: Centroids) -> None:
        """Assign with these centroids from now on. Writes: this retriever.

        The first time, all live rows are put into lists; later, `carry_over` moves them.
        """
        if self.index is None:
            index = InvertedFile(centroids)
            index.update(records, records.live_rows())
            self.index = index
        else:
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

        See `search_exact` and `InvertedFile.search`, one of which it is.
        """
        if self.index is None or self.live <= self.config.exact_up_to:
            return search_exact(records, queries, k, filters=filters, excluded=excluded)
        return self.index.search(
            records, queries, k, nprobe=self.config.nprobe, filters=filters, excluded=excluded
        )
