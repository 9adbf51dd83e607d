"""An archive of a log: every record of every topic in one SQLite file, where it stood.

A partition is a table of its own, ``events_3``, with the columns offset, stamp (ms), key, value
and the CRC-32 of these four; `topics` holds the ids of the topics, `parts` what of each partition
is there. Any SQLite reads it.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.errors import LogError, LostRecordsError
from streams.log.base import TOPICS, Place, Record, check_topic

__all__ = [
    "APPLICATION",
    "BATCH",
    "FORMAT",
    "Archive",
    "ArchiveLog",
    "ArchivePart",
    "checksum_of",
    "is_archive",
]

FORMAT = 1
BATCH = 5000  # records read or written at a time
SQLITE = b"SQLite format 3\0"
HEADER_BYTES = 100
APPLICATION = int.from_bytes(b"slar", "big")  # what SQLite's header says the file is


@dataclass(frozen=True, kw_only=True)
class ArchivePart:
    """What is there of a partition: ``records`` from offset ``begin`` to before ``end``."""

    topic: str
    topic_id: str
    partition: int
    begin: int
    end: int
    records: int


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What a file holds; ``made_ms`` is the archived log's own time, ``size`` is in bytes."""

    path: Path
    made_ms: int
    size: int
    parts: tuple[ArchivePart, ...]


def is_archive(path: Path) -> bool:
    """Whether a file says of itself that it is an archive; raises ``LogError``."""
    return _read_header(path)[68:72] == APPLICATION.to_bytes(4, "big")


class ArchiveLog:
    """A log read from an archive: offsets, stamps and ids are those of the log archived.

    Threads may share it.

    Attributes
    ----------
    archive
        What the file holds.

    Raises
    ------
    LogError
        When the file is no archive, is cut short, or was made by a later release.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _check_whole(self.path)
        self._lock = threading.Lock()
        with self._wrapped("open"):
            self._file = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._wrapped("open"):
                self.archive = _read_contents(self._file, self.path)
        except LogError:
            self.close()
            raise
        self._parts = {(part.topic, part.partition): part for part in self.archive.parts}

    def topic_id(self, topic: str) -> str:
        """Return the id of the topic archived; raises LogError when it is not there."""
        return self._part(topic, 0).topic_id

    def partitions(self, topic: str) -> int:
        """Return the number of partitions archived, 0 for a topic that there was not."""
        check_topic(topic)
        return sum(part.topic == topic for part in self.archive.parts)

    def now_ms(self) -> int:
        """Return the log's time when it was archived."""
        return self.archive.made_ms

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Refuse: raises LogError."""
        del topic, entries, partition
        raise LogError(f"archive {self.path} is for reading; append to the log itself")

    def poll(self, topic: str, offset: int, limit: int, partition: int = 0) -> list[Record]:
        """Up to ``limit`` records from ``offset`` on, [] at the end.

        Raises
        ------
        LostRecordsError
            When the archive begins after ``offset``.
        LogError
            When a record is damaged, or the file cannot be read.
        """
        part = self._part(topic, partition)
        if offset < part.begin:
            raise LostRecordsError(
                f"records {offset} to {part.begin - 1} of {topic}-{partition} are not in archive "
                f"{self.path}: the log held them no more when it was archived"
            )
        query = (
            f"SELECT offset, stamp, key, value, crc FROM {topic}_{partition} "  # noqa: S608
            "WHERE offset >= ? ORDER BY offset LIMIT ?"
        )
        with self._lock, self._wrapped("read"):
            rows = self._file.execute(query, (offset, max(limit, 0))).fetchall()
        return self._checked(part, rows)

    def begin(self, topic: str, partition: int = 0) -> int:
        """Offset of the oldest record the log still kept."""
        return self._part(topic, partition).begin

    def end(self, topic: str, partition: int = 0) -> int:
        """Offset after the last record."""
        return self._part(topic, partition).end

    def check(self) -> None:
        """Read everything; raises ``LogError`` when something is damaged or missing."""
        for part in self.archive.parts:
            offset, found = part.begin, 0
            while records := self.poll(part.topic, offset, BATCH, part.partition):
                offset, found = records[-1].offset + 1, found + len(records)
            if (offset, found) != (part.end, part.records):
                raise LogError(
                    f"archive {self.path} is damaged: {part.topic}-{part.partition} has {found} "
                    f"records up to {offset} and should have {part.records} up to {part.end}"
                )

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()

    def _part(self, topic: str, partition: int) -> ArchivePart:
        part = self._parts.get((check_topic(topic), partition))
        if part is None:
            count = self.partitions(topic)
            raise LogError(
                f"partition is {partition}; archive {self.path} has {count} of {topic}, from 0"
                if count
                else f"archive {self.path} has no topic {topic}"
            )
        return part

    def _checked(
        self, part: ArchivePart, rows: Iterable[tuple[int, int, str, bytes, int]]
    ) -> list[Record]:
        records = []
        for row in rows:
            record, checksum = Record(*row[:4]), row[4]
            if checksum_of(record) != checksum:
                raise LogError(
                    f"archive {self.path} is damaged: {part.topic}-{part.partition} at offset "
                    f"{record.offset} is not what was archived; archive the log anew"
                )
            records.append(record)
        return records

    @contextmanager
    def _wrapped(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeError, AttributeError, TypeError) as error:
            raise LogError(f"cannot {verb} archive {self.path}: {error}") from error


def checksum_of(record: Record) -> int:
    """CRC-32 of all that a record is."""
    head = f"{record.offset} {record.stamp} {record.key}".encode()
    return zlib.crc32(record.value, zlib.crc32(head))


def _read_header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}") from error


def _check_whole(path: Path) -> None:
    """See that it is an archive with as many bytes as its header says: SQLite itself reads on."""
    header = _read_header(path)
    mark = APPLICATION.to_bytes(4, "big")
    if len(header) < HEADER_BYTES or not header.startswith(SQLITE) or header[68:72] != mark:
        raise LogError(
            f"{path} is no archive of a log; give a file that 'slatestream export' wrote"
        )
    page, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    whole = pages * (65536 if page == 1 else page)
    size = path.stat().st_size
    if size != whole:
        raise LogError(
            f"archive {path} is not whole: it has {size:,} bytes and should have {whole:,}; copy "
            "it again, or archive the log anew"
        )


def _read_contents(file: sqlite3.Connection, path: Path) -> Archive:
    meta = file.execute("SELECT format, made_ms FROM meta").fetchone()
    if meta is None or meta[0] != FORMAT:
        raise LogError(
            f"archive {path} has format {meta[0] if meta else 'none'}; this release reads "
            f"{FORMAT}: install the one that wrote it, or a later one"
        )
    ids = dict(file.execute("SELECT topic, id FROM topics"))
    rows = file.execute("SELECT topic, part, first, last, records FROM parts").fetchall()
    parts = [
        ArchivePart(
            topic=topic, topic_id=ids[topic], partition=part, begin=begin, end=end, records=records
        )
        for topic, part, begin, end, records in rows
    ]
    parts.sort(key=lambda each: (TOPICS.index(each.topic), each.partition))
    return Archive(path=path, made_ms=meta[1], size=path.stat().st_size, parts=tuple(parts))
