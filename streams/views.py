"""Immutable model views: what servers read while one learner writes.

A view is a folder of ``.npy`` files and a manifest under ``<dir>/views``; it is written aside,
renamed into place, and then a counter in a mapped file is set to its number. Readers look at the
counter on every request and map the new view's files only when it changed. Embedding tables are
no part of it: a view names the ones it reads, see `streams.rooms`.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.batches import Posterior
from engine.embeddings.config import TableConfig
from engine.embeddings.table import EmbeddingTable
from engine.errors import SlatestreamError
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import StoreError
from streams.heads import HEAD
from streams.rooms import TableFolder, TableReader

__all__ = ["View", "ViewReader", "ViewWriter"]

RETRIES = 20
MANIFEST = "manifest.json"
SHARED = "shared/"  # before the names of arrays that belong to no item


@dataclass(frozen=True, kw_only=True)
class View:
    """What was learned up to ``offsets``: partition -> first offset not included.

    ``clocks`` are the partitions' times (ms) there.
    """

    version: int
    offsets: dict[int, int]
    clocks: dict[int, int]
    policies: dict[str, Posterior]
    state_hashes: dict[str, str]  # of the settings each policy was learned under
    config: EngineConfig
    counts: Counts


class _PolicyEntry(msgspec.Struct):
    item_ids: list[str]
    state_hash: str
    files: dict[str, str]  # array name -> file
    tables: dict[str, _TableEntry] = {}


class _TableEntry(msgspec.Struct):
    generation: str
    config: TableConfig


class _Manifest(msgspec.Struct):
    version: int
    offsets: dict[int, int]
    clocks: dict[int, int]
    policies: dict[str, _PolicyEntry]
    config: dict[str, Any]
    counts: dict[str, dict[str, int]]


class ViewWriter:
    """The only publisher of a folder.

    Parameters
    ----------
    folder
        Created when absent; views of an earlier writer are continued from.
    keep
        Views kept, the current one included; older ones are deleted. Readers that mapped one
        keep its memory.

    Raises
    ------
    StoreError
        When the folder cannot be written.
    """

    def __init__(self, folder: str | Path, *, keep: int = 3) -> None:
        self._views = Path(folder) / "views"
        self._keep = keep
        try:
            self._views.mkdir(parents=True, exist_ok=True)
            for left in self._views.glob(".tmp-*"):
                shutil.rmtree(left)
            self._counter = _map_counter(Path(folder) / HEAD, write=True)
            self.tables = TableFolder(Path(folder))
        except OSError as error:
            raise StoreError(f"cannot publish views under {folder}: {error}") from error
        self.version = max([int(self._counter[0]), *_versions(self._views)])
        self._named = {v: _named(self._views / str(v)) for v in _versions(self._views)}
        # Before room is asked for: of a publisher that was killed while it made a table's files.
        self._remove_tables()

    def publish(
        self,
        *,
        offsets: Mapping[int, int],
        clocks: Mapping[int, int],
        policies: Mapping[str, Posterior],
        config: EngineConfig,
        counts: Counts,
    ) -> int:
        """Write a view and make it the current one; returns its version.

        Raises
        ------
        StoreError
            When it cannot be written; readers keep the view they have.
        """
        version = self._next_version()
        aside = self._views / f".tmp-{version}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            entries = {
                name: self._write(aside, number, posterior, config.policies[name].build(name))
                for number, (name, posterior) in enumerate(policies.items())
            }
            manifest = _Manifest(
                version=version,
                offsets=dict(offsets),
                clocks=dict(clocks),
                policies=entries,
                config=config.to_dict(),
                counts=counts.to_dict(),
            )
            (aside / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            aside.rename(self._views / str(version))
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise StoreError(f"cannot publish view {version}: {error}") from error
        self.version = version
        self._counter[0] = version
        for old in _versions(self._views):
            if old <= version - self._keep:
                shutil.rmtree(self._views / str(old), ignore_errors=True)
                self._named.pop(old, None)
        self._named[version] = {
            table.generation for entry in entries.values() for table in entry.tables.values()
        }
        self._remove_tables()
        return version

    def _write(self, aside: Path, number: int, posterior: Posterior, policy: Any) -> _PolicyEntry:
        entry = _write_posterior(aside, number, posterior, policy)
        for name, part in posterior.parts.items():
            if isinstance(part, EmbeddingTable):
                entry.tables[name] = _TableEntry(self.tables.house(part), part.config)
        return entry

    def _remove_tables(self) -> None:
        self.tables.remove_others(set().union(*self._named.values()))

    def _next_version(self) -> int:
        version = self.version + 1
        while (self._views / str(version)).exists():  # left by a writer that ended half way
            version += 1
        return version


class ViewReader:
    """Reads the current view of a folder, which need not exist yet."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._counter: NDArray[np.uint64] | None = None
        self._view: View | None = None
        self._tables: dict[str, TableReader] = {}  # by generation, those of the view

    def current(self) -> View | None:
        """Return the latest view, None before the first; one memory read when nothing changed.

        Raises
        ------
        StoreError
            When the view cannot be read.
        """
        if self._counter is None:
            head = self._folder / HEAD
            if not head.exists():
                return None
            try:
                self._counter = _map_counter(head, write=False)
            except (OSError, ValueError) as error:
                raise StoreError(f"cannot read views under {self._folder}: {error}") from error
        version = int(self._counter[0])
        if version != (self._view.version if self._view else 0):
            self._view = self._load(self._counter)
        return self._view

    def _load(self, counter: NDArray[np.uint64]) -> View:
        # The view may be deleted while it is being opened; then a later one is there.
        for _ in range(RETRIES):
            version = int(counter[0])
            try:
                return self._read(version)
            except FileNotFoundError as error:
                gone = error
            except (OSError, ValueError, msgspec.DecodeError, SlatestreamError) as error:
                raise StoreError(f"view {version} cannot be read: {error}") from error
        raise StoreError(f"view {version} is not there: {gone}") from gone

    def _read(self, version: int) -> View:
        folder = self._folder / "views" / str(version)
        manifest = _read_manifest(folder)
        tables = {
            table.generation: self._tables.get(table.generation)
            or TableReader(self._folder, table.generation, table.config)
            for entry in manifest.policies.values()
            for table in entry.tables.values()
        }
        view = _read_view(folder, manifest, tables)
        self._tables = tables
        return view


