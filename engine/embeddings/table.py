"""The embedding table: one vector an id, never two ids on one, as many as may be and no more.

Reference: Liu et al. 2022, "Monolith: real time recommendation system with collisionless embedding
table" (arXiv 2209.07663). It departs from Monolith where that loses: freed records are used again
and ids are capped, initial vectors are functions of (seed, key), an id's state is one record, so
that nothing of it can be saved apart, and saves never stop the writer for the whole table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import TableConfig
from engine.embeddings.lookups import Lookups, TableStatistics
from engine.embeddings.memory import Room, reserve
from engine.errors import ShapeError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.index import FIRST, limit1, put_keys
from engine.kernels.embeddings.layout import MAX_HELD, Table
from engine.kernels.embeddings.records import begin_rows
from engine.kernels.embeddings.updates import erase_keys, update_keys
from engine.kernels.random import mix

__all__ = ["EmbeddingTable", "TableStatistics"]

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Checks = NDArray[np.uint32]

BUCKETS = 64  # of a new index
SEEDED = 0x1DE4  # makes the index's seed of the table's


class EmbeddingTable(Lookups):
    """Vectors by 64-bit key. One writer; any number of threads may `lookup` beside it.

    Attributes
    ----------
    config
        Its settings.
    table
        Its arrays, as kernels take them; another tuple after the index moved.
    number_saved
        How many saves of changes lead to what is marked as saved.
    room
        Where what readers need lies.
    """

    def __init__(self, config: TableConfig) -> None:
        self.config = config
        self.number_saved = 0
        self.room = Room()
        self.table = self._begun()

    def _begun(self) -> Table:
        t = self._empty()
        begin_rows(t, len(self.config.features))
        _unlist(t)  # whoever has the settings has these
        return t

    def _empty(self) -> Table:
        config = self.config
        features, capacity = len(config.features), config.capacity
        size = 8 * (FIRST + most_buckets(config.max_rows))
        self.room.begin()
        words = self.room.reserve("words", (capacity, config.words), np.uint32)
        lines = config.sketch_bytes // 64
        head = self.room.reserve("head-0", (at.HEAD,), np.int64)
        head[at.CAPACITY], head[at.MAX_LIVE] = capacity, config.max_rows
        head[at.GRACE], head[at.TABLE_SEED] = config.grace, config.seed
        head[at.MAX_JUMP] = config.max_jump_seconds
        head[at.SEED] = mix(config.seed ^ SEEDED)
        head[at.FRESH] = head[at.HAND] = features
        head[at.EXPIRES] = any(feature.ttl_seconds for feature in config.features)
        return Table(
            head=head,
            cells=begin_cells(self.room.reserve("cells-0", (size,), np.uint64), BUCKETS),
            before=np.zeros(0, dtype=np.uint64),
            words=words,
            floats=words.view(np.float32),
            sketch=self.room.reserve("sketch", (lines * 8,), np.uint64),
            row_marks=reserve((capacity,), np.uint8),
            rows=reserve((capacity,), np.int64),
            line_marks=reserve((lines,), np.uint8),
            lines=reserve((lines,), np.int64),
            held=np.zeros(MAX_HELD, dtype=np.int64),
            scratch=np.zeros(2048, dtype=np.int64),
            settings=np.stack([feature.to_row() for feature in config.features]),
        )

    def move(self, room: Room) -> None:
        """Take what readers need to another room, where it stays. Writes: this table."""
        t, fresh, number = self.table, int(self.table.head[at.FRESH]), self.table.head[at.NUMBER]
        used = 8 * (FIRST + int(t.cells[0]))
        room.begin()
        words = room.reserve("words", t.words.shape, np.uint32)
        cells = room.reserve(f"cells-{number}", t.cells.shape, np.uint64)
        head = room.reserve(f"head-{number}", t.head.shape, np.int64)
        sketch = room.reserve("sketch", t.sketch.shape, np.uint64)
        words[:fresh], cells[:used], head[:] = t.words[:fresh], t.cells[:used], t.head
        sketch[:], self.room = t.sketch, room
        moved = t._replace(head=head, cells=cells, words=words, floats=words.view(np.float32))
        self.table = moved._replace(sketch=sketch)

    def clear(self) -> None:
        """Forget every id. Writes: this table."""
        before = self.table
        self.table, self.number_saved = self._begun(), 0
        before.head[at.LEFT] = 1

    def mark_saved(self) -> None:
        """Note that all changes are kept somewhere: the next save of changes begins here."""
        self.follow(self.number_saved + bool(self.table.head[at.CHANGED_ROWS]))

    def follow(self, number: int) -> None:
        """Note that this table is what the save of a number told."""
        self.number_saved = number
        _unlist(self.table)

    def __len__(self) -> int:
        """Ids that have a vector of their own."""
        return int(self.table.head[at.LIVE])

    def arrays(self) -> Table:
        """Return the table as it is now."""
        return self.table

    def claim(
        self, keys: Keys, features: Ints | int, seconds: Ints, checks: Checks | None = None
    ) -> Ints:
        """Count, admit and touch keys in order, each an event of its own. Writes: this table.

        Parameters
        ----------
        keys, features
            As `lookup`.
        seconds
            Event times, int64 ``(n,)``.
        checks
            Second hashes of the ids, uint32 ``(n,)``; zeros when not given.

        Returns
        -------
        The record each key had then, int64 ``(n,)``.
        """
        none = np.empty((0, 0), dtype=np.float32)
        return self._update(keys, features, seconds, checks, none, stepping=False)

    def learn(
        self,
        keys: Keys,
        features: Ints | int,
        seconds: Ints,
        gradients: Floats,
        checks: Checks | None = None,
    ) -> Ints:
        """`claim` keys and move each vector against a gradient of the loss. Writes: this table.

        ``gradients`` is float32 ``(n, width)``; what is behind a shorter vector is not read.
        """
        if gradients.shape != (len(keys), self.width) or not np.isfinite(gradients).all():
            raise ShapeError(
                f"gradients are {gradients.shape}; {len(keys)} keys need finite numbers, "
                f"({len(keys)}, {self.width})"
            )
        own = np.array(gradients, dtype=np.float32, order="C")  # the kernel writes into it
        return self._update(keys, features, seconds, checks, own, stepping=True)

    def _update(
        self,
        keys: Keys,
        features: Ints | int,
        seconds: Ints,
        checks: Checks | None,
        gradients: Floats,
        *,
        stepping: bool,
    ) -> Ints:
        keys, features = self.check(keys, features)
        if checks is None:
            checks = np.zeros(len(keys), dtype=np.uint32)
        if len(seconds) and not (seconds.min() >= 0 and seconds.max() < 1 << 32):
            raise ShapeError(
                f"seconds are {seconds.min()} to {seconds.max()}; give seconds since the epoch, "
                "from 0 to below 2^32"
            )
        if seconds.shape != keys.shape or checks.shape != keys.shape:
            raise ShapeError(
                f"seconds are {seconds.shape} and checks {checks.shape}; {len(keys)} keys need as "
                "many of each"
            )
        claimed = np.empty(len(keys), dtype=np.int64)
        given = (keys, checks, features, np.ascontiguousarray(seconds), gradients, stepping)
        self.run(lambda start: update_keys(self.table, start, *given, claimed), len(keys))
        return claimed

    def run(self, kernel: Callable[[int], int], n: int) -> None:
        """Call a kernel until all n events are done; when it stops, the index is mixed anew.

        ``kernel(start)`` begins at an event and returns the first that is not done.
        """
        done = kernel(0)
        while done < n:
            self._mix_anew()
            done = kernel(done)

    def erase(self, keys: Keys) -> int:
        """Remove keys; returns how many were there. Writes: this table."""
        return int(erase_keys(self.table, np.ascontiguousarray(keys, dtype=np.uint64)))

    def _mix_anew(self) -> None:
        """Move to an index with another seed: that of now is a bad one for the keys there are.

        Readers that still have the arrays of before find what they hold in their index, and are
        told to take the new ones where they miss.
        """
        before, rows = self.table, self._indexed_rows()
        keys, buckets = self.keys_of(rows), int(before.cells[0])
        if len(keys) > limit1(buckets) >> 1:
            buckets = min(1 << buckets.bit_length(), most_buckets(self.config.max_rows))
        head, done = before.head.copy(), -1
        while done < len(keys):
            head[at.SEED] = mix(int(head[at.SEED].view(np.uint64)))
            head[at.STASHED] = head[at.STORED] = head[at.ZERO_ROW] = 0
            cells = begin_cells(reserve(before.cells.shape, np.uint64, scattered=True), buckets)
            done = int(put_keys(head, cells, before.scratch, keys, rows))
        number = head[at.NUMBER] = int(head[at.NUMBER]) + 1
        index = self.room.reserve(f"cells-{number}", cells.shape, np.uint64)
        index[: 8 * (buckets + FIRST)] = cells[: 8 * (buckets + FIRST)]
        heading = self.room.reserve(f"head-{number}", head.shape, np.int64)
        heading[:] = head
        self.table = before._replace(head=heading, cells=index)
        before.head[at.LEFT] = 1

    def _indexed_rows(self) -> Ints:
        # By the index: in the midst of a load not all records are in it yet.
        cells, zero = self.table.cells, int(self.table.head[at.ZERO_ROW])
        buckets = cells[8 : 8 * (FIRST + int(cells[0]))].reshape(-1, 2, 4)
        rows: Ints = buckets[:, 1][buckets[:, 0] != 0].astype(np.int64)
        return np.append(rows, zero - 1) if zero else rows

    def live_rows(self) -> Ints:
        """Records that are a key's, in order, int64 ``(len(self),)``."""
        first, fresh = len(self.config.features), int(self.table.head[at.FRESH])
        kinds = self.table.words[first:fresh, at.KIND]
        return np.flatnonzero((kinds & at.FREE) == 0) + first

    def keys_of(self, rows: Ints) -> Keys:
        """Keys of records in use, uint64 ``(n,)``."""
        words = self.table.words
        high = words[rows, at.KEY_HIGH].astype(np.uint64)
        keys: Keys = (high << np.uint64(32)) | words[rows, at.KEY_LOW]
        return keys


def begin_cells(cells: Keys, buckets: int) -> Keys:
    """Make zeros an empty index. Writes: cells."""
    cells[0] = buckets
    return cells


def _unlist(t: Table) -> None:
    t.row_marks[t.rows[: t.head[at.CHANGED_ROWS]]] = 0
    t.line_marks[t.lines[: t.head[at.CHANGED_LINES]]] = 0
    t.head[at.CHANGED_ROWS] = t.head[at.CHANGED_LINES] = 0


def most_buckets(rows: int) -> int:
    """Return how many buckets an index of so many keys has in the end: a power of two."""
    buckets = BUCKETS
    while limit1(buckets) <= rows:
        buckets *= 2
    return buckets
