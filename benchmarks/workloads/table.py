"""table: vectors of 16 numbers by 64-bit key, a hundred thousand and ten million of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Contender, Contest, Figure
from benchmarks.peers.vector_tables import DictVectors, Keys, TypedVectors, Vectors
from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.table import EmbeddingTable

__all__ = ["contests", "fill", "make_keys", "make_table"]

D = 16
INSERTS = 256  # ids of one call while the table grows
LOOKUPS = 8192  # keys of one call
CALLS = 64
SIZES, QUICK = (100_000, 10_000_000), (300, 2000)
LOAD = 0.9  # of the index, at which it grows
ROUNDS = 7


def contests(quick: bool) -> Iterator[Contest | Figure]:
    """Look-ups of keys that are there, uniform; then how the larger table grew, and misses."""
    for rows in QUICK if quick else SIZES:
        keys = make_keys(rows)
        table = make_table(rows)
        told = list(_grow(table, keys, quick))
        yield _lookups(table, keys, quick)
        if rows == (QUICK if quick else SIZES)[-1]:
            yield from told


def make_keys(rows: int) -> Keys:
    """Keys as hashes are: spread, each once."""
    keys: Keys = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return keys


def make_table(rows: int) -> EmbeddingTable:
    """An empty table for so many."""
    return EmbeddingTable(
        TableConfig(features=(VectorConfig(name="id", dimension=D),), max_rows=rows)
    )


def fill(table: EmbeddingTable, keys: Keys) -> NDArray[np.float64]:
    """Claim keys, some a call; the seconds of every call."""
    seconds = []
    for start in range(0, len(keys), INSERTS):
        part, at = keys[start : start + INSERTS], np.ones(min(INSERTS, len(keys) - start), np.int64)
        begun = time.perf_counter()
        table.claim(part, 0, at)
        seconds.append(time.perf_counter() - begun)
    return np.array(seconds)


def _grow(table: EmbeddingTable, keys: Keys, quick: bool) -> Iterator[Figure]:
    """Fill a table up to where its index begins to double the last time, look, and fill it up."""
    table.claim(keys[:INSERTS], 0, np.ones(INSERTS, np.int64))  # loads the kernel
    buckets = 64
    while 8 * buckets * LOAD < len(keys):
        buckets *= 2
    most = min(int(4 * buckets * LOAD), len(keys))
    first = fill(table, keys[INSERTS:most])
    full = table.statistics()
    missed = _misses(table, keys[:most], quick)
    seconds = np.concatenate((first, fill(table, keys[most:])))
    base: dict[str, Any] = {"workload": "table", "params": f"{len(keys):,} rows"}
    pauses = f"of {len(seconds):,} calls of {INSERTS} inserts, pages of memory first touched"
    yield Figure(
        **base, what="insert, worst call", value=float(1e3 * seconds.max()), unit="ms", note=pauses
    )
    most_of = float(np.quantile(seconds, 0.999))
    yield Figure(
        **base, what="insert, 99.9 % of calls", value=1e3 * most_of, unit="ms", note=pauses
    )
    each = float(1e9 * seconds.sum() / len(keys))
    yield Figure(**base, what="insert", value=each, unit="ns", note="with the initial vector")
    full_at = f"index {100 * full.load:.0f} % full, about to grow"
    yield Figure(
        **base, what="index", value=full.index_bytes / full.rows, unit="bytes a key", note=full_at
    )
    yield Figure(**base, what="miss", value=missed, unit="ns", note=full_at)


def _misses(table: EmbeddingTable, keys: Keys, quick: bool) -> float:
    """Nanoseconds of looking up a key that is not there: the best of some rounds."""
    absent = [part ^ np.uint64(0x5555) for part in _calls(keys, quick)]
    out, best = np.empty((LOOKUPS, D), np.float32), np.inf
    for _ in range(ROUNDS):
        begun = time.process_time()
        for part in absent:
            table.lookup(part, out=out)
        best = min(best, time.process_time() - begun)
    return 1e9 * best / (LOOKUPS * len(absent))


def _calls(keys: Keys, quick: bool) -> list[Keys]:
    rng = np.random.default_rng(3)
    return [keys[rng.integers(0, len(keys), LOOKUPS)] for _ in range(2 if quick else CALLS)]


def _lookups(table: EmbeddingTable, keys: Keys, quick: bool) -> Contest:
    vectors = np.zeros((len(keys), D), np.float32)
    asked = _calls(keys, quick)
    peers = (TypedVectors(keys, vectors), DictVectors(keys, vectors))
    return Contest(
        params=f"{len(keys):,} rows of {D} float32",
        mode="batched",
        unit="look-ups",
        ours=_contender("slatestream", lambda part, out: table.lookup(part, out=out), asked),
        peers=tuple(_contender(each.name, each.lookup, asked) for each in peers),
    )


def _contender(name: str, lookup: Any, asked: list[Keys]) -> Contender:
    out: Vectors = np.empty((LOOKUPS, D), np.float32)
    at = 0

    def call(_: object) -> None:
        nonlocal at
        lookup(asked[at], out)
        at = (at + 1) % len(asked)

    return Contender(name=name, units=LOOKUPS, call=call)
