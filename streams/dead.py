"""Dead letters: written with the commit that counts them, read by whoever runs the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, inspect, select

from streams.database import Database
from streams.positions import Position
from streams.requests import DeadLetter
from streams.tables import DEAD

__all__ = ["VALUE_BYTES", "LetterRead", "count_dead_letters", "read_dead_letters", "write_dead"]

VALUE_BYTES = 16_384  # of each value; a reply of many stays small


@dataclass(frozen=True, kw_only=True)
class LetterRead:
    """A record that could not be used: where it is, why, and how its value begins.

    ``size`` is the whole value's, in bytes; ``value`` holds no more than `VALUE_BYTES` of it.
    ``requeued_ms`` is when it was appended again, and ``requeued_offset`` where in its partition;
    None when it was not.
    """

    topic: str
    partition: int
    offset: int
    stamp: int
    reason: str
    detail: str
    pointer: str
    value: bytes
    size: int
    requeued_ms: int | None
    requeued_offset: int | None


def read_dead_letters(
    where: str | Path, limit: int, *, reason: str | None = None
) -> list[LetterRead]:
    """Read the latest dead letters of a store, newest first; ``reason`` wants only its own.

    The store is opened read-only, so that a claim or a commit is never kept waiting. Before a
    learner opened it there are none.

    Raises
    ------
    StoreError
        When the store cannot be read.
    """
    columns = [each for each in DEAD.c if each.name not in {"part", "value"}]
    query = (
        select(
            *columns,
            DEAD.c.part.label("partition"),
            func.substr(DEAD.c.value, 1, VALUE_BYTES).label("value"),
            func.length(DEAD.c.value).label("size"),
        )
        .order_by(DEAD.c.stamp.desc(), DEAD.c.topic, DEAD.c.part, DEAD.c.offset.desc())
        .limit(limit)
    )
    if reason is not None:
        query = query.where(DEAD.c.reason == reason)
    return [LetterRead(**row) for row in _read(where, query)]


def count_dead_letters(where: str | Path) -> dict[str, int]:
    """Count the dead letters of a store by reason. Raises StoreError."""
    query = select(DEAD.c.reason, func.count().label("letters")).group_by(DEAD.c.reason)
    return {row["reason"]: row["letters"] for row in _read(where, query.order_by(DEAD.c.reason))}


def write_dead(
    connection: Connection, database: Database, position: Position, letters: Sequence[DeadLetter]
) -> None:
    """Write the dead letters of a commit; one that is there from an earlier fold is replaced.

    What was noted of its being appended again stays.
    """
    if not letters:
        return
    insert = database.insert(DEAD)
    replaced = ("stamp", "reason", "detail", "pointer", "value")
    statement = insert.on_conflict_do_update(
        index_elements=["topic", "part", "offset"],
        set_={name: insert.excluded[name] for name in replaced},
    )
    rows = {letter.offset: _row(position, letter) for letter in letters}
    connection.execute(statement, list(rows.values()))


def _row(position: Position, letter: DeadLetter) -> dict[str, object]:
    return {
        **letter._asdict(),
        "topic": position.topic,
        "part": position.partition,
        "detail": _storable(letter.detail),
        "pointer": _storable(letter.pointer),
    }


def _storable(text: str) -> str:
    # PostgreSQL's text holds neither of these, and a bad event may hold both.
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _read(where: str | Path, query: Select[Any]) -> list[dict[str, Any]]:
    database = Database(where, read_only=True)
    try:
        if not database.exists():
            return []
        with database.reading() as connection:
            if not inspect(connection).has_table(DEAD.name):
                return []
            return [row._asdict() for row in connection.execute(query)]
    finally:
        database.close()
