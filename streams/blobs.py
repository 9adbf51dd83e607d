"""A shard's bases, deltas and closed requests as rows: whole when read, or not read at all.

A body of more than 16 MiB is cut: databases hold no more than a gigabyte in a field, and take many
copies of one to write it. Its row holds the beginning and a checksum of the whole; that of a base
that was written bit by bit holds nothing of it.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, and_, delete, func, insert, or_, select

from streams.agenda import Remembered
from streams.errors import RefusedError
from streams.positions import Bodies, Commit
from streams.tables import BASE, CLOSED, DELTA, PIECE

__all__ = [
    "KEEP_BASES",
    "Key",
    "at",
    "drop_bodies",
    "forget_closed",
    "key_of",
    "read_base",
    "read_closed",
    "read_deltas",
    "remove_strays",
    "sweep",
    "unpack",
    "write_base",
    "write_bodies",
    "write_closed",
    "write_row",
]

KEEP_BASES = 2  # should the newest be damaged, the one before it and the deltas since tell the same
PIECE_BYTES = 1 << 24  # of a row
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
        body = _whole(connection, BASE, key, row)
        if body is not None:
            return seq, body
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
            body = _whole(connection, DELTA, key, row) if row.seq == expected else None
            if body is None:
                raise _lost(key, expected)
            after = row.seq
            yield body
    if after != last:
        raise _lost(key, after + 1)


def write_bodies(connection: Connection, key: Key, seq: int, commit: Commit) -> None:
    """Write a commit's delta, and its base; a new base lets go of what only older ones needed."""
    delta = commit.delta if commit.base else commit.bodies
    if delta is not None:
        write_row(connection, DELTA, key, seq, msgspec.msgpack.encode(dict(delta)))
    if commit.base:
        write_row(connection, BASE, key, seq, msgspec.msgpack.encode(dict(commit.bodies)))
        _let_go(connection, key)


def write_base(connection: Connection, key: Key, seq: int, crc: int) -> None:
    """Make a base of the pieces that were written under a number."""
    connection.execute(insert(BASE).values(**key, seq=seq, crc=crc, body=b""))


def sweep(connection: Connection, key: Key, room: int) -> bool:
    """Let go of some rows that only older bases needed, about ``room`` bytes; False without any.

    Rows go before the pieces they begin, the oldest first: what is still there reads as it was.
    """
    kept = _kept(connection, key)
    oldest = kept[-1] if len(kept) == KEEP_BASES else 0
    connection.execute(at(delete(BASE), BASE, key).where(BASE.c.seq < oldest))
    query = at(select(DELTA.c.seq, func.length(DELTA.c.body)), DELTA, key).order_by(DELTA.c.seq)
    deltas = _some(connection, query.where(DELTA.c.seq <= oldest), room)
    if deltas:
        last = deltas[-1][0]
        connection.execute(at(delete(DELTA), DELTA, key).where(DELTA.c.seq <= last))
        return True
    kind, seq, place = PIECE.c.kind, PIECE.c.seq, PIECE.c.place
    bases = and_(kind == BASE.name, seq < max(kept, default=0), seq.not_in(kept))
    needless = or_(bases, and_(kind == DELTA.name, seq <= oldest))
    query = at(select(kind, seq, place, func.length(PIECE.c.body)), PIECE, key)
    pieces = _some(connection, query.where(needless).order_by(seq, kind, place), room)
    for named in pieces:
        one = and_(kind == named[0], seq == named[1], place == named[2])
        connection.execute(at(delete(PIECE), PIECE, key).where(one))
    return bool(pieces)


def remove_strays(connection: Connection, key: Key) -> None:
    """Remove pieces of bases that never became whole."""
    whole = at(select(BASE.c.seq), BASE, key)
    strays = at(delete(PIECE), PIECE, key).where(PIECE.c.kind == BASE.name)
    connection.execute(strays.where(PIECE.c.seq.not_in(whole)))


def write_row(connection: Connection, table: Table, key: Key, seq: int, body: bytes) -> None:
    """Write a base or a delta, as many rows as it takes."""
    beginning = body if len(body) <= PIECE_BYTES else body[:PIECE_BYTES]
    row = {**key, "seq": seq, "crc": zlib.crc32(body), "body": beginning}
    connection.execute(insert(table).values(**row))
    for place, start in enumerate(range(PIECE_BYTES, len(body), PIECE_BYTES)):
        piece = {"kind": table.name, "seq": seq, "place": place}
        piece["body"] = body[start : start + PIECE_BYTES]
        connection.execute(insert(PIECE).values(**key, **piece))


def drop_bodies(connection: Connection, table: Table, key: Key, last: int | None = None) -> None:
    """Let go of bases or deltas numbered up to ``last``, of all when it is None."""
    rows, pieces = at(delete(table), table, key), at(delete(PIECE), PIECE, key)
    pieces = pieces.where(PIECE.c.kind == table.name)
    if last is not None:
        rows, pieces = rows.where(table.c.seq <= last), pieces.where(PIECE.c.seq <= last)
    connection.execute(rows)
    connection.execute(pieces)


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


def _let_go(connection: Connection, key: Key) -> None:
    kept = _kept(connection, key)
    if len(kept) == KEEP_BASES:
        drop_bodies(connection, BASE, key, kept[-1] - 1)
        drop_bodies(connection, DELTA, key, kept[-1])
    remove_strays(connection, key)


def _kept(connection: Connection, key: Key) -> list[int]:
    """Numbers of the bases to keep, the newest first."""
    query = at(select(BASE.c.seq), BASE, key).order_by(BASE.c.seq.desc()).limit(KEEP_BASES)
    return list(connection.execute(query).scalars())


def _some(connection: Connection, query: Any, room: int) -> list[Any]:
    """Return the first of the rows found, as many as have ``room`` bytes by their last column."""
    some: list[Any] = []
    size = 0
    for row in connection.execute(query.limit(64)):
        size += row[-1]
        if some and size > room:
            break
        some.append(row)
    return some


def _whole(connection: Connection, table: Table, key: Key, row: Any) -> bytes | None:
    """Return a row's body with the pieces that follow it; None when it is damaged."""
    body: bytes = row.body
    if len(body) in {0, PIECE_BYTES}:
        query = at(select(PIECE.c.body), PIECE, key).where(PIECE.c.kind == table.name)
        query = query.where(PIECE.c.seq == row.seq).order_by(PIECE.c.place)
        body = b"".join([body, *connection.execute(query).scalars()])
    return body if zlib.crc32(body) == row.crc else None


def _lost(key: Key, seq: int) -> RefusedError:
    return RefusedError(
        f"delta {seq} of shard {key['topic']}-{key['part']} is damaged or missing; load a snapshot "
        "with 'slatestream restore', or learn anew with 'slatestream reset'"
    )
