"""Where state is committed: SQL rows that move together with the offset they include.

A commit compares and swaps ``(epoch, next_offset)`` in the same transaction that adds the delta,
so of two learners that believe they own a shard only the one that claimed it last can write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from streams.agenda import Remembered
from streams.errors import FencedError, StoreError
from streams.positions import Bodies, Commit, Position, Saved, from_row, to_row
from streams.requests import DeadLetter
from streams.tables import BASE, CLOSED, DEAD, DELTA, FORMAT, META, METADATA, SHARD

__all__ = ["Store"]


class Store:
    """A state store in a SQL database.

    Parameters
    ----------
    where
        Path of a SQLite file, created when absent, or a database URL.
    durability
        SQLite only. ``process``: commits survive the death of the process; ``power``: of the
        machine too.

    Raises
    ------
    StoreError
        When the database cannot be opened or has another format.
    """

    def __init__(
        self, where: str | Path, *, durability: Literal["process", "power"] = "process"
    ) -> None:
        url = str(where) if "://" in str(where) else f"sqlite:///{Path(where).absolute()}"
        self._name = str(where)
        with self._wrapped("open"):
            self._engine = create_engine(url)
            if self._engine.dialect.name == "sqlite":
                _prepare_sqlite(self._engine, durability)
        try:
            self._create_tables()
        except StoreError:
            self.close()
            raise

    def _create_tables(self) -> None:
        with self._transaction("open") as connection:
            METADATA.create_all(connection)
            found = connection.execute(select(META.c.format)).scalar()
            if found is None:
                connection.execute(insert(META).values(format=FORMAT))
            elif found != FORMAT:
                raise StoreError(
                    f"store {self._name} has format {found}; this release reads {FORMAT}"
                )

    def claim(self, topic: str, partition: int, log: str) -> Position:
        """Become the only writer of a shard: every earlier claim is fenced from here on.

        Parameters
        ----------
        log
            Identity of the log the shard is learned from.

        Raises
        ------
        StoreError
            When the stored state was learned from another log.
        """
        key = {"topic": topic, "part": partition}
        self._ensure_row(key, log)
        with self._transaction("claim") as connection:
            connection.execute(_at(update(SHARD), SHARD, key).values(epoch=SHARD.c.epoch + 1))
            row = connection.execute(_at(select(SHARD), SHARD, key)).one()._asdict()
            if row["log"] != log:
                raise StoreError(
                    f"store {self._name} holds state learned from log {row['log']}, but this log "
                    f"is {log}: restore the log it belongs to, or move the store away to learn "
                    "anew from this one"
                )
        return from_row(row)

    def load(self, position: Position) -> Saved:
        """Read what a claimed shard is restored from."""
        key = {"topic": position.topic, "part": position.partition}
        with self._transaction("read") as connection:
            last = connection.execute(_at(select(func.max(BASE.c.seq)), BASE, key)).scalar()
            base_seq = -1 if last is None else int(last)
            base = connection.execute(
                _at(select(BASE.c.body), BASE, key).where(BASE.c.seq == base_seq)
            ).scalar()
            deltas = connection.execute(
                _at(select(DELTA.c.body), DELTA, key)
                .where(DELTA.c.seq > base_seq)
                .order_by(DELTA.c.seq)
            ).scalars()
            closed = connection.execute(_at(select(CLOSED.c.body), CLOSED, key)).scalars()
            return Saved(
                base=_unpack(base) if base is not None else {},
                deltas=[_unpack(body) for body in deltas],
                closed=Remembered.join(list(map(Remembered.from_bytes, closed)), position.clock),
            )

    def commit(self, position: Position, commit: Commit) -> Position:
        """Write a commit on top of a position, all or nothing; returns the new position.

        Raises
        ------
        FencedError
            When another learner claimed the shard since. Nothing was written.
        """
        key = {"topic": position.topic, "part": position.partition}
        after = position.after(commit)
        body = msgspec.msgpack.encode(dict(commit.bodies))
        with self._transaction("commit to") as connection:
            swapped = connection.execute(
                _at(update(SHARD), SHARD, key)
                .where(SHARD.c.epoch == position.epoch)
                .where(SHARD.c.next_offset == position.next_offset)
                .where(SHARD.c.seq == position.seq)
                .values(**to_row(after))
            )
            if swapped.rowcount != 1:
                raise FencedError(
                    f"shard {position.topic}-{position.partition} was claimed by another learner "
                    f"after epoch {position.epoch}; this one must stop"
                )
            self._write_body(connection, key, after.seq, body, base=commit.base)
            _write_closed(connection, key, after.seq, commit)
            _write_dead(connection, position, commit.dead)
        return after

    def close(self) -> None:
        """Release all connections."""
        self._engine.dispose()

    def _ensure_row(self, key: dict[str, Any], log: str) -> None:
        with self._transaction("claim") as connection:
            if connection.execute(_at(select(SHARD.c.epoch), SHARD, key)).first() is not None:
                return
        fresh = Position.fresh(key["topic"], key["part"], log)
        try:
            with self._wrapped("claim"), self._engine.begin() as connection:
                connection.execute(insert(SHARD).values(**key, log=log, epoch=0, **to_row(fresh)))
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):  # else another made it just now
                raise

    def _write_body(
        self, connection: Connection, key: dict[str, Any], seq: int, body: bytes, *, base: bool
    ) -> None:
        table = BASE if base else DELTA
        connection.execute(insert(table).values(**key, seq=seq, body=body))
        if base:
            for older in (BASE, DELTA):
                connection.execute(_at(delete(older), older, key).where(older.c.seq < seq))

    @contextmanager
    def _transaction(self, verb: str) -> Iterator[Connection]:
        with self._wrapped(verb), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _wrapped(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, msgspec.DecodeError) as error:
            cause = getattr(error, "orig", None) or error
            # The plain class is SQLite's for a damaged file; locks and full disks are others.
            damaged = type(cause) is sqlite3.DatabaseError
            hint = "; move it away to learn anew from the log" if damaged else ""
            raise StoreError(f"cannot {verb} store {self._name}: {cause}{hint}") from error


def _prepare_sqlite(engine: Engine, durability: str) -> None:
    full = "FULL" if durability == "power" else "OFF"

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # else the driver begins transactions late
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {full}")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _at(statement: Any, table: Table, key: Mapping[str, Any]) -> Any:
    return statement.where(table.c.topic == key["topic"]).where(table.c.part == key["part"])


def _unpack(body: bytes) -> Bodies:
    return msgspec.msgpack.decode(body, type=Bodies)


def _write_closed(connection: Connection, key: dict[str, Any], seq: int, commit: Commit) -> None:
    told = commit.remembered
    if len(told.keys):
        forget = int(told.until.max())
        row = {**key, "seq": seq, "forget": forget, "body": told.to_bytes()}
        connection.execute(insert(CLOSED).values(**row))
    connection.execute(_at(delete(CLOSED), CLOSED, key).where(CLOSED.c.forget <= commit.clock))


def _write_dead(connection: Connection, position: Position, letters: Sequence[DeadLetter]) -> None:
    rows = [
        {**letter._asdict(), "source": f"{position.topic}-{position.partition}-{letter.offset}"}
        for letter in letters
    ]
    for row in rows:
        del row["offset"]
    if rows:
        named = delete(DEAD).where(DEAD.c.source == bindparam("of_source"))
        connection.execute(named, [{"of_source": row["source"]} for row in rows])
        connection.execute(insert(DEAD), rows)
