"""A process that reads a table another one writes, and counts what it should never see.

Run as ``python -m tests.streams.table_readers FOLDER GENERATION KEYS MAX_ROWS READS PROGRESS``; it
reads so many keys, noting in a file how many by now, and prints what it counted, as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np

from engine.embeddings.config import TableConfig, VectorConfig
from engine.kernels.embeddings import layout as at
from streams.rooms import TableReader

__all__ = ["config", "gradients", "marks"]

WIDTH = 33  # three lines of a cache and a bit


def config(max_rows: int) -> TableConfig:
    """Vectors that begin at 0 and take gradients as they are."""
    vectors = VectorConfig(name="id", dimension=WIDTH, optimizer="sgd", rate=1.0, scale=0.0)
    return TableConfig(features=(vectors,), max_rows=max_rows, sketch_bytes=4096)


def marks(keys):
    """Two numbers that tell keys apart, float64 ``(n,)`` each."""
    return (keys % 997 + 1).astype(float), (keys % 1009 + 1).astype(float)


def gradients(keys):
    """Steps after n of which a key's vector holds n times its marks, one after the other."""
    out = np.empty((len(keys), WIDTH), dtype=np.float32)
    out[:, 0::2], out[:, 1::2] = (-mark[:, None] for mark in marks(keys))
    return out


def look(reader: TableReader, rng: np.random.Generator, most: int, counts: dict) -> None:
    """Read some keys; of those that were admitted before, none evicted, none may be missing."""
    admitted = int(reader.arrays().head[at.ADMITTED])
    keys = rng.integers(1, most, 256).astype(np.uint64)
    vectors, found = reader.lookup(keys)
    counts["looked"] += len(keys)
    counts["found"] += int(found.sum())
    if reader.arrays().head[at.EVICTED] == 0:
        counts["missing"] += int((~found & (keys <= admitted)).sum())
    even, odd = vectors[found, 0::2], vectors[found, 1::2]
    torn = (even != even[:, :1]).any(axis=1) | (odd != odd[:, :1]).any(axis=1)
    first, second = marks(keys[found])
    steps = even[:, 0] / first
    foreign = (steps != np.round(steps)) | (odd[:, 0] / second != steps)
    counts["torn"] += int(torn.sum())
    counts["foreign"] += int(foreign.sum())


def main() -> None:
    folder, generation, most, max_rows, reads, progress = sys.argv[1:]
    reader = TableReader(Path(folder), generation, config(int(max_rows)))
    reader.patience = 60.0  # a writer that is not given a processor is no dead one
    rng = np.random.default_rng(int(generation[:4], 16))
    counts = dict.fromkeys(["looked", "found", "missing", "torn", "foreign"], 0)
    told = np.memmap(progress, dtype=np.int64, mode="r+", shape=(1,))
    sizes, numbers = set(), set()
    while counts["looked"] < int(reads):
        look(reader, rng, int(most), counts)
        sizes.add(int(reader.arrays().cells[0]))
        numbers.add(reader._number)
        told[0] = counts["looked"]
    counts |= {"sizes": len(sizes), "numbers": len(numbers)}
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main()
