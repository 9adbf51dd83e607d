"""The embedding table: one vector an id, never two ids on one, as many as may be and no more.

Reference: Liu et al. 2022, "Monolith: real time recommendation system with collisionless embedding
table" (arXiv 2209.07663). It departs from Monolith where that loses: freed records are used again
and ids are capped, initial vectors are functions of (seed, key), an id's state is one record, so
that nothing of it can be saved apart, and saves never stop the writer for the whole table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import TableConfig
from engine.embeddings.lookups import NEVER, Lookups, settled
from engine.embeddings.memory import Room, reserve
from engine.errors import ShapeError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.index import move_cells, put_keys
from engine.kernels.embeddings.layout import MAX_HELD, STASH, Table
from engine.kernels.embeddings.records import begin_rows
from engine.kernels.embeddings.updates import erase_keys, update_keys
from engine.kernels.random import mix

__all__ = ["EmbeddingTable", "TableStatistics"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Checks = NDArray[np.uint32]

BUCKETS = 64  # of a new index
SEEDED = 0x1DE4  # makes the index's seed of the table's
MOST_LOAD = 0.25  # under which an index that is short of room has bad luck, or an enemy


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatistics:
    """What became of ids so far, and what the table takes.

    ``readmitted`` is estimated, never too low for ids that left lately. ``collisions`` counts
    claims of a key whose id is another than that it was admitted for. ``clamped`` counts events
    whose stamps were too far ahead.
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
    watermark: int  # s
    load: float  # of the index
    bytes: int


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
        self.table = self._empty()
        begin_rows(*self.table, len(config.features))

    def _empty(self) -> Table:
        config = self.config
        features, capacity = len(config.features), config.capacity
        self.room.begin()
        words = self.room.reserve("words", (capacity, config.words), np.uint32)
        lines = config.sketch_bytes // 64
        head = self.room.reserve("head", (at.HEAD,), np.int64)
        head[at.CAPACITY], head[at.MAX_LIVE] = capacity, config.max_rows
        head[at.GRACE], head[at.TABLE_SEED] = config.grace, config.seed
        head[at.MAX_JUMP] = config.max_jump_seconds
        head[at.SEED] = mix(config.seed ^ SEEDED)
        head[at.FRESH] = head[at.HAND] = features
        head[at.OLD_INDEX] = -1
        return Table(
            head=head,
            cells=self._cells(0, BUCKETS),
            old=np.zeros(0, dtype=np.uint64),
            words=words,
            floats=words.view(np.float32),
            sketch=reserve((lines * 8,), np.uint64),
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
        t, fresh = self.table, int(self.table.head[at.FRESH])
        room.begin()
        head = room.reserve("head", t.head.shape, np.int64)
        words = room.reserve("words", t.words.shape, np.uint32)
        cells = room.reserve(f"cells-{t.head[at.INDEX]}", t.cells.shape, np.uint64)
        old = t.old
        if len(old):
            old = room.reserve(f"cells-{t.head[at.OLD_INDEX]}", old.shape, np.uint64)
        words[:fresh], cells[:], old[:], head[:] = t.words[:fresh], t.cells, t.old, t.head
        floats = words.view(np.float32)
        self.room = room
        self.table = t._replace(head=head, words=words, floats=floats, cells=cells, old=old)

    def clear(self) -> None:
        """Forget every id. Writes: this table."""
        layout = self.table.head[at.LAYOUT]
        self.table = self._empty()
        self.table.head[at.LAYOUT] = (layout | 1) + 1
        begin_rows(*self.table, len(self.config.features))
        self.number_saved = 0

    def mark_saved(self) -> None:
        """Note that all changes are kept somewhere: the next save of changes begins here."""
        t, head = self.table, self.table.head
        self.number_saved += bool(head[at.CHANGED_ROWS])
        t.row_marks[t.rows[: head[at.CHANGED_ROWS]]] = 0
        t.line_marks[t.lines[: head[at.CHANGED_LINES]]] = 0
        head[at.CHANGED_ROWS] = head[at.CHANGED_LINES] = 0

    def __len__(self) -> int:
        """Ids that have a vector of their own."""
        return int(self.table.head[at.LIVE])

    def arrays(self) -> tuple[Table, int]:
        """Return the table as it is now, and the number of its layout."""
        table = self.table
        layout = settled(table.head)
        return table, layout if self.table is table else NEVER

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
        if seconds.shape != keys.shape or checks.shape != keys.shape:
            raise ShapeError(
                f"seconds are {seconds.shape} and checks {checks.shape}; {len(keys)} keys need as "
                "many of each"
            )
        claimed = np.empty(len(keys), dtype=np.int64)
        given = (keys, checks, features, np.ascontiguousarray(seconds), gradients, stepping)
        self.run(lambda start: update_keys(*self.table, start, *given, claimed), len(keys))
        return claimed

    def run(self, kernel: Callable[[int], int], n: int) -> None:
        """Call a kernel until all n events are done, with room made whenever it stops for that.

        ``kernel(start)`` begins at an event and returns the first that is not done.
        """
        done = kernel(0)
        while done < n:
            self._make_room()
            done = kernel(done)
        if self._carried():
            self._leave()

    def erase(self, keys: Keys) -> int:
        """Remove keys; returns how many were there. Writes: this table."""
        return int(erase_keys(*self.table, np.ascontiguousarray(keys, dtype=np.uint64)))

    def statistics(self) -> TableStatistics:
        """What became of ids so far."""
        t, head = self.table, self.table.head
        cells = 4 * ((len(t.cells) >> 3) - STASH)
        used = head[at.FRESH] * t.words.itemsize * t.words.shape[1]
        size = used + t.cells.nbytes + t.old.nbytes + t.sketch.nbytes
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
            watermark=int(head[at.WATERMARK]),
            load=int(head[at.STORED]) / cells,
            bytes=int(size),
        )

    def _carried(self) -> bool:
        """Whether an index that is being left is empty by now."""
        t = self.table
        return bool(len(t.old)) and t.head[at.OLD_HAND] >= len(t.old) >> 3

    def _leave(self) -> None:
        head = self.table.head
        head[at.LAYOUT] += 1
        self.table = self.table._replace(old=np.zeros(0, dtype=np.uint64))
        head[at.OLD_INDEX] = -1
        head[at.LAYOUT] += 1

    def _make_room(self) -> None:
        """Begin to move to an index twice as large, or to one with another seed."""
        t, head = self.table, self.table.head
        if len(t.old):
            move_cells(head, t.cells, t.old, t.scratch, len(t.old) >> 3)
            self._leave()
            t = self.table
        buckets = (len(t.cells) >> 3) - STASH
        if head[at.STORED] < MOST_LOAD * 4 * buckets:
            self._mix_anew(buckets)
            return
        number = int(head[at.INDEX])
        cells = self._cells(number + 1, 2 * buckets)
        head[at.LAYOUT] += 1
        stash = np.array(t.cells[8 * buckets :])
        t.cells[8 * buckets :] = 0
        head[at.STASHED] = head[at.OLD_HAND] = 0
        head[at.OLD_INDEX], head[at.INDEX] = number, number + 1
        self.table = t._replace(cells=cells, old=t.cells)
        self._put_stash(stash)
        head[at.LAYOUT] += 1

    def _put_stash(self, stash: Keys) -> None:
        t = self.table
        if stash.any():
            # As an index of its own without other buckets: all of it is carried at once.
            t.head[at.OLD_HAND] = 0
            move_cells(t.head, t.cells, stash, t.scratch, STASH)
            t.head[at.OLD_HAND] = 0

    def _mix_anew(self, buckets: int) -> None:
        """Fill an index with another seed from the records."""
        head = self.table.head
        rows = self.live_rows()
        keys = self.keys_of(rows)
        done = -1
        head[at.LAYOUT] += 1
        while done < len(keys):
            head[at.SEED] = mix(int(head[at.SEED]))
            head[at.STASHED] = head[at.STORED] = head[at.ZERO_ROW] = 0
            head[at.INDEX] += 1
            cells = self._cells(int(head[at.INDEX]), buckets)
            done = put_keys(head, cells, self.table.scratch, keys, rows)
        self.table = self.table._replace(cells=cells)
        head[at.LAYOUT] += 1

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

    def _cells(self, number: int, buckets: int) -> Keys:
        cells: Keys = self.room.reserve(f"cells-{number}", (8 * (buckets + STASH),), np.uint64)
        return cells
