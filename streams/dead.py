"""Dead letters as an operator reads them, without disturbing the learner that writes them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from streams.errors import StoreError
from streams.tables import DEAD

__all__ = ["VALUE_BYTES", "LetterRead", "read_dead_letters"]

VALUE_BYTES = 16_384  # of each value; a reply of many stays small


@dataclass(frozen=True, kw_only=True)
class LetterRead:
    """A record that could not be used: where it is, why, and how its value begins.

    ``size`` is the whole value's, in bytes; ``value`` holds no more than `VALUE_BYTES` of it.
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


def read_dead_letters(path: Path, limit: int) -> list[LetterRead]:
    """Read the latest dead letters of a SQLite state file, newest first.

    The file is opened read-only, so that a claim or a commit is never kept waiting. Without a
    file there are none yet.

    Raises
    ------
    StoreError
        When the file cannot be read.
    """
    if not path.exists():
        return []
    uri = f"{path.absolute().as_uri()}?mode=ro"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool
    )
    query = (
        select(
            *(column for column in DEAD.c if column is not DEAD.c.value),
            func.substr(DEAD.c.value, 1, VALUE_BYTES).label("value"),
            func.length(DEAD.c.value).label("size"),
        )
        # Of equal stamps the longer source has the larger offset.
        .order_by(DEAD.c.stamp.desc(), func.length(DEAD.c.source).desc(), DEAD.c.source.desc())
        .limit(limit)
    )
    try:
        with engine.connect() as connection:
            rows = [row._asdict() for row in connection.execute(query)]
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"cannot read dead letters of {path}: {cause}") from error
    return [_letter(**row) for row in rows]


def _letter(*, source: str, **fields: object) -> LetterRead:
    topic, partition, offset = source.rsplit("-", 2)
    where = {"topic": topic, "partition": int(partition), "offset": int(offset)}
    return LetterRead(**where, **fields)  # type: ignore[arg-type]
