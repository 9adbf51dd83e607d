"""Writing an archive of a log: a copy of what there is of it now, while appends go on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from engine.errors import ConfigError
from streams.errors import LogError
from streams.log.archive import APPLICATION, BATCH, FORMAT, Archive, ArchiveLog, checksum_of
from streams.log.base import EVENTS, TOPICS, EventLog, Record
from streams.log.prefix import Prefix

__all__ = ["write_archive"]

SCHEMA = """
CREATE TABLE meta (format INTEGER NOT NULL, made_ms INTEGER NOT NULL);
CREATE TABLE topics (topic TEXT PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE parts (
    topic TEXT NOT NULL, part INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    records INTEGER NOT NULL, PRIMARY KEY (topic, part)
);
"""


Progress = Callable[[int, int], None]


def write_archive(log: EventLog, path: Path, progress: Progress | None = None) -> Archive:
    """Copy every partition of every topic, from its oldest record to its end as of now.

    Appends may go on meanwhile. The file is written aside and named when it is whole.

    Parameters
    ----------
    progress
        Called with how many offsets are copied, and how many there are to be.

    Raises
    ------
    ConfigError
        When the file exists.
    LogError
        When the log cannot be read, loses records meanwhile, has no events, or the file cannot be
        written.
    """
    if path.exists():
        raise ConfigError(f"{path} exists; give another file, or remove it")
    prefix = log if isinstance(log, Prefix) else Prefix(log)
    if not prefix.partitions(EVENTS):
        raise LogError(f"the log has no topic {EVENTS}: there is nothing to archive")
    aside = path.with_name(f"{path.name}.part")
    try:
        private = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write(prefix, aside, progress)
            os.fsync(private)
        finally:
            os.close(private)
        with closing(ArchiveLog(aside)) as written:
            written.check()
            archive = replace(written.archive, path=path)
        prefix.check_same()
        aside.rename(path)
    except (OSError, sqlite3.Error, UnicodeError) as error:
        raise LogError(f"archive {path} cannot be written: {error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return archive


def _write(log: Prefix, path: Path, progress: Progress | None) -> None:
    places = [(topic, part) for topic in TOPICS for part in range(log.partitions(topic))]
    total = sum(log.end(*place) - log.begin(*place) for place in places)
    done = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        # Nobody reads it before it is whole, and what is not whole is thrown away.
        file.execute("PRAGMA journal_mode = OFF")
        file.execute("PRAGMA synchronous = OFF")
        file.execute(f"PRAGMA application_id = {APPLICATION}")
        file.executescript(f"BEGIN; {SCHEMA}")
        file.execute("INSERT INTO meta VALUES (?, ?)", (FORMAT, log.now_ms()))
        for topic in dict.fromkeys(topic for topic, _ in places):
            file.execute("INSERT INTO topics VALUES (?, ?)", (topic, log.topic_id(topic)))
        for topic, part in places:
            # Asked only now: retention goes on while others are copied.
            begin = end = log.begin(topic, part)
            copied = 0
            for records in _copy(log, topic, part, begin, file):
                end, copied = records[-1].offset + 1, copied + len(records)
                if progress is not None:
                    progress(min(done + end - begin, total), total)
            done += end - begin
            row = (topic, part, begin, end, copied)
            file.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", row)
        file.execute("COMMIT")


def _copy(
    log: Prefix, topic: str, part: int, begin: int, file: sqlite3.Connection
) -> Iterator[Sequence[Record]]:
    table = f"{topic}_{part}"
    file.execute(
        f"CREATE TABLE {table} (offset INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, "
        "key TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL)"
    )
    offset = begin
    while records := log.poll(topic, offset, BATCH, part):
        rows = ((*record, checksum_of(record)) for record in records)
        file.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", rows)  # noqa: S608
        yield records
        offset = records[-1].offset + 1
