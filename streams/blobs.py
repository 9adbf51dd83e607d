"""A shard's bases, deltas and closed requests as rows: whole when read, or not read at all."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select

from streams.agenda import Remembered
from streams.errors import RefusedError
from streams.positions import Bodies, Commit
from streams.tables import BASE, CLOSED, DELTA

__all__ = [
    "KEEP_BASES",
    "Key",
    "at",
    "forget_closed",
    "key_of",
    "read_base",
    "read_closed",
    "read_deltas",
    "unpack",
    "write_body",
    "write_closed",
]

KEEP_BASES = 2  # should the newest be damaged, the one before it and the deltas since tell the same
Key = Mapping[str, Any]  # which shard: columns and their values

logger = logging.getLogger(__name__)


def key_of(topic: str, partition: int) -> Key:
    """Return what names a shard in every table."""
    return {"topic": topic, "part": partition}


def at(statement: Any, table: Table, key: Key) -> Any:
    """Restrict a statement to the rows of one shard."""
    return statement.where(table.c.topic == key["topic"]).where(table.c.part == key["part"])


def unpack(body: bytes) -> Bodies:
    """Read a body back: what it holds by policy."""
    return msgspec.msgpack.decode(body, type=Bodies)


def read_base(connection: Connection, key: Key) -> tuple[int, bytes]:
    """Return the newest base that reads as it was written, and its number; 0 when there is none."""
    query = at(select(BASE.c.seq, BASE.c.crc, BASE.c.body), BASE, key).order_by(BASE.c.seq.desc())
    for seq in connection.execute(query.with_only_columns(BASE.c.seq)).scalars().all():
        row = connection.execute(query.where(BASE.c.seq == seq)).one()
        if zlib.crc32(row.body) == row.crc:
            return seq, row.body
        logger.warning("base %s of %s is damaged: the one before it is read", seq, key)
    return 0, msgspec.msgpack.encode({})


def read_deltas(connection: Connection, key: Key, after: int, last: int) -> Iterator[bytes]:
    """Read the deltas numbered ``after + 1`` to ``last``, one at a time.

    Raises
    ------
    RefusedError
        When one is damaged, or is not there: what it told cannot be known.
    """
    query = at(select(DELTA.c.seq, DELTA.c.crc, DELTA.c.body), DELTA, key)
    query = query.where(DELTA.c.seq > after).where(DELTA.c.seq <= last).order_by(DELTA.c.seq)
    with connection.execute(query.execution_options(yield_per=16)) as rows:
        for expected, row in enumerate(rows, start=after + 1):
            if row.seq != expected or zlib.crc32(row.body) != row.crc:
                raise _lost(key, expected)
            after = row.seq
            yield row.body
    if after != last:
        raise _lost(key, after + 1)


def write_body(connection: Connection, key: Key, seq: int, commit: Commit) -> None:
    """Write a commit's delta, and its base; a new base lets go of what only older ones needed."""
    delta = commit.delta if commit.base else commit.bodies
    if delta is not None:
        _insert(connection, DELTA, key, seq, delta)
    if commit.base:
        _insert(connection, BASE, key, seq, commit.bodies)
        query = at(select(BASE.c.seq), BASE, key).order_by(BASE.c.seq.desc()).limit(KEEP_BASES)
        kept = connection.execute(query).scalars().all()
        if len(kept) == KEEP_BASES:
            connection.execute(at(delete(BASE), BASE, key).where(BASE.c.seq < kept[-1]))
            connection.execute(at(delete(DELTA), DELTA, key).where(DELTA.c.seq <= kept[-1]))


def read_closed(connection: Connection, key: Key, clock: int) -> Remembered:
    """Read the closed requests that are still to be known at ``clock``."""
    bodies = connection.execute(at(select(CLOSED.c.body), CLOSED, key)).scalars()
    return Remembered.join(list(map(Remembered.from_bytes, bodies)), clock)


def write_closed(connection: Connection, key: Key, seq: int, told: Remembered) -> None:
    """Write the requests that a commit closed."""
    if len(told.keys):
        forget = int(told.until.max())
        row = {**key, "seq": seq, "forget": forget, "body": told.to_bytes()}
        connection.execute(insert(CLOSED).values(**row))


def forget_closed(connection: Connection, key: Key, clock: int) -> None:
    """Let go of rows whose requests are all forgotten at ``clock``."""
    connection.execute(at(delete(CLOSED), CLOSED, key).where(CLOSED.c.forget <= clock))


def _insert(
    connection: Connection, table: Table, key: Key, seq: int, bodies: Mapping[str, bytes]
) -> None:
    body = msgspec.msgpack.encode(dict(bodies))
    connection.execute(insert(table).values(**key, seq=seq, crc=zlib.crc32(body), body=body))


def _lost(key: Key, seq: int) -> RefusedError:
    return RefusedError(
        f"delta {seq} of shard {key['topic']}-{key['part']} is damaged or missing; load a snapshot "
        "with 'slatestream restore', or learn anew with 'slatestream reset'"
    )
