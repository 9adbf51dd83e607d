"""A process that folds seeded events into a table, and keeps deltas in a file; killed at any time.

The file is frames of (batches done, length, CRC-32, delta). A frame that is not whole is its torn
tail: what is behind it is written again.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from pathlib import Path

from engine.embeddings.config import TableConfig
from engine.embeddings.saving import restore_table, save_changes, save_table
from engine.embeddings.table import EmbeddingTable
from tests.engine.embeddings.tables import learn, mixed_config, stream

FRAME = struct.Struct("<QQI")
BATCH = 200


def config() -> TableConfig:
    return mixed_config(900, seed=11)


def frames(data: bytes) -> list[tuple[int, bytes, int]]:
    """The whole frames of a file: batches done, delta, where the frame ends."""
    found, at = [], 0
    while at + FRAME.size <= len(data):
        done, length, crc = FRAME.unpack_from(data, at)
        delta = data[at + FRAME.size : at + FRAME.size + length]
        if len(delta) < length or zlib.crc32(delta, done) != crc:
            break
        at += FRAME.size + length
        found.append((done, delta, at))
    return found


def fold(path: Path, batches: int) -> EmbeddingTable:
    """Go on from what the file holds, to the last batch."""
    table, done, end = EmbeddingTable(config()), 0, 0
    for frame in frames(path.read_bytes() if path.exists() else b""):
        done, end = frame[0], frame[2]
        restore_table(table, frame[1])
    events = stream(9, batches * BATCH, config(), keys=3000)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, end)
    os.lseek(file, end, os.SEEK_SET)
    for number in range(done, batches):
        learn(table, events, number * BATCH, (number + 1) * BATCH)
        table.erase(events["keys"][number * BATCH : number * BATCH + 5])
        if number % 3 == 2 or number == batches - 1:
            delta = save_changes(table)
            told = FRAME.pack(number + 1, len(delta), zlib.crc32(delta, number + 1)) + delta
            for start in range(0, len(told), 4096):  # many writes: many places to be killed at
                os.write(file, told[start : start + 4096])
            os.fsync(file)
            table.mark_saved()
    os.close(file)
    return table


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    whole = save_table(fold(folder / "deltas", int(sys.argv[2])))
    (folder / "part").write_bytes(whole)
    (folder / "part").rename(folder / "whole")
