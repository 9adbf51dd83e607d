"""The state store's database: its connections, and its errors in words of ours.

Nothing told of a database, its name included, holds a password.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from streams.errors import StoreError

__all__ = ["Database", "Durability"]

Durability = Literal["process", "power"]
Upsert = sqlite.Insert | postgresql.Insert  # written alike

BUSY_SECONDS = 5.0  # how long a SQLite connection waits for another's transaction
READ_LEVEL = "REPEATABLE READ"  # all of one read as of one moment, keeping no writer waiting
PASSWORDS = {"password", "passfile", "sslpassword"}
# Seconds, and libpq's milliseconds: a server that is gone is found out, and a process halted within
# a transaction does not keep its shard from the next owner.
POSTGRES: Mapping[str, str | int] = {
    "application_name": "slatestream",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
POSTGRES_OPTIONS = "-c lock_timeout=10s -c idle_in_transaction_session_timeout=20s"


class Database:
    """A SQLite file or a PostgreSQL database.

    Parameters
    ----------
    where
        Path of a SQLite file, created when absent, or a database URL.
    durability
        SQLite only. ``process``: commits survive the death of the process; ``power``: of the
        machine too.
    read_only
        Refuse to write and create nothing. Connections are not kept.

    Attributes
    ----------
    name
        What it is called in messages.
    dialect
        ``sqlite`` or ``postgresql``.

    Raises
    ------
    StoreError
        When ``where`` names no database of these kinds. Whether one is there is found out at the
        first use.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        durability: Durability = "process",
        read_only: bool = False,
    ) -> None:
        url = _parse(where)
        self._file = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
        self.name = _name(url)
        self.dialect = url.get_backend_name()
        with self.wrapped("open"):
            if self.dialect == "sqlite":
                self._writer, self._reader = _open_sqlite(url, durability, read_only=read_only)
            else:
                self._writer, self._reader = _open_postgres(url, read_only=read_only)

    def exists(self) -> bool:
        """Whether there is anything to read; True of a server, which is asked at the first use."""
        return self._file is None or self._file.exists()

    @contextmanager
    def reading(self, verb: str = "read") -> Iterator[Connection]:
        """Read, all as of one moment. Raises StoreError."""
        with self.wrapped(verb), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, verb: str) -> Iterator[Connection]:
        """Write all or nothing; on SQLite no one else writes meanwhile. Raises StoreError."""
        with self.wrapped(verb), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def wrapped(self, verb: str) -> Iterator[None]:
        """Turn what the database and its driver raise into StoreError."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise StoreError(
                f"cannot {verb} store {self.name}: {error}; "
                "pip install 'slatestream[postgres]' brings the driver"
            ) from error
        except (SQLAlchemyError, sqlite3.Error, OSError, msgspec.DecodeError) as error:
            cause = getattr(error, "orig", None) or error
            # The plain class is SQLite's for a damaged file; locks and full disks are others.
            damaged = type(cause) is sqlite3.DatabaseError
            hint = "; move it away to learn anew from the log" if damaged else ""
            told = " ".join(str(cause).split())
            raise StoreError(f"cannot {verb} store {self.name}: {told}{hint}") from error

    def insert(self, table: Table) -> Upsert:
        """Start an INSERT that may say what to do when the row is there already."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    def close(self) -> None:
        """Release all connections."""
        self._reader.dispose()
        self._writer.dispose()


def _parse(where: str | Path) -> URL:
    if "://" not in str(where):
        return URL.create("sqlite", database=str(Path(where).absolute()))
    try:
        url = make_url(str(where))
    except (ArgumentError, ValueError):
        url = None
    # What follows a stray @ is the rest of a password: never shown, so never accepted.
    if url is None or "@" in f"{url.host}{url.database}":
        raise StoreError(
            "cannot open store: it is no database URL; give "
            "postgresql+psycopg://user:password@host:5432/database, with %XX for characters other "
            "than letters and digits in the password"
        ) from None
    if url.drivername in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise StoreError(
            f"cannot open store: {url.drivername!r} is no database it can be in; give "
            "postgresql+psycopg://user@host/database or sqlite:///path"
        )
    return url


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    shown = {key: value for key, value in url.query.items() if key not in PASSWORDS}
    return url.set(query=shown).render_as_string(hide_password=True)


def _open_postgres(url: URL, *, read_only: bool) -> tuple[Engine, Engine]:
    given: dict[str, Any] = {**POSTGRES, **url.query}
    read = " -c default_transaction_read_only=on" if read_only else ""
    given["options"] = f"{POSTGRES_OPTIONS}{read} {url.query.get('options', '')}".strip()
    pool: dict[str, Any] = {"pool_pre_ping": True, "pool_timeout": 10}
    if read_only:
        pool = {"poolclass": NullPool}
    engine = create_engine(url.set(query={}), connect_args=given, hide_parameters=True, **pool)
    return engine, engine.execution_options(isolation_level=READ_LEVEL)


def _open_sqlite(url: URL, durability: str, *, read_only: bool) -> tuple[Engine, Engine]:
    if read_only:
        path = f"{Path(str(url.database)).absolute().as_uri()}?mode=ro"
        reader = create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(path, uri=True), poolclass=NullPool
        )
        return reader, reader
    writer, reader = (create_engine(url, hide_parameters=True) for _ in range(2))
    _prepare_sqlite(reader, durability, begin="BEGIN DEFERRED")
    _prepare_sqlite(writer, durability, begin="BEGIN IMMEDIATE")
    return writer, reader


def _prepare_sqlite(engine: Engine, durability: str, *, begin: str) -> None:
    full = "FULL" if durability == "power" else "OFF"

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # else the driver begins transactions late
        connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")
        _use_ahead_log(connection)
        connection.execute(f"PRAGMA synchronous = {full}")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _use_ahead_log(connection: sqlite3.Connection) -> None:
    # SQLite does not wait for other processes when it switches a new file to this mode.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
