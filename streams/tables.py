"""The state store's tables: portable SQL, the same on SQLite and PostgreSQL.

A change here takes a new revision in `streams.migrations`, which brings older databases to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = ["BASE", "CLOSED", "DEAD", "DELTA", "METADATA", "PIECE", "SHARD"]

METADATA = MetaData()


def _of_shard() -> tuple[Column[str], Column[int]]:
    return (
        Column("topic", String(64), primary_key=True),
        Column("part", Integer, primary_key=True, autoincrement=False),
    )


# One small row a partition: what commits compare and swap. Blobs live elsewhere, because
# updating a row rewrites all of it.
SHARD = Table(
    "shard",
    METADATA,
    *_of_shard(),
    Column("log", String(64), nullable=False),
    Column("partitions", Integer, nullable=False),  # that the topic had at the first claim
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("clock", BigInteger, nullable=False),
    Column("join_offset", BigInteger, nullable=False),
    Column("join_clock", BigInteger, nullable=False),
    Column("delta_bytes", BigInteger, nullable=False),
    Column("base_bytes", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("join_config", Text, nullable=False),
    Column("chain", Text, nullable=False),  # see streams.positions
)


def _bodies(name: str) -> Table:
    return Table(
        name,
        METADATA,
        *_of_shard(),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("crc", BigInteger, nullable=False),
        Column("body", LargeBinary, nullable=False),
    )


DELTA = _bodies("delta")
BASE = _bodies("base")

# What follows the beginning of a body too long for one row, see streams.blobs.
PIECE = Table(
    "piece",
    METADATA,
    *_of_shard(),
    Column("kind", String(8), primary_key=True),  # name of the body's table
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

CLOSED = Table(
    "closed",
    METADATA,
    *_of_shard(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("forget", BigInteger, nullable=False),  # when the last of them is forgotten
    Column("body", LargeBinary, nullable=False),
    Index("closed_forget", "topic", "part", "forget"),
)

DEAD = Table(
    "dead_letter",
    METADATA,
    *_of_shard(),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("stamp", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("pointer", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("requeued_ms", BigInteger),  # when it was appended again, and where to
    Column("requeued_offset", BigInteger),
    Index("dead_letter_stamp", "stamp"),
    Index("dead_letter_reason", "reason", "stamp"),
)