def _map_counter(path: Path, *, write: bool) -> NDArray[np.uint64]:
    if write and (not path.exists() or path.stat().st_size != 8):
        aside = path.with_suffix(".tmp")
        aside.write_bytes(bytes(8))
        aside.rename(path)
    with path.open("r+b" if write else "rb") as file:
        access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
        return np.frombuffer(mmap.mmap(file.fileno(), 8, access=access), dtype=np.uint64)


def _read_manifest(folder: Path) -> _Manifest:
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)


def _named(folder: Path) -> set[str]:
    """Tables' generations that a view names; none when it cannot be read any more."""
    try:
        entries = _read_manifest(folder).policies.values()
    except (OSError, msgspec.DecodeError):
        return set()
    return {table.generation for entry in entries for table in entry.tables.values()}


def _versions(views: Path) -> list[int]:
    return [int(entry.name) for entry in views.iterdir() if entry.name.isdigit()]


def _write_posterior(folder: Path, number: int, posterior: Posterior, policy: Any) -> _PolicyEntry:
    files = {}
    shared = {f"{SHARED}{name}": array for name, array in posterior.shared.items()}
    for place, (name, array) in enumerate({**posterior.arrays, **shared}.items()):
        files[name] = f"{number}-{place}.npy"
        np.save(folder / files[name], array, allow_pickle=False)
    return _PolicyEntry(item_ids=posterior.item_ids, state_hash=policy.state_hash, files=files)


def _read_view(folder: Path, manifest: _Manifest, tables: Mapping[str, TableReader]) -> View:
    policies = {}
    for name, entry in manifest.policies.items():
        arrays = {
            # A plain array over the mapping: indexing a memmap costs a Python call each time.
            key: np.asarray(np.load(folder / file, mmap_mode="c", allow_pickle=False))
            for key, file in entry.files.items()
        }
        shared = {
            key.removeprefix(SHARED): arrays.pop(key)
            for key in list(arrays)
            if key.startswith(SHARED)
        }
        parts = {key: tables[table.generation] for key, table in entry.tables.items()}
        policies[name] = Posterior(entry.item_ids, arrays, shared, parts)
    return View(
        version=manifest.version,
        offsets=manifest.offsets,
        clocks=manifest.clocks,
        policies=policies,
        state_hashes={name: entry.state_hash for name, entry in manifest.policies.items()},
        config=EngineConfig.from_dict(manifest.config),
        counts=Counts(manifest.counts),
    )
