"""A store's state in one file: every shard as of one moment, to be put back some day.

The file is a line that tells what it is, then frames: checksum, length, and as many bytes of
MessagePack. The last frame holds a hash of all before it, so that a file cut short or changed
anywhere is never taken for whole. Neither writing nor reading holds more than one body at a time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import Connection, select

from engine.errors import SnapshotError
from streams.blobs import at, key_of, read_base, read_deltas
from streams.database import Database
from streams.errors import StoreError
from streams.tables import CLOSED, SHARD

__all__ = [
    "BodyFrame",
    "ClosedFrame",
    "Frame",
    "ShardFrame",
    "Snapshot",
    "open_snapshot",
    "read_frames",
    "write_snapshot",
]

MAGIC = b"slatestream snapshot\n"
FORMAT = 1
HEAD = struct.Struct(">II")  # crc-32 and length of what follows


class HeaderFrame(msgspec.Struct, frozen=True, tag="header"):
    """When the snapshot was taken, ms since the epoch."""

    format: int
    made_ms: int


class ShardFrame(msgspec.Struct, frozen=True, tag="shard"):
    """A shard's row; its bodies and closed requests follow."""

    row: dict[str, int | str]


class BodyFrame(msgspec.Struct, frozen=True, tag="body"):
    """A base, first, or a delta."""

    base: bool
    body: bytes


class ClosedFrame(msgspec.Struct, frozen=True, tag="closed"):
    """Requests that a commit closed."""

    seq: int
    forget: int
    body: bytes


class EndFrame(msgspec.Struct, frozen=True, tag="end"):
    """That nothing is missing."""

    sha256: bytes


Frame = HeaderFrame | ShardFrame | BodyFrame | ClosedFrame | EndFrame
_DECODER: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a file holds: when it was taken, and how far every shard was; ``size`` in bytes."""

    path: Path
    made_ms: int
    shards: tuple[dict[str, Any], ...]
    size: int


def write_snapshot(database: Database, path: Path) -> Snapshot:
    """Write a file of everything that was learned, as of now; learners go on meanwhile.

    Raises
    ------
    SnapshotError
        When the file exists, or cannot be written.
    StoreError
        When the store cannot be read, holds nothing, or is damaged.
    """
    aside = path.with_name(f"{path.name}.part")
    if path.exists():
        raise SnapshotError(f"{path} exists; give another file, or remove it")
    try:
        private = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(private, "wb") as file:
            with database.reading() as connection:
                _write(connection, file, database.name)
            file.flush()
            os.fsync(file.fileno())
        snapshot = open_snapshot(aside)  # read back: a disk that lies is found out now
        aside.rename(path)
    except OSError as error:
        raise SnapshotError(f"snapshot {path} cannot be written: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
    return replace(snapshot, path=path)


def open_snapshot(path: Path) -> Snapshot:
    """Check a whole file; returns what it holds.

    Raises
    ------
    SnapshotError
        When it cannot be read, is damaged or cut short, or was made by a later release.
    """
    made_ms, shards = 0, []
    for frame in read_frames(path):
        if isinstance(frame, HeaderFrame):
            made_ms = frame.made_ms
        if isinstance(frame, ShardFrame):
            shards.append(frame.row)
    return Snapshot(path=path, made_ms=made_ms, shards=tuple(shards), size=path.stat().st_size)


def read_frames(path: Path) -> Iterator[Frame]:
    """Read a file's frames in order; raises ``SnapshotError`` at the first that is damaged."""
    try:
        with path.open("rb") as file:
            yield from _read(file, path)
    except OSError as error:
        raise SnapshotError(f"snapshot {path} cannot be read: {error.strerror}") from error


def _write(connection: Connection, file: IO[bytes], name: str) -> None:
    digest = hashlib.sha256(MAGIC)
    file.write(MAGIC)

    def put(frame: Frame) -> None:
        payload = msgspec.msgpack.encode(frame)
        head = HEAD.pack(zlib.crc32(payload), len(payload))
        for part in (head, payload):
            digest.update(part)
            file.write(part)

    put(HeaderFrame(FORMAT, time.time_ns() // 1_000_000))
    rows = connection.execute(select(SHARD).order_by(SHARD.c.topic, SHARD.c.part)).all()
    if not rows:
        raise StoreError(f"store {name} holds nothing yet: no learner committed to it")
    for row in rows:
        put(ShardFrame(row._asdict()))
        key = key_of(row.topic, row.part)
        seq, base = read_base(connection, key)
        put(BodyFrame(base=True, body=base))
        for delta in read_deltas(connection, key, seq, row.seq):
            put(BodyFrame(base=False, body=delta))
        query = at(select(CLOSED), CLOSED, key).execution_options(yield_per=100)
        for closed in connection.execute(query.where(CLOSED.c.forget > row.clock)):
            put(ClosedFrame(closed.seq, closed.forget, closed.body))
    put(EndFrame(digest.digest()))


def _read(file: IO[bytes], path: Path) -> Iterator[Frame]:
    if file.read(len(MAGIC)) != MAGIC:
        raise SnapshotError(f"{path} is no snapshot; give a file that 'slatestream snapshot' wrote")
    digest = hashlib.sha256(MAGIC)
    damaged = SnapshotError(f"snapshot {path} is damaged or not whole; give another")
    while True:
        head = file.read(HEAD.size)
        if len(head) != HEAD.size:
            raise damaged
        checksum, length = HEAD.unpack(head)
        payload = file.read(length)
        if len(payload) != length or zlib.crc32(payload) != checksum:
            raise damaged
        frame = _decode(payload, path)
        if isinstance(frame, EndFrame):
            if frame.sha256 != digest.digest() or file.read(1):
                raise damaged
            return
        digest.update(head)
        digest.update(payload)
        yield frame


def _decode(payload: bytes, path: Path) -> Frame:
    try:
        frame = _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"snapshot {path} was made by a later release: {error}") from error
    if isinstance(frame, HeaderFrame) and frame.format != FORMAT:
        raise SnapshotError(
            f"snapshot {path} has format {frame.format}; this release reads {FORMAT}: "
            "install the one that wrote it, or a later one"
        )
    return frame
