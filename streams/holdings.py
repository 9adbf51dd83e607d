"""The memory of a joiner: one arena of blocks, tables that find them, and room for what comes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.agenda import first_deadline, list_held
from engine.kernels.blocks import (
    CLASSES,
    EARLY_WORDS,
    KIND,
    ROWS_WORDS,
    SLOT_WORDS,
    SLOTS,
    UNIT,
    VALUE_LENGTH,
    VALUE_START,
    WINDOW,
    WINDOW_WORDS,
)
from engine.kernels.gather import put_rows
from engine.kernels.ledger import (
    CLOCK,
    CLOSED,
    ENDS,
    ENTRIES,
    HELD,
    SEEN_IDS,
    STATE_WORDS,
    USED,
    X_WIDTH,
    Z_WIDTH,
)
from engine.kernels.tables import HASH, VALUE, move_entries
from streams.agenda import Remembered
from streams.columns import IMPRESSION, EventColumns
from streams.rules import Rules

__all__ = ["Holdings"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.int64]

SMALLEST = 1024  # entries of a table
ARENA_WORDS = 1 << 16
PUSHED = 2  # deadlines a record adds at most


class Holdings:
    """Arrays that the kernels of the joiner read and write.

    Attributes
    ----------
    arena, numbers, texts
        The same memory as words, numbers and bytes: see `engine.kernels.blocks`.
    free
        First block given back, by class of size.
    requests, seen, closed, skipped
        Tables (`engine.kernels.tables`): blocks of requests by their hash, event ids seen, closed
        requests and until when each is remembered, requests to pass over.
    heap
        Deadlines, ``(…, 3)``.
    state
        Numbers, named in `engine.kernels.ledger`.
    """

    def __init__(self) -> None:
        self.state: Ints = np.zeros(STATE_WORDS, dtype=np.int64)
        self.state[USED] = UNIT  # no block is named 0
        self.free: Ints = np.zeros(CLASSES, dtype=np.int64)
        self.heap: Table = np.empty((SMALLEST, 3), dtype=np.int64)
        self.requests = _empty(0)
        self.seen = _empty(0)
        self.closed = _empty(0)
        self.skipped = _empty(0)
        self._use(np.empty(ARENA_WORDS, dtype=np.int64))

    def _use(self, arena: Ints) -> None:
        self.arena = arena
        self.numbers: Floats = arena.view(np.float64)
        self.texts: Bytes = arena.view(np.uint8)

    def reserve(self, columns: EventColumns, rules: Rules) -> None:
        """Make room for whatever a batch can add."""
        n, held = columns.n, int(self.state[HELD])
        self.requests = _roomy(self.requests, held, n)
        self.seen = _roomy(self.seen, int(self.state[SEEN_IDS]), held + n)
        self._reserve_closed(held + n)
        entries = int(self.state[ENTRIES])
        if entries + PUSHED * n > len(self.heap):
            heap = np.empty((2 * (entries + PUSHED * n), 3), dtype=np.int64)
            heap[:entries] = self.heap[:entries]
            self.heap = heap
        self._reserve_words(_words(columns, rules), n)

    def _reserve_closed(self, extra: int) -> None:
        if 2 * (int(self.state[CLOSED]) + extra) < len(self.closed):
            return
        clock = int(self.state[CLOCK])
        known = int(np.count_nonzero(self.closed[:, VALUE] > clock))
        table = _empty(4 * (known + extra))
        self.state[CLOSED] = move_entries(self.closed, table, clock)
        self.closed = table

    def _reserve_words(self, words: int, blocks: int) -> None:
        used = int(self.state[USED])
        # A block is at most a quarter larger than asked for, after rounding up to units.
        needed = used + 5 * (words + UNIT * blocks) // 4 + UNIT
        if needed > len(self.arena):
            arena = np.empty(max(2 * len(self.arena), needed), dtype=np.int64)
            arena[:used] = self.arena[:used]
            self._use(arena)

    def held(self) -> Ints:
        """Blocks of windows and early records, by the oldest record each is made of."""
        blocks = np.empty(int(self.state[HELD]), dtype=np.int64)
        list_held(self.arena, self.state[ENDS], blocks)
        return blocks

    def windows(self) -> Ints:
        """Blocks of windows, likewise."""
        blocks = self.held()
        windows: Ints = blocks[self.arena[blocks + KIND] == WINDOW]
        return windows

    def value(self, block: int) -> bytes:
        """Bytes of the record that a window or an early record was made from."""
        start, size = self.arena[block + VALUE_START], self.arena[block + VALUE_LENGTH]
        return self.texts[start : start + size].tobytes()

    def next_deadline(self) -> int | None:
        """When (ms) the first window or early record expires, None without any."""
        found = first_deadline(self.arena, self.heap, self.state, ENTRIES)
        return None if found < 0 else found

    def put_rows(self, window: int, x: Floats, z: Floats | None) -> None:
        """Give a window another context row and other item rows."""
        rows = np.empty((int(self.arena[window + SLOTS]), 0)) if z is None else z
        self._reserve_words(ROWS_WORDS + x.size + rows.size, 1)
        rows, x = np.ascontiguousarray(rows), np.ascontiguousarray(x)
        put_rows(self.arena, self.numbers, self.free, self.state, window, x, rows)

    def remembered(self) -> Remembered:
        """Closed requests that are not forgotten yet."""
        known = self.closed[self.closed[:, VALUE] > self.state[CLOCK]]
        return Remembered(known[:, HASH].astype(np.uint64), known[:, VALUE].copy())

    def remember(self, closed: Remembered) -> None:
        """Remember these closed requests and no others."""
        self.closed = _table(closed.keys, closed.until)
        self.state[CLOSED] = len(closed.keys)

    def skip(self, keys: NDArray[np.uint64]) -> None:
        """Pass over the requests of these hashes, and no others."""
        self.skipped = _table(keys, np.ones(len(keys), dtype=np.int64))


def _words(columns: EventColumns, rules: Rules) -> int:
    """Words of all blocks that a batch can add."""
    own = np.flatnonzero((columns.kind == IMPRESSION) & (columns.recommender >= 0))
    row, slots = rules.rows[columns.recommender[own]], columns.slots[own]
    rows = (
        int(row[:, X_WIDTH].sum() + (slots * row[:, Z_WIDTH]).sum()) if len(rules.settings) else 0
    )
    texts = (
        columns.value_length,
        columns.request_length,
        columns.event_length,
        columns.target_length,
        columns.item_length,
    )
    size = sum(int(length.sum()) for length in texts)
    blocks = max(WINDOW_WORDS, EARLY_WORDS) * columns.n + SLOT_WORDS * len(columns.item_hash)
    return blocks + rows + len(columns.seen) + size // 8 + 1


def _empty(entries: int) -> Table:
    capacity = SMALLEST
    while capacity < entries:
        capacity *= 2
    return np.zeros((capacity, 2), dtype=np.int64)


def _roomy(table: Table, entries: int, extra: int) -> Table:
    """Return the table itself, or a larger one that has room for more."""
    if 2 * (entries + extra) < len(table):
        return table
    larger = _empty(4 * (entries + extra))
    move_entries(table, larger, 0)
    return larger


def _table(keys: NDArray[np.uint64], values: Ints) -> Table:
    """Return a table of these entries."""
    source = np.stack([keys.astype(np.uint64).view(np.int64), values], axis=1)
    table = _empty(4 * len(keys))
    move_entries(np.ascontiguousarray(source), table, 0)
    return table
