"""Where state is committed: SQL rows that move together with the offset they include.

A commit compares and swaps ``(epoch, next_offset)`` in the same transaction that adds the delta,
so of two learners that believe they own a shard only the one that claimed it last can write.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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

from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import FencedError, StoreError
from streams.join import JoinPoint
from streams.requests import DeadLetter
from streams.tables import BASE, CLOSED, DEAD, DELTA, FORMAT, META, METADATA, SHARD

__all__ = ["Commit", "Position", "Saved", "StoredLetter", "Store"]

MIN_BASE_BYTES = 1 << 16
Bodies = dict[str, bytes]  # policy name -> saved state


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a shard is, and under which claim."""

    topic: str
    partition: int
    log: str
    epoch: int
    seq: int
    next_offset: int
    clock: int
    join_point: JoinPoint
    counts: Counts
    config: EngineConfig
    delta_bytes: int
    base_bytes: int

    @property
    def wants_base(self) -> bool:
        """Whether the deltas since the last base outgrew it."""
        return self.delta_bytes > max(self.base_bytes, MIN_BASE_BYTES)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What one commit adds.

    ``bodies`` hold, by policy, rows touched since the last commit (absolute values), or whole
    states when ``base``. ``remembered`` are closed requests and their forget times (ms).
    """

    next_offset: int
    clock: int
    join_point: JoinPoint
    counts: Counts
    config: EngineConfig
    bodies: Mapping[str, bytes]
    base: bool
    remembered: Mapping[str, int]
    dead: Sequence[DeadLetter]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a shard is restored from: a base, the deltas since, closed requests."""

    base: Bodies
    deltas: list[Bodies]
    closed: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class StoredLetter:
    """A dead letter as stored; ``source`` is topic-partition-offset."""

    source: str
    stamp: int
    reason: str
    detail: str
    pointer: str
    value: bytes


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
            with self._transaction("open") as connection:
                METADATA.create_all(connection)
                found = connection.execute(select(META.c.format)).scalar()
                if found is None:
                    connection.execute(insert(META).values(format=FORMAT))
                elif found != FORMAT:
                    raise StoreError(f"store {where} has format {found}; this release {FORMAT}")
        except StoreError:
            self.close()
            raise

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
        return _position(row)

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
            closed = connection.execute(
                _at(select(CLOSED.c.request_id, CLOSED.c.forget), CLOSED, key)
            )
            return Saved(
                base=_unpack(base) if base is not None else {},
                deltas=[_unpack(body) for body in deltas],
                closed={request_id: forget for request_id, forget in closed},
            )

    def commit(self, position: Position, commit: Commit) -> Position:
        """Write a commit on top of a position, all or nothing; returns the new position.

        Raises
        ------
        FencedError
            When another learner claimed the shard since. Nothing was written.
        """
        key = {"topic": position.topic, "part": position.partition}
        after = _advance(position, commit)
        body = msgspec.msgpack.encode(dict(commit.bodies))
        with self._transaction("commit to") as connection:
            swapped = connection.execute(
                _at(update(SHARD), SHARD, key)
                .where(SHARD.c.epoch == position.epoch)
                .where(SHARD.c.next_offset == position.next_offset)
                .where(SHARD.c.seq == position.seq)
                .values(**_row(after))
            )
            if swapped.rowcount != 1:
                raise FencedError(
                    f"shard {position.topic}-{position.partition} was claimed by another learner "
                    f"after epoch {position.epoch}; this one must stop"
                )
            self._write_body(connection, key, after.seq, body, base=commit.base)
            _write_closed(connection, key, commit)
            _write_dead(connection, position, commit.dead)
        return after

    def dead_letters(self, limit: int = 100) -> list[StoredLetter]:
        """Return the latest dead letters, newest first."""
        query = select(DEAD).order_by(DEAD.c.stamp.desc(), DEAD.c.source.desc()).limit(limit)
        with self._transaction("read") as connection:
            return [StoredLetter(**row._asdict()) for row in connection.execute(query)]

    def close(self) -> None:
        """Release all connections."""
        self._engine.dispose()

    def _ensure_row(self, key: dict[str, Any], log: str) -> None:
        with self._transaction("claim") as connection:
            if connection.execute(_at(select(SHARD.c.epoch), SHARD, key)).first() is not None:
                return
        empty = EngineConfig()
        fresh = Position(
            topic=key["topic"],
            partition=key["part"],
            log=log,
            epoch=0,
            seq=0,
            next_offset=0,
            clock=0,
            join_point=JoinPoint(0, 0, empty),
            counts=Counts(),
            config=empty,
            delta_bytes=0,
            base_bytes=0,
        )
        try:
            with self._wrapped("claim"), self._engine.begin() as connection:
                connection.execute(insert(SHARD).values(**key, log=log, epoch=0, **_row(fresh)))
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
            raise StoreError(f"cannot {verb} store {self._name}: {error}") from error


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


def _advance(position: Position, commit: Commit) -> Position:
    size = sum(map(len, commit.bodies.values()))
    return replace(
        position,
        seq=position.seq + 1,
        next_offset=commit.next_offset,
        clock=commit.clock,
        join_point=commit.join_point,
        counts=Counts(commit.counts.to_dict()),
        config=commit.config,
        delta_bytes=0 if commit.base else position.delta_bytes + size,
        base_bytes=size if commit.base else position.base_bytes,
    )


def _row(position: Position) -> dict[str, Any]:
    return {
        "seq": position.seq,
        "next_offset": position.next_offset,
        "clock": position.clock,
        "join_offset": position.join_point.offset,
        "join_clock": position.join_point.clock,
        "delta_bytes": position.delta_bytes,
        "base_bytes": position.base_bytes,
        "counts": json.dumps(position.counts.to_dict()),
        "config": json.dumps(position.config.to_dict()),
        "join_config": json.dumps(position.join_point.config.to_dict()),
    }


def _position(row: Mapping[str, Any]) -> Position:
    join_config = EngineConfig.from_dict(json.loads(row["join_config"]))
    return Position(
        topic=row["topic"],
        partition=row["part"],
        log=row["log"],
        epoch=row["epoch"],
        seq=row["seq"],
        next_offset=row["next_offset"],
        clock=row["clock"],
        join_point=JoinPoint(row["join_offset"], row["join_clock"], join_config),
        counts=Counts(json.loads(row["counts"])),
        config=EngineConfig.from_dict(json.loads(row["config"])),
        delta_bytes=row["delta_bytes"],
        base_bytes=row["base_bytes"],
    )


def _unpack(body: bytes) -> Bodies:
    return msgspec.msgpack.decode(body, type=Bodies)


def _write_closed(connection: Connection, key: dict[str, Any], commit: Commit) -> None:
    # Deleted before they are inserted: no upsert is the same in every database.
    rows = [
        {**key, "request_id": request_id, "forget": forget}
        for request_id, forget in commit.remembered.items()
    ]
    if rows:
        named = delete(CLOSED).where(
            CLOSED.c.topic == bindparam("of_topic"),
            CLOSED.c.part == bindparam("of_part"),
            CLOSED.c.request_id == bindparam("of_request"),
        )
        connection.execute(
            named,
            [
                {"of_topic": r["topic"], "of_part": r["part"], "of_request": r["request_id"]}
                for r in rows
            ],
        )
        connection.execute(insert(CLOSED), rows)
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
