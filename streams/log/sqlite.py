"""The embedded log: one SQLite file, ``log.db``, with a table for each topic.

Offsets are 0, 1, 2, … without gaps and stamps never go back, however many processes append:
SQLite's write lock orders them, and both are read from the last row inside the transaction that
adds the next.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from streams.errors import LogError
from streams.log.base import CATALOGUE, EVENTS, Place, Record, check_topic

__all__ = ["SqliteLog"]

FORMAT = 1
TOPICS = (EVENTS, CATALOGUE)  # with one partition every model learns where it joins
CHECKPOINT_SECONDS = 0.5
TRUNCATE_BYTES = 64 << 20  # a write-ahead file past this is cut back, not only copied

Durability = Literal["process", "power"]


class SqliteLog:
    """Open (or create) a log file. Threads may share it; processes open one each.

    Parameters
    ----------
    path
        The file; its folder must exist.
    durability
        ``process``: what was appended survives the death of the process. ``power``: also that of
        the machine; every append waits for the disk.
    read_only
        Refuse appends and touch nothing.
    busy_seconds
        How long an append waits for another process's before it fails.

    Raises
    ------
    LogError
        When the file cannot be opened or is not a log of this format.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: Durability = "process",
        read_only: bool = False,
        busy_seconds: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self.durability = durability
        self.read_only = read_only
        self._busy_seconds = busy_seconds
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._stop = threading.Event()
        self._checkpointer: threading.Thread | None = None
        self._connections: list[sqlite3.Connection] = []
        try:
            with self._wrapped("open"):
                self._writer = None if read_only else self._connect()
                if self._writer is not None:
                    _create(self._writer)
                self._reader = self._connect()
                self._identity = _identify(self._reader)
        except LogError:
            self.close()
            raise

    def now_ms(self) -> int:
        """Milliseconds since the epoch, by the system's clock."""
        return time.time_ns() // 1_000_000

    def topic_id(self, topic: str) -> str:
        """Return the name drawn when the file was created."""
        check_topic(topic)
        return self._identity

    def partitions(self, topic: str) -> int:
        """Return 1 for what the file holds, 0 for other topics."""
        return int(check_topic(topic) in TOPICS)

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Append ``(key, value)`` pairs in one transaction; returns where they stand.

        Raises
        ------
        LogError
            When nothing was appended: the file stayed locked, the disk is full, …
        """
        self._check(topic, partition or 0)
        if self._writer is None:
            raise LogError(f"log {self.path} was opened read-only; open it for writing to append")
        with self._write_lock, self._wrapped("append to"), _transaction(self._writer) as writer:
            offset, stamp = _tail(writer, topic)
            stamp = max(self.now_ms(), stamp)
            rows = [
                (number, stamp, key, value)
                for number, (key, value) in enumerate(entries, start=offset)
            ]
            writer.executemany(f"INSERT INTO {topic} VALUES (?, ?, ?, ?)", rows)  # noqa: S608
        self._start_checkpoints()
        return [Place(0, number) for number in range(offset, offset + len(rows))]

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> list[Record]:
        """Up to ``limit`` records from ``offset`` on."""
        query = (
            f"SELECT offset, stamp, key, value FROM {self._check(topic, partition)} "  # noqa: S608
            "WHERE offset >= ? ORDER BY offset LIMIT ?"
        )
        with self._read_lock, self._wrapped("read"):
            return [Record(*row) for row in self._reader.execute(query, (offset, limit))]

    def begin(self, topic: str, partition: int = 0) -> int:
        """Return 0: all is kept."""
        self._check(topic, partition)
        return 0

    def end(self, topic: str, partition: int = 0) -> int:
        """Offset the next record will get."""
        with self._read_lock, self._wrapped("read"):
            return _tail(self._reader, self._check(topic, partition))[0]

    def damage(self) -> str:
        """What SQLite finds wrong with the file when it reads all of it, "" for nothing."""
        with self._read_lock, self._wrapped("read"):
            (told,) = self._reader.execute("PRAGMA quick_check(1)").fetchone()
        return "" if told == "ok" else str(told)

    def close(self) -> None:
        """Stop checkpoints and close the file."""
        self._stop.set()
        if self._checkpointer is not None:
            self._checkpointer.join()
        with self._write_lock, self._read_lock:
            for connection in self._connections:
                connection.close()

    def _check(self, topic: str, partition: int) -> str:
        if check_topic(topic) not in TOPICS or partition != 0:
            raise LogError(
                f"log {self.path} holds partition 0 of {', '.join(TOPICS)}, "
                f"not {topic}-{partition}; use Kafka for more"
            )
        return topic

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rwc"
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if not self.read_only:
                self._use_ahead_log(connection)
                connection.execute("PRAGMA wal_autocheckpoint = 0")
                full = "FULL" if self.durability == "power" else "OFF"
                connection.execute(f"PRAGMA synchronous = {full}")
        except BaseException:
            connection.close()
            raise
        self._connections.append(connection)
        return connection

    def _use_ahead_log(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait for other processes when it switches a new file to this mode.
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _start_checkpoints(self) -> None:
        # Only a log that appends grows a write-ahead file; its copying must not delay appends.
        if self._checkpointer is None and not self._stop.is_set():
            self._checkpointer = threading.Thread(
                target=self._checkpoint, name="log-checkpoint", daemon=True
            )
            self._checkpointer.start()

    def _checkpoint(self) -> None:
        connection: sqlite3.Connection | None = None
        ahead = Path(f"{self.path}-wal")
        while not self._stop.wait(CHECKPOINT_SECONDS):
            try:
                if connection is None:
                    connection = self._connect()
                    connection.execute("PRAGMA busy_timeout = 100")
                long = ahead.exists() and ahead.stat().st_size > TRUNCATE_BYTES
                mode = "TRUNCATE" if long else "PASSIVE"
                connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            except (sqlite3.Error, OSError):
                continue  # busy or full: appends report it; the next round tries again

    @contextmanager
    def _wrapped(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            raise LogError(f"cannot {verb} log {self.path}: {error}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tail(connection: sqlite3.Connection, topic: str) -> tuple[int, int]:
    last = connection.execute(
        f"SELECT offset, stamp FROM {topic} ORDER BY offset DESC LIMIT 1"  # noqa: S608
    ).fetchone()
    return (last[0] + 1, last[1]) if last else (0, 0)


def _create(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS meta (identity TEXT NOT NULL, format INTEGER NOT NULL)"
        )
        if connection.execute("SELECT 1 FROM meta").fetchone() is None:
            connection.execute("INSERT INTO meta VALUES (?, ?)", (uuid.uuid4().hex, FORMAT))
        for topic in TOPICS:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {topic} (offset INTEGER PRIMARY KEY, "
                "stamp INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL)"
            )


def _identify(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT identity, format FROM meta").fetchone()
    if row is None or row[1] != FORMAT:
        found = row[1] if row else "none"
        raise LogError(f"the log has format {found}; this release reads format {FORMAT}")
    return str(row[0])
