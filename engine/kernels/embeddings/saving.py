"""Records written over a table's own, as a save tells them, while readers may be reading."""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import kernel
from engine.kernels.embeddings.before import keep_line1, keep_row1
from engine.kernels.embeddings.claims import ready1
from engine.kernels.embeddings.index import erase1, find1, insert1, mixed1
from engine.kernels.embeddings.layout import (
    FREE,
    KEY_HIGH,
    KEY_LOW,
    KIND,
    TABLE,
    VERSION,
    Ints,
    Keys,
    Table,
    Words,
)
from engine.kernels.embeddings.records import key1
from engine.kernels.memory import fence1

__all__ = ["put_lines", "put_records", "withdraw_keys"]

ONE = np.uint32(1)
HALF = np.uint64(32)


@kernel("void(i8[::1], u4[:,::1])", first=TABLE, counted=False)
def withdraw_keys(
    t: Table,
    places: Ints,
    records: Words,
) -> None:
    """Writes: head, cells. Takes out the keys of records that will be another's or none's.

    ``records`` ``(n, words)`` are to be written at ``places`` ``(n,)`` next.
    """
    for i in range(len(places)):
        row = places[i]
        if row < len(t.settings) or (t.words[row, KIND] & FREE):
            continue
        same = not (records[i, KIND] & FREE)
        same &= t.words[row, KEY_LOW] == records[i, KEY_LOW]
        same &= t.words[row, KEY_HIGH] == records[i, KEY_HIGH]
        mixed = mixed1(t.head, key1(t, row))
        if not same and find1(t.head, t.cells, mixed) == row:
            erase1(t.head, t.cells, mixed)


@kernel("i8(i8, i8[::1], u4[:,::1])", first=TABLE, counted=False)
def put_records(
    t: Table,
    start: int,
    places: Ints,
    records: Words,
) -> int:
    """Writes: the table. Writes ``records`` ``(n, words)`` at ``places`` ``(n,)``.

    Their keys enter the index. The versions become those told. Begins at ``start``; returns the
    first not done for lack of room in the index, or n.
    """
    for i in range(start, len(places)):
        if not ready1(t, 1):
            return i
        row = places[i]
        if len(t.before):
            keep_row1(t, row)
        # Odd, and neither the version readers saw nor the one to come.
        t.words[row, VERSION] = np.uint32(max(t.words[row, VERSION], records[i, VERSION]) | ONE)
        fence1()
        for j in range(1, records.shape[1]):
            t.words[row, j] = records[i, j]
        fence1()
        t.words[row, VERSION] = records[i, VERSION]
        if row >= len(t.settings) and not (records[i, KIND] & FREE):
            key = np.uint64(records[i, KEY_LOW]) | (np.uint64(records[i, KEY_HIGH]) << HALF)
            mixed = mixed1(t.head, key)
            if find1(t.head, t.cells, mixed) < 0:
                insert1(t.head, t.cells, t.scratch, mixed, row)
    return len(places)


@kernel("void(i8[::1], u8[:,::1])", first=TABLE, counted=False)
def put_lines(
    t: Table,
    places: Ints,
    values: Keys,
) -> None:
    """Writes: sketch, before. Writes ``values`` ``(n, 8)`` at lines ``places`` ``(n,)``."""
    for i in range(len(places)):
        if len(t.before):
            keep_line1(t, places[i])
        for j in range(8):
            t.sketch[(places[i] << 3) + j] = values[i, j]
