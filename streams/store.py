"""Where state is committed: SQL rows that move together with the offset they include.

A commit compares and swaps ``(epoch, next_offset)`` in the same transaction that adds the delta,
so of two learners that believe they own a shard only the one that claimed it last can write.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
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
from streams.errors import FencedError, RefusedError, StoreError
from streams.positions import Bodies, Commit, Position, Saved, Tail, from_row, to_row
from streams.requests import DeadLetter
from streams.tables import BASE, CLOSED, DEAD, DELTA, FORMAT, META, METADATA, SHARD

__all__ = ["Store"]

KEEP_BASES = 2  # should the newest be damaged, the one before it and the deltas since tell the same
READ_LEVEL = "REPEATABLE READ"

logger = logging.getLogger(__name__)


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
            # All of one read as of one moment, keeping no writer waiting.
            self._reader: Engine = self._engine.execution_options(isolation_level=READ_LEVEL)
            if self._engine.dialect.name == "sqlite":
                self._reader = create_engine(url)
                _prepare_sqlite(self._reader, durability, begin="BEGIN DEFERRED")
                _prepare_sqlite(self._engine, durability, begin="BEGIN IMMEDIATE")
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

    def claim(
        self, topic: str, partition: int, log: str, partitions: int = 1, begin: int = 0
    ) -> Position:
        """Become the only writer of a shard: every earlier claim is fenced from here on.

        Parameters
        ----------
        log
            Identity of the topic the shard is learned from.
        partitions
            How many partitions that has.
        begin
            Offset to learn from when the shard is claimed for the first time.

        Raises
        ------
        RefusedError
            When the stored state was learned from another topic of that name, or when the number
            of its partitions was another.
        StoreError
            When the database cannot be used.
        """
        key = {"topic": topic, "part": partition}
        self._check_topic(topic, log, partitions)
        self._ensure_row(key, Position.fresh(topic, partition, log, partitions, begin))
        with self._transaction("claim") as connection:
            connection.execute(_at(update(SHARD), SHARD, key).values(epoch=SHARD.c.epoch + 1))
            row = connection.execute(_at(select(SHARD), SHARD, key)).one()._asdict()
        return from_row(row)

    def load(self, position: Position) -> Saved:
        """Read what a claimed shard is restored from.

        A base that does not read as it was written is passed over for the one before it.
        """
        key = {"topic": position.topic, "part": position.partition}
        with self._transaction("read") as connection:
            base_seq, base = self._read_base(connection, key)
            deltas = _read_deltas(connection, key, base_seq)
            closed = connection.execute(_at(select(CLOSED.c.body), CLOSED, key)).scalars()
            return Saved(
                base=base,
                deltas=deltas,
                closed=Remembered.join(list(map(Remembered.from_bytes, closed)), position.clock),
            )

    def tail(self, seen: Mapping[tuple[str, int], int]) -> list[Tail]:
        """Read what was committed of every shard since ``seq`` in ``seen``, all as of one moment.

        Shards come in the order of topic and partition; those without news are left out.
        """
        with self._reading() as connection:
            heads = connection.execute(select(SHARD.c.topic, SHARD.c.part, SHARD.c.seq)).all()
            fresh = [(t, p) for t, p, seq in heads if seq > seen.get((t, p), 0)]
            return [self._read_tail(connection, at, seen.get(at, 0)) for at in sorted(fresh)]

    def _read_tail(self, connection: Connection, at: tuple[str, int], seen: int) -> Tail:
        key = {"topic": at[0], "part": at[1]}
        position = from_row(connection.execute(_at(select(SHARD), SHARD, key)).one()._asdict())
        newest = _at(select(func.max(BASE.c.seq)), BASE, key)
        if seen and (connection.execute(newest).scalar() or 0) <= seen:
            return Tail(position=position, base=None, deltas=_read_deltas(connection, key, seen))
        base_seq, base = self._read_base(connection, key)
        deltas = _read_deltas(connection, key, base_seq)
        return Tail(position=position, base=base, deltas=deltas)

    def _read_base(self, connection: Connection, key: dict[str, Any]) -> tuple[int, Bodies]:
        query = _at(select(BASE.c.seq, BASE.c.crc, BASE.c.body), BASE, key)
        for seq, crc, body in connection.execute(query.order_by(BASE.c.seq.desc())):
            if zlib.crc32(body) == crc:
                return seq, _unpack(body)
            logger.warning("base %s of %s is damaged: the one before it is read", seq, key)
        return -1, {}

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
        self._reader.dispose()
        self._engine.dispose()

    def _check_topic(self, topic: str, log: str, partitions: int) -> None:
        with self._reading() as connection:
            found = connection.execute(
                select(SHARD.c.log, SHARD.c.partitions).where(SHARD.c.topic == topic).distinct()
            ).all()
        for stored, count in found:
            if stored != log:
                raise RefusedError(
                    f"store {self._name} holds state learned from topic {topic} with id {stored}, "
                    f"but it has id {log} now: it was created anew. Give the topic the state "
                    "belongs to, load a snapshot of this one with 'slatestream restore', or learn "
                    "anew with 'slatestream reset'"
                )
            if count != partitions:
                raise RefusedError(
                    f"topic {topic} has {partitions} partitions and had {count} when learning "
                    "began: requests moved between partitions while they were open. Keep the "
                    "number, or learn anew with 'slatestream reset'"
                )

    def _ensure_row(self, key: dict[str, Any], fresh: Position) -> None:
        with self._reading() as connection:
            if connection.execute(_at(select(SHARD.c.epoch), SHARD, key)).first() is not None:
                return
        first = {"log": fresh.log, "partitions": fresh.partitions, "epoch": 0}
        row = {**key, **first, **to_row(fresh)}
        try:
            with self._wrapped("claim"), self._engine.begin() as connection:
                connection.execute(insert(SHARD).values(**row))
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):  # else another made it just now
                raise

    def _write_body(
        self, connection: Connection, key: dict[str, Any], seq: int, body: bytes, *, base: bool
    ) -> None:
        table = BASE if base else DELTA
        connection.execute(insert(table).values(**key, seq=seq, crc=zlib.crc32(body), body=body))
        if base:
            kept = connection.execute(
                _at(select(BASE.c.seq), BASE, key).order_by(BASE.c.seq.desc()).limit(KEEP_BASES)
            ).scalars()
            oldest = min(kept)
            for older in (BASE, DELTA):
                connection.execute(_at(delete(older), older, key).where(older.c.seq < oldest))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._wrapped("read"), self._reader.connect() as connection:
            yield connection

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


def _prepare_sqlite(engine: Engine, durability: str, *, begin: str) -> None:
    full = "FULL" if durability == "power" else "OFF"

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # else the driver begins transactions late
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {full}")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _at(statement: Any, table: Table, key: Mapping[str, Any]) -> Any:
    return statement.where(table.c.topic == key["topic"]).where(table.c.part == key["part"])


def _read_deltas(connection: Connection, key: dict[str, Any], after: int) -> list[Bodies]:
    query = _at(select(DELTA.c.seq, DELTA.c.crc, DELTA.c.body), DELTA, key)
    bodies = []
    for seq, crc, body in connection.execute(
        query.where(DELTA.c.seq > after).order_by(DELTA.c.seq)
    ):
        if zlib.crc32(body) != crc:
            raise RefusedError(
                f"delta {seq} of shard {key['topic']}-{key['part']} is damaged; load a snapshot "
                "with 'slatestream restore', or learn anew with 'slatestream reset'"
            )
        bodies.append(_unpack(body))
    return bodies


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
