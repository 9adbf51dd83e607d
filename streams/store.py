"""Where state is committed: SQL rows that move together with the offset they include.

A commit compares and swaps ``(epoch, next_offset)`` in the same transaction that adds the delta,
so of two learners that believe they own a shard only the one that claimed it last can write. A
commit whose reply was lost is written or not; whoever made it is fenced by its own row or tries
again, and nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, func, select, update

from streams.blobs import (
    Key,
    at,
    forget_closed,
    key_of,
    read_base,
    read_closed,
    read_deltas,
    remove_strays,
    sweep,
    unpack,
    write_base,
    write_bodies,
    write_closed,
)
from streams.database import Database, Durability
from streams.dead import write_dead
from streams.errors import FencedError, RefusedError, StoreError
from streams.migrations import migrate
from streams.positions import Commit, Position, Saved, Tail, from_row, to_row
from streams.tables import BASE, DELTA, PIECE, SHARD

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

    Attributes
    ----------
    database
        Where it is.

    Raises
    ------
    StoreError
        When the database cannot be opened, or its tables are not ours or of a later release.
    """

    def __init__(self, where: str | Path, *, durability: Durability = "process") -> None:
        self.database = Database(where, durability=durability)
        try:
            migrate(self.database)
        except StoreError:
            self.close()
            raise

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
        key = key_of(topic, partition)
        fresh = Position.fresh(topic, partition, log, partitions, begin)
        with self.database.writing("claim") as connection:
            self._check_topic(connection, topic, log, partitions)
            claimed = at(update(SHARD), SHARD, key).values(epoch=SHARD.c.epoch + 1)
            if connection.execute(claimed).rowcount == 0:
                row = {**key, "log": log, "partitions": partitions, "epoch": 0, **to_row(fresh)}
                connection.execute(self.database.insert(SHARD).values(row).on_conflict_do_nothing())
                connection.execute(claimed)
            remove_strays(connection, key)
            return _read_position(connection, key)

    def load(self, position: Position) -> Saved:
        """Read what a claimed shard is restored from.

        A base that does not read as it was written is passed over for the one before it.

        Raises
        ------
        StoreError
            When another claimed the shard since, or what is stored is damaged.
        """
        key = key_of(position.topic, position.partition)
        with self.database.reading() as connection:
            if _read_position(connection, key).epoch != position.epoch:
                raise StoreError(
                    f"shard {position.topic}-{position.partition} was claimed by another learner "
                    "before it was read"
                )
            base_seq, base = read_base(connection, key)
            deltas = read_deltas(connection, key, base_seq, position.seq)
            return Saved(
                base=unpack(base),
                deltas=list(map(unpack, deltas)),
                closed=read_closed(connection, key, position.clock),
            )

    def check_owned(self, position: Position) -> None:
        """Raise ``FencedError`` when a shard was claimed by another since, or put back."""
        key = key_of(position.topic, position.partition)
        with self.database.reading() as connection:
            epoch = connection.execute(at(select(SHARD.c.epoch), SHARD, key)).scalar()
        if epoch != position.epoch:
            raise _fenced(position)

    def tail(self, seen: Mapping[tuple[str, int], int]) -> list[Tail]:
        """Read what was committed of every shard since ``seq`` in ``seen``, all as of one moment.

        Shards come in the order of topic and partition; those without news are left out.
        """
        with self.database.reading() as connection:
            heads = connection.execute(select(SHARD.c.topic, SHARD.c.part, SHARD.c.seq)).all()
            # One that went back is another store in the place of the one seen.
            fresh = [(t, p) for t, p, seq in heads if seq != seen.get((t, p), 0)]
            return [_read_tail(connection, key_of(*one), seen.get(one, 0)) for one in sorted(fresh)]

    def commit(self, position: Position, commit: Commit) -> Position:
        """Write a commit on top of a position, all or nothing; returns the new position.

        Raises
        ------
        FencedError
            When another learner claimed the shard since. Nothing was written.
        StoreError
            When the database cannot be used. Mostly nothing was written; should the connection
            have been lost just when all was, the next commit raises FencedError.
        """
        key = key_of(position.topic, position.partition)
        after = position.after(commit)
        with self.database.writing("commit to") as connection:
            _move(connection, key, position, after)
            write_bodies(connection, key, after.seq, commit)
            write_closed(connection, key, after.seq, commit.remembered)
            forget_closed(connection, key, commit.clock)
            write_dead(connection, self.database, position, commit.dead)
        return after

    def add_piece(self, position: Position, seq: int, place: int, piece: bytes) -> None:
        """Write a piece of what shall be the base of commit ``seq``; again, when that failed.

        Raises
        ------
        FencedError
            When another learner claimed the shard since. Nothing was written.
        StoreError
            When the database cannot be used.
        """
        key = key_of(position.topic, position.partition)
        row = {**key, "kind": BASE.name, "seq": seq, "place": place, "body": piece}
        with self.database.writing("commit to") as connection:
            _hold(connection, key, position)
            connection.execute(self.database.insert(PIECE).values(row).on_conflict_do_nothing())

    def add_base(self, position: Position, whole: Position, seq: int, crc: int) -> None:
        """Make a base of commit ``seq`` of the pieces added; again, when that failed.

        What is not needed any more since then goes with calls of `sweep`.

        Parameters
        ----------
        whole
            The position that this leads to: `Position.with_base`.
        crc
            CRC-32 of all pieces.

        Raises
        ------
        FencedError
            When another learner claimed the shard since. Nothing was written.
        StoreError
            When the database cannot be used.
        """
        key = key_of(position.topic, position.partition)
        with self.database.writing("commit to") as connection:
            _move(connection, key, position, whole)
            known = at(select(BASE.c.seq), BASE, key).where(BASE.c.seq == seq)
            if connection.execute(known).scalar() is None:
                write_base(connection, key, seq, crc)

    def sweep(self, position: Position, room: int) -> bool:
        """Let go of about ``room`` bytes that only older bases needed; False when none are left.

        Raises
        ------
        FencedError
            When another learner claimed the shard since.
        StoreError
            When the database cannot be used.
        """
        key = key_of(position.topic, position.partition)
        with self.database.writing("commit to") as connection:
            _hold(connection, key, position)
            return sweep(connection, key, room)

    def close(self) -> None:
        """Release all connections."""
        self.database.close()

    def _check_topic(self, connection: Connection, topic: str, log: str, partitions: int) -> None:
        query = select(SHARD.c.log, SHARD.c.partitions).where(SHARD.c.topic == topic).distinct()
        for stored, count in connection.execute(query).all():
            if stored != log:
                raise RefusedError(
                    f"store {self.database.name} holds state learned from topic {topic} with id "
                    f"{stored}, but it has id {log} now: it was created anew. Give the topic the "
                    "state belongs to, load a snapshot of this one with 'slatestream restore', or "
                    "learn anew with 'slatestream reset'"
                )
            if count != partitions:
                raise RefusedError(
                    f"topic {topic} has {partitions} partitions and had {count} when learning "
                    "began: requests moved between partitions while they were open. Keep the "
                    "number, or learn anew with 'slatestream reset'"
                )


