"""What a store holds and how it answers, found out without writing to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.sql import column, table

from streams.database import Database
from streams.migrations import VERSION_TABLE
from streams.tables import SHARD

__all__ = ["ShardFacts", "StoreFacts", "inspect_store"]

ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """How far a shard is committed, and of which topic."""

    topic: str
    partition: int
    log: str
    partitions: int
    epoch: int
    next_offset: int
    join_offset: int


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """A store as found.

    ``revision`` is that of its tables, None when they are not there yet; ``seconds`` the shortest
    of some round trips; ``ahead_ms`` how far its clock is ahead of ours, None for a file, which has
    ours.
    """

    name: str
    dialect: str
    revision: str | None
    seconds: float
    ahead_ms: int | None
    shards: Sequence[ShardFacts]


def inspect_store(where: str | Path) -> StoreFacts | None:
    """Look at a store; None when its file does not exist yet.

    Raises
    ------
    StoreError
        When it cannot be read.
    """
    database = Database(where, read_only=True)
    try:
        if not database.exists():
            return None
        with database.reading() as connection:
            seconds = min(_round_trip(connection) for _ in range(ROUNDS))
            ahead = _ahead_ms(connection) if database.dialect == "postgresql" else None
            has = set(inspect(connection).get_table_names())
            revision = None
            if VERSION_TABLE in has:
                versions = table(VERSION_TABLE, column("version_num"))
                revision = connection.execute(select(versions.c.version_num)).scalar()
            shards = _read_shards(connection) if SHARD.name in has else []
    finally:
        database.close()
    return StoreFacts(
        name=database.name,
        dialect=database.dialect,
        revision=revision,
        seconds=seconds,
        ahead_ms=ahead,
        shards=shards,
    )


def _round_trip(connection: Connection) -> float:
    start = time.perf_counter()
    connection.execute(text("SELECT 1")).scalar()
    return time.perf_counter() - start


def _ahead_ms(connection: Connection) -> int:
    before = time.time()
    query = text("SELECT extract(epoch FROM clock_timestamp())")
    theirs = float(connection.execute(query).scalar_one())
    return round(1000 * (theirs - (before + time.time()) / 2))


def _read_shards(connection: Connection) -> list[ShardFacts]:
    columns = ("topic", "log", "partitions", "epoch", "next_offset", "join_offset")
    query = select(*(SHARD.c[name] for name in columns), SHARD.c.part.label("partition"))
    rows = connection.execute(query.order_by(SHARD.c.topic, SHARD.c.part))
    return [ShardFacts(**row._asdict()) for row in rows]
