"""Keys that someone chose: none is lost, none stands for another."""

from __future__ import annotations

import numpy as np
import pytest

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.saving import digest_table, restore_table, save_table
from engine.embeddings.table import EmbeddingTable
from engine.kernels.embeddings import layout as at
from tests.naive.table import WORD, mix

N = 5000


def make(rows: int = 2 * N, **changes: object) -> EmbeddingTable:
    feature = VectorConfig(name="id", dimension=4)
    return EmbeddingTable(TableConfig(features=(feature,), max_rows=rows, **changes))


def unmix(value: int) -> int:
    """Invert `mix`: by the inverses of what it multiplies with, and of its shifts."""
    value ^= (value >> 31) ^ (value >> 62)
    value = value * pow(0x94D049BB133111EB, -1, 1 << 64) & WORD
    value ^= (value >> 27) ^ (value >> 54)
    value = value * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & WORD
    value ^= (value >> 30) ^ (value >> 60)
    return (value - 0x9E3779B97F4A7C15) & WORD


def chosen(table: EmbeddingTable, mixed: int) -> int:
    """The key that the table's index stores as ``mixed``."""
    return unmix(mixed) ^ (int(table.table.head[at.SEED]) & WORD)


def fill(table: EmbeddingTable, keys: np.ndarray, batch: int = 97) -> None:
    """Claim keys, and after every batch find each of those so far in a record of its own."""
    for start in range(0, len(keys), batch):
        part = keys[start : start + batch]
        table.claim(part, 0, np.full(len(part), 50))
        so_far = keys[: start + batch]
        rows = table.claim(so_far, 0, np.full(len(so_far), 50)) if start % 5 == 0 else None
        _, own = table.lookup(so_far)
        assert own.all()
        if rows is not None:
            assert np.array_equal(table.keys_of(rows), so_far)
            assert len(np.unique(rows)) == len(so_far)
    assert len(table) == len(keys)


def test_unmix_inverts() -> None:
    for value in (0, 1, WORD, 1 << 63, 0x123456789ABCDEF):
        assert mix(unmix(value)) == value


@pytest.mark.parametrize("shift", [0, 1, 3, 12, 20, 32, 44, 50])
def test_dense_keys_and_strides(shift: int) -> None:
    numbers = np.arange(N, dtype=np.uint64) << np.uint64(shift)
    fill(make(), numbers, batch=499)


def test_extremes_and_the_key_that_mixes_to_nothing() -> None:
    table = make()
    extremes = [0, WORD, 1 << 63, (1 << 63) - 1, 1, WORD - 1, chosen(table, 0)]
    keys = np.array(extremes, dtype=np.uint64)
    signed = keys.view(np.int64)
    assert {-1, np.iinfo(np.int64).min, np.iinfo(np.int64).max} <= set(signed.tolist())
    fill(table, keys, batch=1)
    for i, key in enumerate(keys):
        assert table.erase(keys[i : i + 1]) == 1
        assert table.erase(keys[i : i + 1]) == 0
        assert table.lookup(keys)[1].tolist() == [other != key for other in keys]
        table.claim(keys[i : i + 1], 0, np.array([60]))
    assert table.lookup(keys)[1].all()


def test_keys_of_one_bucket_lead_to_another_seed() -> None:
    """Four cells, 128 in the stash, then the seed changes; nobody notices."""
    table, plain = make(), make()
    seed = int(table.table.head[at.SEED])
    low = [5 | (i << 20) for i in range(400)]
    crafted = [chosen(table, bits | (bits ^ (i % 3) << 22) << 32) for i, bits in enumerate(low)]
    keys = np.array(crafted, dtype=np.uint64)
    for start in range(0, len(keys), 10):
        part = keys[start : start + 10]
        table.claim(part, 0, np.full(len(part), 50))
        assert table.lookup(keys[: start + 10])[1].all()
        if start == 60:
            assert int(table.table.head[at.STASHED]) > 40
    assert int(table.table.head[at.SEED]) != seed
    assert int(table.table.head[at.STASHED]) == 0
    plain.table.head[at.SEED] ^= 0x5555  # one for which the keys are like any others
    plain.claim(keys, 0, np.full(len(keys), 50))
    assert digest_table(plain) == digest_table(table)
    other = make()
    restore_table(other, save_table(table))
    assert other.lookup(keys)[1].all()
    assert digest_table(other) == digest_table(table)


def test_stashed_keys_are_erased_and_found_while_the_index_grows() -> None:
    table = make()
    # In one bucket of the first 2^20: all but four of them in the stash.
    few = [chosen(table, 9 | i << 20 | (9 | i << 20) << 32) for i in range(60)]
    crafted = np.array(few, dtype=np.uint64)
    fill(table, crafted, batch=7)
    stashed = int(table.table.head[at.STASHED])
    assert stashed == 56
    others = np.arange(N, dtype=np.uint64)
    table.claim(others, 0, np.full(N, 50))
    assert table.lookup(crafted)[1].all()
    assert table.lookup(others)[1].all()
    assert table.erase(crafted) == len(crafted)
    assert int(table.table.head[at.STASHED]) <= 1  # of the others, one that met them
    assert not table.lookup(crafted)[1].any()
    assert table.lookup(others)[1].all()


def test_two_live_ids_of_one_key_are_counted() -> None:
    table = make()
    key = np.array([77, 77, 77], dtype=np.uint64)
    table.claim(key, 0, np.full(3, 50), np.array([1, 2, 1], dtype=np.uint32))
    assert table.statistics().collisions == 1


def test_the_index_takes_few_bytes_a_key_when_it_grows() -> None:
    table = make(100_000)
    keys = np.arange(1, 60_001, dtype=np.uint64)
    loads, sizes = [], []
    for start in range(0, len(keys), 256):
        part = keys[start : start + 256]
        before = table.statistics()
        table.claim(part, 0, np.full(len(part), 50))
        if table.statistics().index_bytes > before.index_bytes and before.load > 0.85:
            loads.append(before.load)
            sizes.append(before.index_bytes / before.rows)
    assert len(loads) >= 5
    assert max(sizes[-3:]) < 20.0
