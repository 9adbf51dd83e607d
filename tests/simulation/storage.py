"""The store as a process sees it: real SQL, with failures before, within and after transactions."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import delete, event

from streams.errors import FencedError, StoreError
from streams.positions import Commit, Position, Saved, Tail
from streams.store import Store
from streams.tables import METADATA
from tests.simulation.chaos import Chaos, CrashError
from tests.simulation.ledger import Ledger

Point = Callable[[str], None]


class SharedStore:
    """One SQLite file and a folder for views, emptied for each world: to open one takes long."""

    def __init__(self, folder: Path) -> None:
        self.views = folder / "views"
        self._path = folder / "state.db"
        self._fault: BaseException | None = None
        self._statements = 0
        self.down = False
        self.store = self._open()

    def empty(self) -> None:
        """Forget everything."""
        self._fault, self.down = None, False
        shutil.rmtree(self.views, ignore_errors=True)
        with self.store.database.writing("empty") as connection:
            for table in METADATA.sorted_tables:
                connection.execute(delete(table))

    def restart(self) -> None:
        """Close all connections and open the file anew."""
        self.store.close()
        self.store = self._open()

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    @contextmanager
    def fault(self, fault: BaseException | None, after: int) -> Iterator[None]:
        """Let a transaction fail before the statement that comes after so many others."""
        self._fault, self._statements = fault, after
        try:
            yield
        finally:
            self._fault = None

    def _open(self) -> Store:
        store = Store(self._path)
        for name in ("before_cursor_execute", "commit"):
            event.listen(store.database._writer, name, self._strike)
        return store

    def _strike(self, *_: object) -> None:
        self._statements -= 1
        if self._fault is not None and self._statements < 0:
            fault, self._fault = self._fault, None
            raise fault


class StoreClient:
    """A `Store`: a process's connections to the database.

    Attributes
    ----------
    epochs
        Claims that this process was granted, by shard.
    """

    def __init__(self, storage: SharedStore, ledger: Ledger, chaos: Chaos, point: Point) -> None:
        self._storage = storage
        self._ledger = ledger
        self._chaos = chaos
        self._point = point
        self.epochs: dict[tuple[str, int], int] = {}

    def claim(
        self, topic: str, partition: int, log: str, partitions: int = 1, begin: int = 0
    ) -> Position:
        self._point(f"to claim {partition}")
        with self._faulty():
            position = self._store.claim(topic, partition, log, partitions, begin)
        self._ledger.claimed(position)
        self._lose_answer()
        self.epochs[topic, partition] = position.epoch
        return position

    def load(self, position: Position) -> Saved:
        with self._faulty():
            return self._store.load(position)

    def tail(self, seen: Mapping[tuple[str, int], int]) -> list[Tail]:
        with self._faulty():
            return self._store.tail(seen)

    def commit(self, position: Position, commit: Commit) -> Position:
        key = (position.topic, position.partition)
        self._point(f"to commit {position.partition} up to {commit.next_offset}")
        try:
            with self._faulty():
                after = self._store.commit(position, commit)
        except FencedError:
            self._ledger.refused(position)
            raise
        except (StoreError, CrashError):
            self._ledger.unchanged(self._store, key)
            raise
        self._ledger.committed(position, after, commit)
        self._point(f"stored {position.partition}")
        self._lose_answer()
        return after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def _store(self) -> Store:
        return self._storage.store

    @contextmanager
    def _faulty(self) -> Iterator[None]:
        if self._storage.down or self._chaos.happens("store fails"):
            raise StoreError("the database cannot be reached")
        fault: BaseException | None = None
        if self._chaos.happens("statement fails"):
            fault = sqlite3.OperationalError("database or disk is full")
        elif self._chaos.happens("statement crashes"):
            fault = CrashError("within a transaction")
        after = self._chaos.rng.randrange(10) if fault is not None else 0
        with self._storage.fault(fault, after):
            yield

    def _lose_answer(self) -> None:
        if self._chaos.happens("store answer lost"):
            raise StoreError("the connection broke after the transaction")
