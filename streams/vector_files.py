"""Sets of vectors as folders: ``vectors/NAME/VERSION/`` under a service's data folder.

A folder holds the set's columns as ``.npy`` files, which are mapped and not read, so that the
workers of a host share their memory, and a manifest with their checksums. It is written aside and
renamed: a set is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.feature_kinds import FOLDER

__all__ = ["SETS", "load_vectors", "save_vectors"]

SETS = "vectors"  # folder of all sets
MANIFEST = "manifest.json"
FORMAT = 1
COLUMNS = ("keys", "vectors")


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    version: str
    rows: int
    count: int
    sha256: dict[str, str]  # by column


def save_vectors(data_dir: Path, name: str, vectors: VectorSet) -> Path:
    """Write a set for the feature ``name`` of services on ``data_dir``; returns its folder.

    Raises
    ------
    ConfigError
        When name or version cannot name a folder.
    SnapshotError
        When it cannot be written, or another set of this name and version is there.
    """
    for told in (name, vectors.version):
        if not re.fullmatch(FOLDER, told):
            raise ConfigError(
                f"a set of vectors is named {told!r}; give up to 64 letters, digits, '.', '_' and "
                "'-', a letter or digit first"
            )
    folder = Path(data_dir) / SETS / name / vectors.version
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            manifest = _write(aside, vectors)
            if folder.exists():
                _refuse_another(folder, manifest)
            else:
                aside.rename(folder)
                _sync(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise SnapshotError(f"vectors cannot be written to {folder}: {error}") from error
    return folder


def load_vectors(data_dir: Path, name: str, version: str) -> VectorSet:
    """Map the set of a feature; raises ``SnapshotError`` when it is missing or damaged."""
    folder = Path(data_dir) / SETS / name / version
    try:
        manifest = _read_manifest(folder)
        for column in COLUMNS:
            with (folder / f"{column}.npy").open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != manifest.sha256.get(column):
                raise SnapshotError(f"vectors in {folder}: {column}.npy is damaged; write it anew")
        keys, vectors = (_map(folder / f"{column}.npy") for column in COLUMNS)
        loaded = VectorSet(version=manifest.version, keys=keys, vectors=vectors)
    except FileNotFoundError as error:
        raise SnapshotError(f"vectors in {folder}: {error.filename} is not there") from error
    except (OSError, ValueError, ShapeError, msgspec.DecodeError) as error:
        raise SnapshotError(f"vectors in {folder} cannot be read: {error}") from error
    told = (manifest.format, manifest.version, manifest.rows, manifest.count)
    if told != (FORMAT, version, len(loaded), loaded.count):
        raise SnapshotError(
            f"vectors in {folder} say of themselves (format, version, rows, numbers) {told}, and "
            f"are {(FORMAT, version, len(loaded), loaded.count)}; write them anew"
        )
    return loaded


def _write(aside: Path, vectors: VectorSet) -> _Manifest:
    arrays = {"keys": vectors.keys.astype("<u8"), "vectors": vectors.vectors.astype("<f4")}
    digests = {}
    for column, array in arrays.items():
        path = aside / f"{column}.npy"
        with path.open("wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        with path.open("rb") as file:
            digests[column] = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = _Manifest(FORMAT, vectors.version, len(vectors), vectors.count, digests)
    with (aside / MANIFEST).open("wb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _refuse_another(folder: Path, manifest: _Manifest) -> None:
    try:
        same = _read_manifest(folder) == manifest
    except (OSError, msgspec.DecodeError):
        same = False
    if not same:
        raise SnapshotError(
            f"another set is in {folder}; a set never changes: give this one another version"
        )


def _read_manifest(folder: Path) -> _Manifest:
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)


def _map(path: Path) -> NDArray[Any]:
    # A plain array over the mapping: indexing a memmap costs a Python call each time.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
