"""An embedding table as bytes: whole, or what changed since the last save.

A save holds absolute values of records and of lines of the sketch, and where the counters stand.
Deltas are numbered and each names the one it follows, so a gap is refused; all carry a checksum.
What was changed stays listed until the owner says that it is kept somewhere (`mark_saved`).
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.embeddings.table import EmbeddingTable
from engine.errors import SnapshotError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import SAVED
from engine.kernels.embeddings.saving import put_records, withdraw_keys
from engine.state import pack_arrays, unpack_arrays

__all__ = ["Numbered", "digest_table", "restore_table", "save_changes", "save_table"]

FORMAT = 1
KINDS = {"head": "<i8", "places": "<i8", "records": "<u4", "lines": "<i8", "sketch": "<u8"}


class Numbered(msgspec.Struct, frozen=True):
    """A save: its number, whether it tells the whole table, and the checksum of its body."""

    format: int
    number: int
    whole: bool
    crc: int
    body: bytes


def save_table(table: EmbeddingTable) -> bytes:
    """Save all of a table."""
    t = table.table
    places = np.arange(t.head[at.FRESH])
    return _pack(table, places, np.arange(len(t.line_marks)), whole=True)


def save_changes(table: EmbeddingTable) -> bytes:
    """Save what changed since `mark_saved`: deleted records are told as free ones."""
    head = table.table.head
    places = np.sort(table.table.rows[: head[at.CHANGED_ROWS]])
    lines = np.sort(table.table.lines[: head[at.CHANGED_LINES]])
    return _pack(table, places, lines, whole=False)


def _pack(
    table: EmbeddingTable, places: NDArray[np.int64], lines: NDArray[np.int64], *, whole: bool
) -> bytes:
    t = table.table
    arrays: dict[str, Any] = {
        "head": t.head[:SAVED],
        "places": places,
        "records": t.words[places],
        "lines": lines,
        "sketch": t.sketch.reshape(-1, 8)[lines],
    }
    body = pack_arrays({}, arrays)
    number = table.number_saved + bool(t.head[at.CHANGED_ROWS])
    save = Numbered(FORMAT, number, whole, zlib.crc32(body), body)
    return msgspec.msgpack.encode(save)


def restore_table(table: EmbeddingTable, saved: bytes) -> None:
    """Write what was saved over a table: a delta over the state it follows. Writes: table.

    Raises
    ------
    SnapshotError
        When the bytes are damaged, of another table's shape, or do not follow what the table holds.
    """
    save = _read(saved)
    arrays = _unpack(table, save.body)
    expected = table.number_saved + 1
    if (
        not save.whole
        and save.number != expected
        and (len(arrays["places"]) or save.number > expected)
    ):
        raise SnapshotError(
            f"delta {save.number} of an embedding table does not follow what it holds, "
            f"{table.number_saved}: one is missing. Load a whole save first"
        )
    if save.whole:
        table.clear()
    t, places, records = table.table, arrays["places"], arrays["records"]
    withdraw_keys(*t, places, records)
    table.run(lambda start: put_records(*table.table, start, places, records), len(places))
    t.sketch.reshape(-1, 8)[arrays["lines"]] = arrays["sketch"]
    t.head[:SAVED] = arrays["head"]
    table.mark_saved()
    table.number_saved = save.number


def _read(saved: bytes) -> Numbered:
    try:
        save = msgspec.msgpack.decode(saved, type=Numbered)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"saved embedding table cannot be read: {error}") from error
    if save.format != FORMAT or zlib.crc32(save.body) != save.crc:
        fault = "damaged" if save.format == FORMAT else f"not of this release, which reads {FORMAT}"
        raise SnapshotError(f"saved embedding table has format {save.format} and is {fault}")
    return save


def _unpack(table: EmbeddingTable, body: bytes) -> dict[str, NDArray[Any]]:
    arrays = cast("dict[str, Any]", unpack_arrays(body)[1])
    n, lines = len(arrays.get("places", ())), len(arrays.get("lines", ()))
    t = table.table
    shapes = {
        "head": (SAVED,),
        "places": (n,),
        "records": (n, t.words.shape[1]),
        "lines": (lines,),
        "sketch": (lines, 8),
    }
    for name, kind in KINDS.items():
        found = arrays.get(name)
        if found is None or found.dtype.str != kind or found.shape != shapes[name]:
            raise SnapshotError(
                f"saved embedding table has {name} of {getattr(found, 'shape', 'nothing')}; this "
                f"table takes {shapes[name]}: load it with the settings it was saved with"
            )
    for name, limit in (("places", len(t.words)), ("lines", len(t.line_marks))):
        if len(arrays[name]) and not (arrays[name].min() >= 0 and arrays[name].max() < limit):
            raise SnapshotError(f"saved embedding table has {name} beyond {limit}; it is damaged")
    return arrays


def digest_table(table: EmbeddingTable) -> bytes:
    """Hash of all that is saved: equal for equal histories, whatever the index looks like."""
    t = table.table
    digest = hashlib.sha256(t.head[:SAVED].tobytes())
    digest.update(t.words[: t.head[at.FRESH]].data)
    digest.update(t.sketch.data)
    return digest.digest()
