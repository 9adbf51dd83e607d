"""Embedding tables in files: one process writes a table where others read it, record by record.

A table that is served lies in a folder of its own, a *generation*, under ``<dir>/tables``: its
head, its records and its index, which moves to another file when it is mixed anew. They are sparse,
and mapped shared: what the publisher writes of a commit, servers read at once, with no copy and no
file written anew. Views name the generation they read. What they find in it is as new as they are,
or newer. A table that begins afresh begins another generation, and one that no view names any more
is removed; whoever has mapped it keeps its memory.
"""

from __future__ import annotations

import mmap
import shutil
import time
import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.embeddings.config import TableConfig
from engine.embeddings.lookups import Lookups
from engine.embeddings.memory import Room
from engine.embeddings.table import EmbeddingTable
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import HEAD, Table
from streams.errors import StoreError

__all__ = ["FileRoom", "TableFolder", "TableReader"]

TABLES = "tables"
SPARE_BYTES = 1 << 26  # left free on the disk: a write to a full one ends the process
RETRIES = 20
PAUSE = 0.001  # s, between two of them
PATIENCE = 0.05  # s, many times what a writer takes over a record
PAGES = 4  # bytes of files that a byte told takes at most, in the long run: index, ends of pages


class FileRoom(Room):
    """Where one table lies: a generation's folder.

    Attributes
    ----------
    generation
        Its name, never another's; another one after the table began afresh.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.generation = ""

    def begin(self) -> None:
        """Make the next generation's folder; raises ``StoreError``."""
        try:
            self.generation = uuid.uuid4().hex
            (self._folder / self.generation).mkdir()
        except OSError as error:
            raise StoreError(f"cannot keep a table under {self._folder}: {error}") from error

    def reserve(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Make a file of zeros and map it; raises ``StoreError`` when the disk has no room."""
        where = self._folder / self.generation
        stem, _, number = name.partition("-")
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            check_room(self._folder, 0)
            with (where / name).open("x+b") as file:
                file.truncate(size)
                memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_WRITE)
            if number:
                (where / f"{stem}-{int(number) - 2}").unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot keep a table under {where}: {error}") from error
        return np.frombuffer(memory, dtype=dtype).reshape(shape)


class TableFolder:
    """All generations of a publisher's tables.

    Parameters
    ----------
    folder
        The publisher's; tables lie in ``tables`` below it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / TABLES
        self._rooms: weakref.WeakSet[FileRoom] = weakref.WeakSet()
        self.folder.mkdir(parents=True, exist_ok=True)

    def house(self, table: EmbeddingTable) -> str:
        """Let a table lie here if it does not yet; returns its generation.

        Raises
        ------
        StoreError
            When the disk has no room.
        """
        if table.room not in self._rooms:
            room = FileRoom(self.folder)
            check_room(self.folder, table.statistics().bytes)
            try:
                table.move(room)
            except StoreError:
                shutil.rmtree(self.folder / room.generation, ignore_errors=True)
                raise
            self._rooms.add(room)
        assert isinstance(table.room, FileRoom)  # noqa: S101 - nothing else is in the set
        return table.room.generation

    def check_room(self, told: int) -> None:
        """Raise ``StoreError`` when what is told to tables here may not find room on the disk."""
        if self._rooms:
            check_room(self.folder, PAGES * told)

    def remove_others(self, named: Iterable[str]) -> None:
        """Remove the generations that are neither named nor some table's here."""
        kept = {*named, *(room.generation for room in self._rooms)}
        for folder in self.folder.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


class TableReader(Lookups):
    """A table that another process writes, read as `EmbeddingTable` is.

    Parameters
    ----------
    folder
        The publisher's.
    generation
        Which of its tables.
    config
        That table's settings.

    Raises
    ------
    FileNotFoundError
        When the generation was removed.
    """

    def __init__(self, folder: Path, generation: str, config: TableConfig) -> None:
        self.config = config
        self.patience = PATIENCE
        self._where = folder / TABLES / generation
        words = self._map("words", (-1, config.words), np.uint32)
        self._number = min(self._numbers(), default=0)
        head, cells = self._map_index(self._number)
        self._table = Table(
            head=head,
            cells=cells,
            before=np.zeros(0, dtype=np.uint64),
            words=words,
            floats=words.view(np.float32),
            sketch=self._map("sketch", (-1,), np.uint64),
            row_marks=np.zeros(0, dtype=np.uint8),
            rows=np.zeros(0, dtype=np.int64),
            line_marks=np.zeros(0, dtype=np.uint8),
            lines=np.zeros(0, dtype=np.int64),
            held=np.zeros(0, dtype=np.int64),
            scratch=np.zeros(0, dtype=np.int64),
            settings=np.stack([feature.to_row() for feature in config.features]),
        )

    def arrays(self) -> Table:
        """Return the table as it is now."""
        while self._table.head[at.LEFT]:
            self._follow()
        return self._table

    def _follow(self) -> None:
        """Map an index that was made later; without one, the table stays as it was left."""
        for _ in range(RETRIES):
            later = [number for number in self._numbers() if number > self._number]
            if not later:
                break
            try:
                head, cells = self._map_index(min(later))
            except FileNotFoundError:
                time.sleep(PAUSE)  # another was made meanwhile
                continue
            self._number = min(later)
            self._table = self._table._replace(head=head, cells=cells)
            return
        alone = self._table.head.copy()
        alone[at.LEFT] = 0
        self._table = self._table._replace(head=alone)

    def _numbers(self) -> list[int]:
        """Numbers of the indexes that are there: the first is whole, and tells if it was left.

        While an index is made, the head of the one before the last is there, its cells are not.
        """
        heads = (path.name.partition("-")[2] for path in self._where.glob("head-*"))
        return sorted(int(number) for number in heads if (self._where / f"cells-{number}").exists())

    def _map_index(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        head = self._map(f"head-{number}", (HEAD,), np.int64)
        return head, self._map(f"cells-{number}", (-1,), np.uint64)

    def _map(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        with (self._where / name).open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.asarray(_Mapped(memory)).view(dtype).reshape(shape)


class _Mapped:
    """Memory that numpy takes for writable, as kernels' types want; the system lets nobody write.

    A private mapping, which is writable, need not show what others write after it was made.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        held = np.frombuffer(memory, dtype=np.uint8)
        address = held.__array_interface__["data"][0]
        self._held = held
        self.__array_interface__ = {
            "shape": held.shape,
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }


def check_room(folder: Path, needed: int) -> None:
    """Raise ``StoreError`` when a disk has not so many bytes left, and some to spare."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StoreError(
            f"the disk of {folder} has {free} bytes left; tables that are served need "
            f"{needed + SPARE_BYTES}: make room"
        )
