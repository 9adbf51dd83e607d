"""An embedding table as a folder of columns: ``.npy`` files that are mapped, and a manifest.

Anything that reads ``.npy`` can look into them; a table that is loaded reads each page once, with
no copy of the whole in between. The folder is written aside and renamed: it is there whole or not
at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.embeddings.saving import Numbered, describe_save, put_columns
from engine.embeddings.table import EmbeddingTable
from engine.errors import SnapshotError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import SAVED

__all__ = ["load_columns", "save_columns"]

MANIFEST = "manifest.json"
KINDS = {"head": "<i8", "records": "<u4", "sketch": "<u8"}


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    save: Numbered
    sha256: dict[str, str]  # by column


def save_columns(folder: Path, table: EmbeddingTable) -> None:
    """Write all of a table as a folder that is not there yet.

    ``head.npy`` int64 ``(24,)``, ``records.npy`` uint32 ``(rows, words)`` and ``sketch.npy`` uint64
    ``(lines, 8)``, as `engine.kernels.embeddings.layout` describes them.

    Raises
    ------
    SnapshotError
        When it cannot be written, or is there.
    """
    if folder.exists():
        raise SnapshotError(f"{folder} is there already; give each save a folder of its own")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            _write(aside, table)
            aside.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise SnapshotError(f"embedding table cannot be written to {folder}: {error}") from error


def load_columns(folder: Path, table: EmbeddingTable) -> None:
    """Write what a folder holds over a table. Writes: table.

    Raises
    ------
    SnapshotError
        When it is missing, damaged, or of a table with other settings.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(data, type=_Manifest)
        columns = {name: _map(folder, name, manifest) for name in KINDS}
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise SnapshotError(f"embedding table in {folder} cannot be read: {error}") from error
    save = manifest.save
    shapes = {"head": (SAVED,), "records": (save.rows, save.words), "sketch": (save.lines, 8)}
    for name, kind in KINDS.items():
        column = columns[name]
        if column.dtype.str != kind or column.shape != shapes[name]:
            raise SnapshotError(
                f"embedding table in {folder}: {name}.npy is {column.dtype} {column.shape}, its "
                f"manifest says {kind} {shapes[name]}; write it anew"
            )
    columns |= {"places": np.arange(save.rows), "lines": np.arange(save.lines)}
    put_columns(table, save, columns)


def _write(aside: Path, table: EmbeddingTable) -> None:
    t = table.table
    rows, lines = int(t.head[at.FRESH]), len(t.line_marks)
    lined = t.sketch.reshape(-1, 8)
    columns: dict[str, NDArray[Any]] = {
        "head": t.head[:SAVED],
        "records": t.words[:rows],
        "sketch": lined,
    }
    digests = {}
    for name, column in columns.items():
        path = aside / f"{name}.npy"
        with path.open("wb") as file:
            np.save(file, column.astype(KINDS[name], copy=False), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        digests[name] = _sha256(path)
    manifest = _Manifest(describe_save(table, rows, lines, whole=True), digests)
    with (aside / MANIFEST).open("wb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _map(folder: Path, name: str, manifest: _Manifest) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    if _sha256(path) != manifest.sha256.get(name):
        raise SnapshotError(f"embedding table in {folder}: {name}.npy is damaged; take another")
    # Copied on write, for kernels take arrays that could be written.
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
