"""An inverted file over a slab of records: lists of rows by nearest centroid.

Lists hold copies of the vectors: they are read from end to end, and a search never reads a record
that is being written. An update is one assignment, O(K · width), and moving one entry, O(1). Which
list a row is in, and its scores, depend on its vector when it was last updated and on the
centroids, never on how updates were cut into batches. It may not be searched while another thread
updates it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.embeddings.memory import reserve
from engine.errors import ConfigError, ShapeError
from engine.kernels.retrieval.dots import PAD
from engine.kernels.retrieval.lists import BLOCK, TOTAL, place_rows
from engine.kernels.retrieval.nearest import BATCH, CENTROIDS
from engine.kernels.retrieval.probe import probe_lists
from engine.retrieval.centroids import Centroids, train_for
from engine.retrieval.records import (
    MOST_ROWS,
    NO_ROWS,
    Exclusions,
    Filters,
    Found,
    Records,
    as_queries,
    filters_of,
)

__all__ = ["InvertedFile"]

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
Shorts = NDArray[np.int32]

SPARE_LISTS = 1024  # that may be adopted before anything is copied
NOTHING: Shorts = np.empty(0, dtype=np.int32)


class InvertedFile:
    """Rows by nearest centroid, found again by the product of their vectors with a query.

    Parameters
    ----------
    centroids
        Of the first version; see `train_centroids`.
    capacity
        Rows that the slab may come to have: addresses are reserved for them, memory is not, so
        that nothing is copied when the slab grows up to there.
    """

    def __init__(self, centroids: Centroids, *, capacity: int = 0) -> None:
        self._capacity = capacity
        self._versions = [centroids]
        self._heads, self._sizes = _lists(len(centroids)), _lists(len(centroids)) + np.int32(1)
        self._entries, self._chain, self._owner = NOTHING, NOTHING, NOTHING
        self._where, self._rows = NOTHING, 0  # of the slab
        self._copies: Singles = np.empty(0, dtype=np.float32)
        self._spare: Ints = np.array([-1, 0, 0], dtype=np.int64)
        self._join()

    @classmethod
    def over(cls, records: Records, *, lists: int | None = None, seed: int = 0) -> InvertedFile:
        """Train centroids from an even sample of the live rows, and put all of those into lists.

        Raises ``ConfigError`` when none is live.
        """
        rows = records.live_rows()
        made = cls(train_for(records, rows, lists=lists, seed=seed))
        made.update(records, rows)
        return made

    def __len__(self) -> int:
        """Rows in the lists."""
        return int(self._spare[TOTAL])

    @property
    def centroids(self) -> Centroids:
        """The version that updates assign with."""
        return self._versions[-1]

    @property
    def sizes(self) -> Ints:
        """Rows in every list, those of an earlier version first, ``(lists,)``."""
        return self._sizes.astype(np.int64)

    @property
    def left_behind(self) -> int:
        """Rows still in lists of an earlier version."""
        return int(self._sizes[: self._first].sum())

    def lists_of(self, rows: ArrayLike) -> Ints:
        """Number of the list of each row in `sizes`, -1 for rows in none, ``(n,)``."""
        given = np.asarray(rows, dtype=np.int64)
        places = np.full(len(given), -1, dtype=np.int64)
        known = (given >= 0) & (given < len(self._where))
        places[known] = self._where[given[known]] - 1
        blocks = places // BLOCK
        return np.where(places >= 0, self._owner[blocks] if len(self._owner) else -1, -1)

    def hash(self) -> str:
        """Hash of the centroids and of every row's list: what answers depend on."""
        digest = hashlib.sha256(" ".join(each.version for each in self._versions).encode())
        rows = np.flatnonzero(self._where)
        digest.update(rows.tobytes() + self.lists_of(rows).tobytes())
        return digest.hexdigest()

    def update(self, records: Records, rows: ArrayLike) -> None:
        """Put each row into the list of its vector, and take out those not live, in order.

        Call it after vectors were learned, and after rows were freed or given to other keys.
        Writes: this index.

        Raises
        ------
        ShapeError
            When rows are not of the slab, or vectors not of the centroids' width.
        """
        self._place(records, records.check_rows(rows), only_old=False)

    def erase(self, records: Records, rows: ArrayLike) -> None:
        """Take rows out, whether they are live or not. Writes: this index."""
        dead = np.zeros(len(records.slab), dtype=np.uint8)
        gone = Records(
            slab=records.slab,
            size=records.size,
            start=records.start,
            bias=records.bias,
            live=dead,
        )
        self._place(gone, records.check_rows(rows), only_old=False)

    def search(
        self,
        records: Records,
        queries: ArrayLike,
        k: int,
        *,
        nprobe: int = 8,
        filters: Filters | None = None,
        excluded: Exclusions | None = None,
    ) -> Found:
        """Find rows of large ``q · v`` (plus bias) for every query: of those in the lists scanned.

        Lists come by the product of the query with their centroid, plus their spread, until
        ``nprobe`` were scanned, and with them as many rows as ``nprobe`` lists hold on average
        (long vectors are in short lists), and k rows were found; lists of an earlier version that
        come in between are scanned as well. So k are found whenever k may be
        returned; with ``nprobe`` of all lists the answer is that of `search_exact`.

        Parameters
        ----------
        records
            The slab: filters, and what is live, are of this moment, vectors of each row's last
            update.

        Raises
        ------
        ConfigError, ShapeError
            As `search_exact` does, and when nprobe is below 1.
        """
        if nprobe < 1:
            raise ConfigError(f"nprobe is {nprobe}; give 1 or more")
        self._check(records)
        asked = as_queries(queries, records)
        passing, offsets, banned = filters_of(filters, excluded, records, len(asked))
        found = Found.room(len(asked), k)
        lists = len(self._heads)
        seen = -(-nprobe * (len(self) - self.left_behind) // len(self.centroids))
        picked = min(lists, 2 * nprobe + 16)  # at a time: most queries end within them
        probe_lists(
            self._copies, records.width, records.size,
            records.live, passing.available, passing.available_from, passing.expires_at,
            passing.now_ms, asked, offsets, banned,
            self._flat, self._spreads, self._numbers,
            self._first, nprobe, seen,
            self._heads, self._sizes, self._entries, self._chain,
            np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK + PAD, dtype=np.float32),
            np.empty(lists + PAD, dtype=np.float32),
            np.empty(picked, dtype=np.int64), np.empty(picked, dtype=np.float32),
            found.rows, found.scores,
        )  # fmt: skip
        return found

    def train(self, records: Records, *, lists: int | None = None, seed: int = 0) -> Centroids:
        """Train other centroids from an even sample of the rows in the lists; changes nothing.

        See `train_for`.
        """
        rows = np.flatnonzero(self._where)
        return train_for(records, rows, lists=lists, seed=seed)

    def adopt(self, centroids: Centroids) -> None:
        """Assign with these from now on; rows stay where they are until `carry_over` moves them.

        Rows of the version before are searched as well as those of this one. Writes: this index.

        Raises
        ------
        ConfigError
            When rows of an earlier version still wait to be carried over.
        ShapeError
            When the centroids are of another width.
        """
        if self.left_behind:
            raise ConfigError(f"{self.left_behind} rows are of an earlier version; carry them over")
        if centroids.values.shape[1] != self.centroids.values.shape[1]:
            raise ShapeError(
                f"centroids are {centroids.values.shape}; give {self.centroids.values.shape[1]} "
                "numbers each"
            )
        self._drop_old()
        self._versions = [self.centroids, centroids]
        self._heads = np.concatenate([self._heads, _lists(len(centroids))])
        self._sizes = np.concatenate([self._sizes, _lists(len(centroids)) + np.int32(1)])
        self._join()

    def carry_over(self, records: Records, limit: int) -> int:
        """Reassign up to ``limit`` rows of an earlier version; returns how many are left.

        Writes: this index.
        """
        old = np.flatnonzero(self._sizes[: self._first])
        rows: list[Ints] = []
        for each in old:
            if limit <= 0:
                break
            rows.append(self._rows_of(int(each))[:limit])
            limit -= len(rows[-1])
        if rows:
            self._place(records, np.sort(np.concatenate(rows)), only_old=True)
        if not self.left_behind:
            self._drop_old()
        return self.left_behind

    def _rows_of(self, each: int) -> Ints:
        """Rows in a list."""
        blocks, block, left = [], int(self._heads[each]), int(self._sizes[each])
        while left > 0:
            m = (left - 1) % BLOCK + 1
            blocks.append(self._entries[block * BLOCK : block * BLOCK + m].astype(np.int64))
            block, left = int(self._chain[block]), left - m
        return np.concatenate(blocks) if blocks else NO_ROWS

    def _drop_old(self) -> None:
        """Forget the empty lists of an earlier version."""
        gone = self._first
        if gone:
            self._heads, self._sizes = self._heads[gone:].copy(), self._sizes[gone:].copy()
            self._owner -= np.int32(gone)
            del self._versions[0]
            self._join()

    def _join(self) -> None:
        """Gather what kernels read of all versions."""
        values = [each.values for each in self._versions]
        self._flat = np.concatenate(values).reshape(-1)
        self._spreads = np.concatenate([each.spreads for each in self._versions])
        self._first = sum(map(len, values[:-1]))
        self._numbers = np.arange(max(len(self._heads), BLOCK))

    def _check(self, records: Records) -> None:
        width = self.centroids.values.shape[1]
        if records.width != width or len(records.slab) < self._rows:
            raise ShapeError(
                f"records are {len(records.slab)} of width {records.width}; this index has "
                f"{self._rows} of width {width}"
            )

    def _place(self, records: Records, rows: Ints, *, only_old: bool) -> None:
        self._check(records)
        self._reserve(len(records.slab))
        place_rows(
            records.flat, records.words, records.start, records.size, records.bias,
            records.live, rows, only_old,
            np.ascontiguousarray(self.centroids.values).reshape(-1), self.centroids.halves,
            self._numbers, self._first,
            np.empty(BATCH * records.width, dtype=np.float32),
            np.empty(CENTROIDS + PAD, dtype=np.float32),
            np.empty(BATCH, dtype=np.int64), np.empty(BATCH, dtype=np.float32),
            self._heads, self._sizes, self._entries, self._chain, self._owner, self._spare,
            self._where, self._copies,
        )  # fmt: skip

    def _reserve(self, rows: int) -> None:
        """Room for every row of the slab, in any lists: addresses, memory once it is written."""
        self._rows, known = rows, len(self._where)
        if known < rows:
            wanted = max(rows, self._capacity, min(2 * known, MOST_ROWS))
            self._where = _longer(self._where, wanted)
        full, lists = len(self._where) // BLOCK, len(self._heads)
        if len(self._chain) < full + lists:
            blocks = full + 4 * lists + SPARE_LISTS
            width = self.centroids.values.shape[1]
            self._chain, self._owner = _longer(self._chain, blocks), _longer(self._owner, blocks)
            self._entries = _longer(self._entries, blocks * BLOCK)
            self._copies = _longer(self._copies, blocks * BLOCK * width)


def _lists(count: int) -> Shorts:
    return np.full(count, -1, dtype=np.int32)


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    grown = reserve((size,), array.dtype, scattered=True)
    grown[: len(array)] = array
    return grown
