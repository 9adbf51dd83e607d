"""Snapshots of one moment, taken while the table goes on."""

from __future__ import annotations

import numpy as np
import pytest

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.saving import digest_table, restore_table, save_changes, save_table
from engine.embeddings.snapshot import TableSnapshot
from engine.embeddings.table import EmbeddingTable
from engine.errors import SnapshotError
from tests.engine.embeddings.tables import learn, mixed_config, stream


def grown() -> tuple[EmbeddingTable, np.random.Generator]:
    features = (VectorConfig(name="id", dimension=16, threshold=2, ttl_seconds=4000),)
    config = TableConfig(features=features, max_rows=15_000, sketch_bytes=1 << 20, seed=5)
    table, rng = EmbeddingTable(config), np.random.default_rng(2)
    for second in range(20):
        write(table, rng, 1000 + second * 30)
    return table, rng


def write(table: EmbeddingTable, rng: np.random.Generator, second: int, n: int = 3000) -> None:
    keys = (rng.random(n) ** 2 * 60_000).astype(np.uint64)
    gradients = rng.normal(size=(n, table.width)).astype(np.float32)
    table.learn(keys, 0, np.full(n, second), gradients)
    table.erase(keys[:20])


def test_a_snapshot_is_the_save_of_the_moment_it_began() -> None:
    """Rows and lines written before, after and between its pieces; ids evicted, records fresh."""
    table, rng = grown()
    whole, begun = save_table(table), table.statistics()
    pieces, second = [], 1700
    snapshot = TableSnapshot(table)
    assert snapshot.size == len(whole)
    for piece in snapshot.pieces():
        pieces.append(piece)
        write(table, rng, second, 1500)
        second += 40
    assert len(pieces) >= 10
    assert max(len(piece) for piece in pieces) <= 1 << 19
    assert b"".join(pieces) == whole
    assert table.statistics().admitted > begun.admitted + 1000
    assert table.statistics().evicted > begun.evicted
    other = EmbeddingTable(table.config)
    restore_table(other, whole)
    assert other.statistics() == begun


def test_it_leaves_no_trace_in_what_is_learned() -> None:
    config = mixed_config()
    events, digests = stream(3, 2000, config), set()
    for taken in (False, True):
        table = EmbeddingTable(config)
        learn(table, events, 0, 1000)
        pieces = TableSnapshot(table).pieces() if taken else iter(())
        next(pieces, None)
        learn(table, events, 1000, 1500)
        list(pieces)
        learn(table, events, 1500, 2000)
        digests.add(digest_table(table) + save_changes(table))
    assert len(digests) == 1


def test_a_table_cleared_or_restored_meanwhile_changes_nothing_in_it() -> None:
    config = mixed_config()
    events, table = stream(3, 2000, config), EmbeddingTable(config)
    learn(table, events, 0, 1000)
    whole = save_table(table)
    for meanwhile in ("clear", "whole", "delta"):
        restore_table(table, whole)
        ahead = EmbeddingTable(config)
        restore_table(ahead, whole)
        learn(ahead, events, 1000, 2000)
        pieces = TableSnapshot(table).pieces()
        told = next(pieces)
        if meanwhile == "clear":
            table.clear()
        else:
            restore_table(table, save_table(ahead) if meanwhile == "whole" else save_changes(ahead))
            assert digest_table(table) == digest_table(ahead)
        assert told + b"".join(pieces) == whole, meanwhile
        TableSnapshot(table).close()


def test_one_at_a_time() -> None:
    table = EmbeddingTable(mixed_config())
    first = TableSnapshot(table)
    with pytest.raises(SnapshotError, match="being taken"):
        TableSnapshot(table)
    assert b"".join(first.pieces()) == save_table(table)
    again = TableSnapshot(table)
    again.close()
    assert not len(table.table.before)
