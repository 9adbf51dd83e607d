"""Dead letters: written with the commit that counts them, read and appended again by operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, inspect, select, update

from engine.errors import ConfigError
from streams.database import Database
from streams.errors import BadEventError
from streams.events import Item, Pool, User, decode_event
from streams.log.base import EVENTS, EventLog, Place
from streams.positions import Position
from streams.requests import DeadLetter
from streams.tables import DEAD

__all__ = [
    "VALUE_BYTES",
    "LetterRead",
    "Source",
    "count_dead_letters",
    "read_dead_letter",
    "read_dead_letters",
    "requeue",
    "write_dead",
]

VALUE_BYTES = 16_384  # of each value; a reply of many stays small
TEXT = 1000  # characters kept of a detail or a pointer


class Source(NamedTuple):
    """Where a record stood that could not be used; written ``topic-partition-offset``."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read it as it is written; raises ``ConfigError``."""
        topic, *numbers = text.rsplit("-", 2)
        if len(numbers) != 2 or not all(n.isascii() and n.isdigit() for n in numbers):
            raise ConfigError(
                f"source is {text!r}; give topic-partition-offset, as 'slatestream dead list' shows"
            )
        return cls(topic, int(numbers[0]), int(numbers[1]))

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, kw_only=True)
class LetterRead:
    """A record that could not be used: where it is, why, and its value or how that begins.

    ``size`` is the whole value's, in bytes. ``requeued_ms`` is when it was appended again, and
    ``requeued_offset`` where in its partition; None when it was not.
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

    @property
    def source(self) -> Source:
        """Where it is."""
        return Source(self.topic, self.partition, self.offset)


def read_dead_letters(
    where: str | Path, limit: int, *, reason: str | None = None
) -> list[LetterRead]:
    """Read the latest dead letters of a store, newest first; ``reason`` wants only its own.

    Of each value there are no more than `VALUE_BYTES`. The store is opened read-only, so that a
    claim or a commit is never kept waiting. Before a learner opened it there are none.

    Raises
    ------
    StoreError
        When the store cannot be read.
    """
    query = _letters(func.substr(DEAD.c.value, 1, VALUE_BYTES).label("value"))
    query = query.order_by(DEAD.c.stamp.desc(), DEAD.c.topic, DEAD.c.part, DEAD.c.offset.desc())
    if reason is not None:
        query = query.where(DEAD.c.reason == reason)
    return [LetterRead(**row) for row in _read(where, query.limit(limit))]


def read_dead_letter(where: str | Path, source: Source) -> LetterRead:
    """Read one dead letter, its whole value.

    Raises
    ------
    ConfigError
        When there is none.
    StoreError
        When the store cannot be read.
    """
    found = _read(where, _at(_letters(DEAD.c.value), source))
    if not found:
        raise _unknown(source)
    return LetterRead(**found[0])


def count_dead_letters(where: str | Path) -> dict[str, int]:
    """Count the dead letters of a store by reason. Raises StoreError."""
    query = select(DEAD.c.reason, func.count().label("letters")).group_by(DEAD.c.reason)
    return {row["reason"]: row["letters"] for row in _read(where, query.order_by(DEAD.c.reason))}


def requeue(
    database: Database,
    log: EventLog,
    source: Source,
    *,
    value: bytes | None = None,
    again: bool = False,
) -> Place:
    """Append a dead letter to the partition it came from, and note that; returns its new place.

    Parameters
    ----------
    value
        What to append in the place of what it held.
    again
        Also when it was appended before: the joiner tells a repeat apart only as long as it
        remembers the request.

    Raises
    ------
    ConfigError
        When there is no such letter, it was appended before, or its value cannot be decoded.
    StoreError, LogError
        When the store or the log cannot be used. It was noted only if it was appended; appended,
        and not noted, it can only be when the store failed at the last moment.
    """
    if source.topic != EVENTS:
        raise ConfigError(
            f"{source} is of topic {source.topic}, whose records follow on one another: only those "
            f"of {EVENTS} can be appended again"
        )
    # The row stays locked until it is noted, so that of two operators one appends.
    with database.writing("requeue a dead letter of") as connection:
        row = connection.execute(_at(select(DEAD), source).with_for_update()).first()
        if row is None:
            raise _unknown(source)
        if row.requeued_ms is not None and not again:
            raise ConfigError(
                f"{source} was appended again before, at offset {row.requeued_offset}; pass "
                "--again to do so once more"
            )
        body = row.value if value is None else value
        entry = (_check(body, source), body)
        place = log.append(EVENTS, [entry], source.partition)[0]
        noted = {"requeued_ms": log.now_ms(), "requeued_offset": place.offset}
        connection.execute(_at(update(DEAD), source).values(**noted))
    return place


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
    # PostgreSQL's text holds neither of these, and a bad event may hold both. What is wrong may be
    # told by repeating it, and that may be all of the value.
    text = text if len(text) <= TEXT else f"{text[:TEXT]}…"
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _check(value: bytes, source: Source) -> str:
    """Decode a value that is to be appended; returns its key."""
    try:
        event = decode_event(value)
    except BadEventError as error:
        raise ConfigError(
            f"{source} would be dead again: {error}; repair its value and pass it with --value"
        ) from error
    if isinstance(event, Item | User | Pool):
        raise ConfigError(
            f"{source} would be dead again: items, users and pools are put through the service's "
            "own routes, not into this log"
        )
    return getattr(event, "request_id", "")


def _letters(value: Any) -> Select[Any]:
    columns = [each for each in DEAD.c if each.name not in {"part", "value"}]
    size = func.length(DEAD.c.value).label("size")
    return select(*columns, DEAD.c.part.label("partition"), value, size)


def _at(statement: Any, source: Source) -> Any:
    place = (DEAD.c.topic, DEAD.c.part, DEAD.c.offset)
    for column, wanted in zip(place, source, strict=True):
        statement = statement.where(column == wanted)
    return statement


def _unknown(source: Source) -> ConfigError:
    return ConfigError(
        f"there is no dead letter {source}; 'slatestream dead list' shows those there are"
    )


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
