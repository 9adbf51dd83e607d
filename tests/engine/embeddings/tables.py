"""What the tests of the embedding table share: settings, streams of events, comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.table import EmbeddingTable
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import HEADER
from tests.naive.table import NaiveTable

COUNTERS = {
    "admitted": at.ADMITTED,
    "rejected": at.REJECTED,
    "expired": at.EXPIRED,
    "evicted": at.EVICTED,
    "erased": at.ERASED,
    "readmitted": at.READMITTED,
    "collisions": at.COLLISIONS,
    "clamped": at.CLAMPED,
}


def mixed_config(max_rows: int = 65, **changes: Any) -> TableConfig:
    """Three features of different kinds in few records."""
    features = (
        VectorConfig(name="user", dimension=9, bias=True, ttl_seconds=400, threshold=2),
        VectorConfig(name="item", dimension=4, optimizer="ftrl", beta1=1.0, beta2=0.01, l2=0.1),
        VectorConfig(name="place", dimension=16, optimizer="adagrad", ttl_seconds=90, threshold=4),
    )
    settings: dict[str, Any] = {"features": features, "sketch_bytes": 512, "seed": 7}
    return TableConfig(max_rows=max_rows, **(settings | changes))


def stream(seed: int, n: int, config: TableConfig, keys: int = 400) -> dict[str, Any]:
    """Seeded events as `EmbeddingTable.learn` takes them: few keys often, times not in order."""
    rng = np.random.default_rng(seed)
    key = np.minimum(rng.zipf(1.3, n), keys).astype(np.uint64)
    feature = (key % len(config.features)).astype(np.int64)
    width = max(each.width for each in config.features)
    return {
        "keys": key,
        "features": feature,
        "seconds": 1000 + np.arange(n) + rng.integers(-50, 50, n),
        "gradients": rng.normal(size=(n, width)).astype(np.float32),
        "checks": (key % 3).astype(np.uint32) + (rng.random(n) < 0.01).astype(np.uint32),
    }


def learn(table: EmbeddingTable, events: dict[str, Any], start: int, stop: int) -> np.ndarray:
    return table.learn(**{name: column[start:stop] for name, column in events.items()})


def free_rows(table: EmbeddingTable) -> list[int]:
    """The queue of freed records, by the links in them."""
    t, rows = table.table, []
    following = int(t.head[at.FREE_FIRST])
    for _ in range(int(t.head[at.FREE_LENGTH])):
        rows.append(following - 1)
        following = int(t.words[following - 1, at.STEP])
    return rows


def check_equal(table: EmbeddingTable, naive: NaiveTable) -> None:
    """Compare all of a table with its twin, to the bit."""
    t, head = table.table, table.table.head
    assert {name: int(head[place]) for name, place in COUNTERS.items()} == {
        name: naive.told[name] for name in COUNTERS
    }
    assert len(table) == len(naive.of)
    assert int(head[at.WATERMARK]) == naive.watermark
    assert int(head[at.FRESH]) == naive.fresh
    assert int(head[at.HAND]) == naive.hand
    assert int(head[at.DRAWS]) == naive.draws
    assert free_rows(table) == list(naive.free)
    rows = table.live_rows()
    assert dict(zip(table.keys_of(rows).tolist(), rows.tolist(), strict=True)) == naive.of
    for row, record in naive.rows.items():
        told = t.words[row]
        assert told[at.VERSION] % 2 == 0
        header = [record.touched, record.key & 0xFFFFFFFF, record.key >> 32, record.count]
        header += [record.feature, record.check, record.steps]
        assert told[at.TOUCHED : at.STEP + 1].tolist() == header
        floats = np.array(record.vector + record.state, dtype=np.float32)
        behind = t.floats[row, HEADER:]
        assert behind[: len(floats)].tolist() == floats.tolist()
        assert not behind[len(floats) :].any()
    for row in naive.free:
        assert not t.floats[row, HEADER:].any()
    check_sketch(table, naive)


def check_sketch(table: EmbeddingTable, naive: NaiveTable) -> None:
    words = table.table.sketch[:, None] >> (np.uint64(4) * np.arange(16, dtype=np.uint64))
    counters = (words & np.uint64(15)).reshape(-1, 128)
    assert counters.tolist() == naive.sketch.lines
    assert int(table.table.head[at.SKETCH_HAND]) == naive.sketch.hand
    assert int(table.table.head[at.SKETCH_ADDS]) == naive.sketch.adds
