"""Put back or forget what a store holds, under the feet of the learners that run.

Either is one transaction. Every shard's epoch rises, so whoever learned it is fenced and takes it
over again from what stands there then; its sequence number rises too, and a whole base stands
at it, so that publishers drop what they had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, text

from streams.agenda import JoinPoint
from streams.blobs import at, drop_bodies, key_of, write_row
from streams.database import Database
from streams.errors import RefusedError
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.positions import START, Position, from_row, to_row
from streams.snapshots import BodyFrame, ClosedFrame, ShardFrame, Snapshot, read_frames
from streams.tables import BASE, CLOSED, DELTA, SHARD

__all__ = ["Topic", "find_topics", "reset", "restore"]

Row = dict[str, Any]
Rows = dict[tuple[str, int], Row]

EMPTY = msgspec.msgpack.encode({})


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic as it is now: its identity, and the offsets kept of every partition."""

    name: str
    log: str
    kept: tuple[range, ...]


def find_topics(log: EventLog) -> dict[str, Topic]:
    """Ask a log for the topics that learners read; raises ``LogError``."""
    return {
        name: Topic(
            name=name,
            log=log.topic_id(name),
            kept=tuple(range(log.begin(name, part), log.end(name, part)) for part in range(count)),
        )
        for name in (EVENTS, OUTCOMES)
        if (count := log.partitions(name))
    }


def restore(
    database: Database, snapshot: Snapshot, topics: Mapping[str, Topic], *, force: bool = False
) -> list[Position]:
    """Put a snapshot's state in the place of what a store holds; returns the shards as they are.

    Shards that were not learned yet when the snapshot was taken are learned anew.

    Parameters
    ----------
    force
        Also when the log's topics have other identities than those the state was learned from:
        for topics copied record by record, every record at its old offset.

    Raises
    ------
    RefusedError
        When the log does not hold, any more or at all, what the state was learned from.
    SnapshotError
        When the file is damaged; nothing is changed then.
    StoreError
        When the store cannot be written; nothing is changed then.
    """
    for row in snapshot.shards:
        _check_fits(from_row(row), topics, force=force)
    with database.writing("restore") as connection:
        before = _hold_rows(database, connection)
        _put_back(connection, snapshot, before, topics)
        taken = {(row["topic"], row["part"]) for row in snapshot.shards}
        for row in _fresh_rows(before, topics, end=False):
            if (row["topic"], row["part"]) not in taken:
                _Renewal(connection, row, before).finish()
        return list(map(from_row, _read_rows(connection).values()))


def reset(
    database: Database, topics: Mapping[str, Topic], *, from_end: bool = False
) -> list[Position]:
    """Forget all that was learned, to learn anew; returns the shards as they are.

    Learning begins at the oldest record kept, or at the end. The settings in force there are those
    of the log; where records before it existed, they are those in force last.

    Raises
    ------
    StoreError
        When the store cannot be written; nothing is changed then.
    """
    with database.writing("reset") as connection:
        before = _hold_rows(database, connection)
        for row in _fresh_rows(before, topics, end=from_end):
            _Renewal(connection, row, before).finish()
        return list(map(from_row, _read_rows(connection).values()))


class _Renewal:
    """A shard whose rows are replaced: first its base, then deltas, all under new numbers."""

    def __init__(self, connection: Connection, row: Row, before: Rows) -> None:
        self._connection = connection
        self._key = key_of(str(row["topic"]), int(row["part"]))
        held = before.get((self._key["topic"], self._key["part"]), row)
        self._row = {**row, "epoch": max(held["epoch"], row["epoch"]) + 1}
        self._seq = self._last = max(held["seq"], row["seq"])
        for table in (SHARD, CLOSED):
            connection.execute(at(delete(table), table, self._key))
        for table in (BASE, DELTA):
            drop_bodies(connection, table, self._key)

    def add_body(self, frame: BodyFrame) -> None:
        """Write the next base or delta."""
        self._seq += 1
        table = BASE if frame.base else DELTA
        write_row(self._connection, table, self._key, self._seq, frame.body)

    def add_closed(self, frame: ClosedFrame) -> None:
        """Write requests closed; they keep their number, which no later commit gets."""
        columns = {"seq": frame.seq, "forget": frame.forget, "body": frame.body}
        self._connection.execute(insert(CLOSED).values(**self._key, **columns))

    def finish(self) -> None:
        """Write the shard's row; without a base before, that of a state that learned nothing."""
        if self._seq == self._last:
            self.add_body(BodyFrame(base=True, body=EMPTY))
        self._connection.execute(insert(SHARD).values(**{**self._row, "seq": self._seq}))