def _hold(connection: Connection, key: Key, position: Position) -> None:
    """Let nobody claim a shard before this transaction ends; raises FencedError if one did."""
    owned = at(select(SHARD.c.epoch), SHARD, key).with_for_update()
    if connection.execute(owned).scalar() != position.epoch:
        raise _fenced(position)


def _move(connection: Connection, key: Key, before: Position, after: Position) -> None:
    """Compare and swap a shard's row; raises FencedError when another claimed it."""
    swapped = connection.execute(
        at(update(SHARD), SHARD, key)
        .where(SHARD.c.epoch == before.epoch)
        .where(SHARD.c.next_offset == before.next_offset)
        .where(SHARD.c.seq == before.seq)
        .values(**to_row(after))
    )
    if swapped.rowcount != 1:
        raise _fenced(before)


def _fenced(position: Position) -> FencedError:
    return FencedError(
        f"shard {position.topic}-{position.partition} was claimed by another learner after epoch "
        f"{position.epoch}, or a commit of this one was written whose reply was lost; it must "
        "stop, and may claim the shard again"
    )


def _read_position(connection: Connection, key: Key) -> Position:
    return from_row(connection.execute(at(select(SHARD), SHARD, key)).one()._asdict())


def _read_tail(connection: Connection, key: Key, seen: int) -> Tail:
    position = _read_position(connection, key)
    if 0 < seen < position.seq:
        kept = at(select(func.count()).select_from(DELTA), DELTA, key).where(DELTA.c.seq > seen)
        if connection.execute(kept).scalar() == position.seq - seen:
            deltas = read_deltas(connection, key, seen, position.seq)
            return Tail(position=position, base=None, deltas=list(map(unpack, deltas)))
    base_seq, base = read_base(connection, key)
    deltas = read_deltas(connection, key, base_seq, position.seq)
    return Tail(position=position, base=unpack(base), deltas=list(map(unpack, deltas)))
