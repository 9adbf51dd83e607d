"""An embedding table as bytes: whole, or what changed since the last save.

A save holds absolute values of records and of lines of the sketch, and where the counters stand.
Deltas are numbered and each names the one it follows, so a gap is refused; all end in a checksum.
What was changed stays listed until the owner says that it is kept somewhere (`mark_saved`).

Layout: 4 bytes of mark, 4 of the header's length, the header (`Numbered`, MessagePack), then the
columns one behind the other: counters, places of records (of a delta), records, places of lines
(of a delta), lines; at last the CRC-32 of all that. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.embeddings.table import EmbeddingTable
from engine.errors import SnapshotError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import SAVED
from engine.kernels.embeddings.saving import put_lines, put_records, withdraw_keys

__all__ = [
    "Columns",
    "Numbered",
    "begin_save",
    "describe_save",
    "digest_table",
    "put_columns",
    "restore_table",
    "save_changes",
    "save_table",
]

FORMAT = 2
MARK = b"SLET"
Columns = dict[str, NDArray[Any]]


class Numbered(msgspec.Struct, frozen=True):
    """What a save is: its number, whether it tells the whole table, and the sizes of its columns.

    ``settings`` is `settings_hash` of the table it was saved from.
    """

    format: int
    number: int
    whole: bool
    settings: bytes
    rows: int
    words: int
    lines: int


def settings_hash(table: EmbeddingTable) -> bytes:
    """Hash of what records mean: features in order, and what their vectors are made of."""
    t, config = table.table, table.config
    digest = hashlib.sha256(repr([feature.name for feature in config.features]).encode())
    digest.update(t.settings.tobytes())
    sizes = (config.seed, config.max_rows, config.sketch_bytes, config.max_jump_seconds)
    digest.update(repr(sizes).encode())
    return digest.digest()[:16]


def describe_save(table: EmbeddingTable, rows: int, lines: int, *, whole: bool) -> Numbered:
    """Return what a save of so many records and lines is."""
    number = table.number_saved + bool(table.table.head[at.CHANGED_ROWS])
    words = table.table.words.shape[1]
    return Numbered(FORMAT, number, whole, settings_hash(table), rows, words, lines)


def begin_save(table: EmbeddingTable, rows: int, lines: int, *, whole: bool) -> bytes:
    """Return how a save of so many records and lines begins."""
    header = msgspec.msgpack.encode(describe_save(table, rows, lines, whole=whole))
    return MARK + len(header).to_bytes(4, "little") + header


def save_table(table: EmbeddingTable) -> bytes:
    """Save all of a table.

    Deltas follow it that begin where it ends: take it when nothing is listed as changed, or call
    `EmbeddingTable.mark_saved` right after it.
    """
    t = table.table
    rows, lines = int(t.head[at.FRESH]), len(t.line_marks)
    columns: list[NDArray[Any]] = [t.head[:SAVED], t.words[:rows], t.sketch]
    return _join(begin_save(table, rows, lines, whole=True), columns)


def save_changes(table: EmbeddingTable) -> bytes:
    """Save what changed since `mark_saved`: deleted records are told as free ones."""
    t = table.table
    rows = np.sort(t.rows[: t.head[at.CHANGED_ROWS]])
    lines = np.sort(t.lines[: t.head[at.CHANGED_LINES]])
    columns: list[NDArray[Any]] = [
        t.head[:SAVED],
        rows,
        t.words[rows],
        lines,
        t.sketch.reshape(-1, 8)[lines],
    ]
    return _join(begin_save(table, len(rows), len(lines), whole=False), columns)


def _join(begin: bytes, columns: list[NDArray[Any]]) -> bytes:
    crc, pieces = zlib.crc32(begin), [begin]
    for column in columns:
        pieces.append(column.tobytes())
        crc = zlib.crc32(pieces[-1], crc)
    return b"".join((*pieces, crc.to_bytes(4, "little")))


def restore_table(table: EmbeddingTable, saved: bytes) -> None:
    """Write what was saved over a table: a delta over the state it follows. Writes: table.

    Raises
    ------
    SnapshotError
        When the bytes are damaged, of another table's shape, or do not follow what the table holds.
    """
    told, start = _read(saved)
    _check_settings(table, told)
    put_columns(table, told, _columns(saved, told, start))


def put_columns(table: EmbeddingTable, told: Numbered, columns: Columns) -> None:
    """Write the columns of a save, ``head``, ``places``, … over a table. Writes: table.

    Raises
    ------
    SnapshotError
        As `restore_table`.
    """
    _check_settings(table, told)
    _check_columns(table, columns)
    held = table.number_saved
    follows = told.number == held + 1 or (told.number == held and not told.rows)
    if not (told.whole or follows):
        raise SnapshotError(
            f"delta {told.number} of an embedding table does not follow what it holds, {held}: one "
            "is missing, or was loaded already. Load a whole save, then the deltas after it"
        )
    if told.whole:
        table.clear()
    places, records = columns["places"], columns["records"]
    withdraw_keys(table.table, places, records)
    table.run(lambda start: put_records(table.table, start, places, records), len(places))
    put_lines(table.table, columns["lines"], columns["sketch"])
    table.table.head[:SAVED] = columns["head"]
    table.follow(told.number)


def _read(saved: bytes) -> tuple[Numbered, int]:
    view = memoryview(saved)
    if len(view) < 12 or zlib.crc32(view[:-4]) != int.from_bytes(view[-4:], "little"):
        raise SnapshotError("saved embedding table is damaged, or not whole; take another save")
    start = 8 + int.from_bytes(view[4:8], "little")
    try:
        told = msgspec.msgpack.decode(view[8:start], type=Numbered)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"saved embedding table cannot be read: {error}") from error
    if view[:4] != MARK:
        raise SnapshotError("these bytes are no saved embedding table")
    return told, start


def _check_settings(table: EmbeddingTable, told: Numbered) -> None:
    if told.format != FORMAT:
        raise SnapshotError(
            f"saved embedding table has format {told.format}; this release reads {FORMAT}: load it "
            "with the release that saved it"
        )
    if told.settings != settings_hash(table):
        raise SnapshotError(
            "saved embedding table was saved with other settings (features, max_rows, seed, "
            "sketch_bytes or max_jump_seconds): load it with those"
        )


def _columns(saved: bytes, told: Numbered, start: int) -> Columns:
    rows, lines = told.rows, told.lines
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {"head": ("<i8", (SAVED,))}
    if not told.whole:
        kinds["places"] = ("<i8", (rows,))
    kinds["records"] = ("<u4", (rows, told.words))
    if not told.whole:
        kinds["lines"] = ("<i8", (lines,))
    kinds["sketch"] = ("<u8", (lines, 8))
    data = bytearray(saved)  # arrays that can be written, as kernels are compiled for
    columns: Columns = {"places": np.arange(rows), "lines": np.arange(lines)}
    for name, (kind, shape) in kinds.items():
        count = int(np.prod(shape))
        if start + count * int(kind[2]) > len(saved) - 4:
            raise SnapshotError(f"saved embedding table ends in its {name}; it is not whole")
        columns[name] = np.frombuffer(data, kind, count, start).reshape(shape)
        start += columns[name].nbytes
    return columns


def _check_columns(table: EmbeddingTable, columns: Columns) -> None:
    t = table.table
    for name, limit in (("places", len(t.words)), ("lines", len(t.line_marks))):
        told = columns[name]
        if len(told) and not (told.min() >= 0 and told.max() < limit):
            raise SnapshotError(f"saved embedding table has {name} beyond {limit}; it is damaged")
    if columns["records"].shape[1:] != t.words.shape[1:]:
        raise SnapshotError("saved embedding table has records of another length; it is damaged")


def digest_table(table: EmbeddingTable) -> bytes:
    """Hash of all that is saved: equal for equal histories, whatever the index looks like."""
    t = table.table
    digest = hashlib.sha256(t.head[:SAVED].tobytes())
    digest.update(t.words[: t.head[at.FRESH]].data)
    digest.update(t.sketch.data)
    return digest.digest()