def _put_back(
    connection: Connection, snapshot: Snapshot, before: Rows, topics: Mapping[str, Topic]
) -> None:
    renewal: _Renewal | None = None
    for frame in read_frames(snapshot.path):
        if isinstance(frame, ShardFrame):
            if renewal is not None:
                renewal.finish()
            row = {**frame.row, "log": topics[str(frame.row["topic"])].log}
            renewal = _Renewal(connection, row, before)
        elif isinstance(frame, BodyFrame) and renewal is not None:
            renewal.add_body(frame)
        elif isinstance(frame, ClosedFrame) and renewal is not None:
            renewal.add_closed(frame)
    if renewal is not None:
        renewal.finish()


def _hold_rows(database: Database, connection: Connection) -> Rows:
    """Read every shard's row, and let nobody claim or commit before this transaction ends."""
    if database.dialect == "postgresql":  # SQLite's transaction does so by itself
        connection.execute(text("LOCK TABLE shard IN SHARE ROW EXCLUSIVE MODE"))
    return _read_rows(connection)


def _read_rows(connection: Connection) -> Rows:
    rows = connection.execute(select(SHARD).order_by(SHARD.c.topic, SHARD.c.part)).all()
    return {(row.topic, row.part): row._asdict() for row in rows}


def _fresh_rows(before: Rows, topics: Mapping[str, Topic], *, end: bool) -> Iterator[Row]:
    """Rows of shards that learned nothing, for all there are; with ``end``, of events, that may be.

    A partition that the log has no more keeps a row, empty: its epoch must not go back.
    """
    possible = {(EVENTS, part) for part in range(len(topics[EVENTS].kept))}
    known = [row for (name, _), row in before.items() if name == EVENTS]
    newest = max(known, key=lambda row: row["clock"], default=None)
    for name, part in sorted({*before, *(possible if end else ())}):
        topic = topics.get(name) or _gone(before[name, part])
        kept = topic.kept[part] if part < len(topic.kept) else range(0)
        begin = kept.stop if end else kept.start
        fresh = Position.fresh(name, part, topic.log, len(topic.kept), begin)
        if name == EVENTS and begin and newest is not None:
            config = from_row(newest).config  # what brought it into the log may be gone
            fresh = replace(fresh, config=config, join_point=JoinPoint(begin, 0, config))
        row = {**key_of(name, part), "log": topic.log, "partitions": len(topic.kept), "epoch": 0}
        row |= to_row(fresh)
        if name == OUTCOMES and begin:
            row["chain"] = json.dumps({START: [begin, 0]})
        yield row


def _gone(row: Row) -> Topic:
    return Topic(name=row["topic"], log=row["log"], kept=(range(0),) * row["partitions"])


def _check_fits(position: Position, topics: Mapping[str, Topic], *, force: bool) -> None:
    shard = f"{position.topic}-{position.partition}"
    topic = topics.get(position.topic)
    if topic is None or len(topic.kept) != position.partitions:
        found = len(topic.kept) if topic else 0
        raise RefusedError(
            f"the snapshot's topic {position.topic} had {position.partitions} partitions and the "
            f"log's has {found}; give the log that the state was learned from"
        )
    if topic.log != position.log and not force:
        raise RefusedError(
            f"the snapshot was learned from topic {position.topic} with id {position.log}, and the "
            f"log's has id {topic.log}: it is another topic. If it was copied record by record, "
            "every one at its old offset, pass --force; else learn anew with 'slatestream reset'"
        )
    kept = topic.kept[position.partition]
    if not kept.start <= position.join_point.offset <= position.next_offset <= kept.stop:
        raise RefusedError(
            f"the snapshot's state of {shard} was learned up to offset {position.next_offset} and "
            f"needs records from {position.join_point.offset} on; the log holds {kept.start} to "
            f"{kept.stop}. Give a snapshot that fits, or learn anew with 'slatestream reset'"
        )
