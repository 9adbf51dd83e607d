"""A hundred times as many ids as there is room for: memory stays as it is."""

from __future__ import annotations

import numpy as np
import psutil

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.saving import digest_table
from engine.embeddings.table import EmbeddingTable

CAPACITY = 10_000
MEGABYTE = 1 << 20


def churn(batch: int) -> tuple[bytes, int]:
    """Digest in the end, and by how much memory grew between the fifth capacity and the last."""
    feature = VectorConfig(name="id", dimension=16, ttl_seconds=3000)
    config = TableConfig(features=(feature,), max_rows=CAPACITY, sketch_bytes=1 << 16)
    table, process = EmbeddingTable(config), psutil.Process()
    warm = 0
    for start in range(0, 100 * CAPACITY, batch):
        keys = np.arange(start, min(start + batch, 100 * CAPACITY), dtype=np.uint64)
        table.claim(
            keys * np.uint64(0x9E3779B97F4A7C15), 0, (keys // np.uint64(4)).astype(np.int64)
        )
        if start < 5 * CAPACITY <= start + batch:
            warm = process.memory_info().rss
            used = table.statistics().bytes
    told = table.statistics()
    assert told.rows <= CAPACITY
    assert told.bytes == used
    assert told.admitted == 100 * CAPACITY
    assert told.evicted + told.expired > 98 * CAPACITY
    return digest_table(table), process.memory_info().rss - warm


def test_memory_is_flat_and_the_digest_the_same() -> None:
    """Records alone would take 128 MB if those of ids that left were not used again."""
    first, grew = churn(5000)
    assert grew < 4 * MEGABYTE
    again, grew = churn(3333)
    assert grew < 4 * MEGABYTE
    assert again == first
