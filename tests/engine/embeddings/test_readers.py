"""Readers beside the writer: no half of a vector, no vector of another key."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.table import EmbeddingTable
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.index import mixed1
from engine.kernels.embeddings.lookups import BATCH, BUSY, OWN, lookup_keys

READS = 20_000_000
D = 16


def make(max_rows: int) -> EmbeddingTable:
    """Vectors begin at nothing, and a step adds what `codes` says of the key."""
    feature = VectorConfig(name="id", dimension=D, optimizer="sgd", rate=1.0, scale=0.0)
    return EmbeddingTable(TableConfig(features=(feature,), max_rows=max_rows))


def codes(keys: np.ndarray) -> np.ndarray:
    """Steps that lead to m (key, 1, key, 1, …) after m of them."""
    steps = np.ones((len(keys), D), np.float32)
    steps[:, ::2] = keys[:, None]
    return -steps


def faults(keys: np.ndarray, vectors: np.ndarray, own: np.ndarray) -> tuple[int, int]:
    """How many vectors are torn, and how many another key's."""
    even, odd = vectors[:, ::2], vectors[:, 1::2]
    torn = (even != even[:, :1]).any(axis=1) | (odd != odd[:, :1]).any(axis=1)
    foreign = ~torn & (even[:, 0] != odd[:, 0] * keys.astype(np.float32))
    return int(torn.sum()), int(foreign.sum() + vectors[~own].any())


class Writer(threading.Thread):
    """Learns, erases and admits keys again, evicts, grows, until it is stopped."""

    def __init__(self, table: EmbeddingTable, keys: int) -> None:
        super().__init__()
        self.table, self.n = table, keys
        self.stopped, self.steps = threading.Event(), 0

    def run(self) -> None:
        rng = np.random.default_rng(1)
        while not self.stopped.is_set():
            keys = rng.integers(1, self.n + 1, 1000).astype(np.uint64)
            self.table.learn(keys, 0, np.full(1000, 1000 + self.steps), codes(keys))
            self.table.erase(keys[:100])
            self.steps += 1


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "max_rows"), [(64, 65), (100_000, 60_000)])
def test_no_vector_is_torn_and_none_another_keys(keys: int, max_rows: int) -> None:
    table = make(max_rows)
    writer, rng = Writer(table, keys), np.random.default_rng(2)
    asked = [rng.integers(1, keys + 1, 20_000).astype(np.uint64) for _ in range(20)]
    out = np.empty((20_000, D), np.float32)
    reads = torn = foreign = owned = 0
    writer.start()
    try:
        while reads < READS:
            some = asked[reads // 20_000 % 20]
            vectors, own = table.lookup(some, out=out)
            found = faults(some, vectors, own)
            reads, torn, foreign = reads + 20_000, torn + found[0], foreign + found[1]
            owned += int(own.sum())
    finally:
        writer.stopped.set()
        writer.join()
    assert (torn, foreign) == (0, 0)
    assert owned > reads // 10
    told = table.statistics()
    assert writer.steps > 50
    assert told.erased > 1000
    assert (told.evicted > 0) == (keys > max_rows)


def test_a_key_that_stays_is_found_while_the_index_grows_and_moves() -> None:
    table = make(200_000)
    stay = np.arange(1, 2001, dtype=np.uint64)
    table.learn(stay, 0, np.full(2000, 1), codes(stay))
    missed: list[int] = []
    stopped = threading.Event()

    def read() -> None:
        while not stopped.is_set():
            vectors, own = table.lookup(stay)
            missed.append(int((~own).sum()) + sum(faults(stay, vectors, own)))

    table.lookup(stay)  # compiled before it is a race
    reader = threading.Thread(target=read)
    reader.start()
    for start in range(10_000, 150_000, 2000):
        more = np.arange(start, start + 2000, dtype=np.uint64)
        table.claim(more, 0, np.full(2000, 1))
        if start % 20_000 == 0:
            table._mix_anew()
    while len(missed) <= 20:  # however slow the reader is, something moves while it reads
        table._mix_anew()
    stopped.set()
    reader.join()
    assert sum(missed) == 0


def look(table: EmbeddingTable, keys: np.ndarray) -> np.ndarray:
    """What one call of the kernel tells."""
    found = np.full(len(keys), BUSY, np.uint8)
    out = np.empty((len(keys), D), np.float32)
    work: tuple[Any, ...] = (np.empty(BATCH, np.int64), np.empty(BATCH, np.uint64))
    lookup_keys(table.table, keys, np.zeros(len(keys), np.int64), out, found, *work)
    return found


def test_planted_faults_are_noticed() -> None:
    """A record in the midst of a write, and one that went to another key: by hand, at rest."""
    table, keys = make(100), np.arange(1, 21, dtype=np.uint64)
    rows = table.learn(keys, 0, np.full(20, 1), codes(keys))
    t = table.table
    t.words[rows[3], at.VERSION] += 1
    t.floats[rows[3], at.HEADER : at.HEADER + 4] = 9.0
    t.words[rows[7], at.KEY_LOW] = 99
    expected = [OWN] * 20
    expected[3] = expected[7] = BUSY
    assert look(table, keys).tolist() == expected
    t.head[at.LEFT] = 1  # another thread moved to another index
    mixed = mixed1(t.head, np.uint64(500))
    assert int(mixed) != 0
    assert look(table, np.array([500], np.uint64)).tolist() == [BUSY]


def test_faults_are_told_apart() -> None:
    keys, own = np.array([3, 4, 5], dtype=np.uint64), np.ones(3, bool)
    whole = -2.0 * codes(keys)
    assert faults(keys, whole, own) == (0, 0)
    torn, foreign = whole.copy(), whole[[1, 1, 2]]
    torn[0, 9:] += 1.0
    assert faults(keys, torn, own) == (1, 0)
    assert faults(keys, foreign, own) == (0, 1)
