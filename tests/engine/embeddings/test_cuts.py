"""How events are cut into calls leaves no trace, and neither does how the index came to be."""

from __future__ import annotations

import numpy as np
import pytest

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.saving import digest_table
from engine.embeddings.table import EmbeddingTable
from tests.engine.embeddings.tables import check_equal, learn, mixed_config, stream
from tests.naive.table import NaiveTable


@pytest.mark.parametrize("rows", [65, 1000])
def test_batches_of_any_size_give_the_same_bits(rows: int) -> None:
    config = mixed_config(rows)
    events = stream(3, 6000, config, keys=5000)
    digests, claimed = set(), []
    for seed in range(4):
        rng, table, start, told = np.random.default_rng(seed), EmbeddingTable(config), 0, []
        while start < 6000:
            size = 6000 if seed == 0 else int(rng.integers(1, (2, 40, 700)[seed - 1]))
            told.append(learn(table, events, start, start + size))
            start += size
        digests.add(digest_table(table))
        claimed.append(np.concatenate(told).tolist())
    assert len(digests) == 1
    assert all(rows == claimed[0] for rows in claimed)
    assert (table.statistics().evicted > 400) == (rows == 65)


def test_a_long_stream_is_as_its_twin_says() -> None:
    config = mixed_config(700)
    events, table, naive = (
        stream(5, 8000, config, keys=4000),
        EmbeddingTable(config),
        NaiveTable(config),
    )
    learn(table, events, 0, 8000)
    columns = [events[name] for name in ("keys", "features", "seconds")]
    for i, (key, feature, seconds) in enumerate(zip(*columns, strict=True)):
        check = int(events["checks"][i])
        naive.learn(int(key), int(feature), int(seconds), events["gradients"][i], check)
    check_equal(table, naive)
    told = table.statistics()
    assert min(told.expired, told.rejected, told.readmitted, told.collisions, told.admitted) > 10


def test_records_do_not_depend_on_the_history_of_the_index() -> None:
    """Filled at once, or grown, erased and filled again: the same vectors by key."""
    config = TableConfig(features=(VectorConfig(name="id"),), max_rows=20_000, seed=4)
    keys = np.arange(9000, dtype=np.uint64)
    one, two = EmbeddingTable(config), EmbeddingTable(config)
    one.claim(keys, 0, np.full(len(keys), 5))
    two.claim(keys[::-1].copy(), 0, np.full(len(keys), 5))
    two.erase(keys[::2].copy())
    two.claim(keys, 0, np.full(len(keys), 5))
    assert np.array_equal(one.lookup(keys)[0], two.lookup(keys)[0])


def test_initial_vectors_are_functions_of_seed_and_key() -> None:
    def first(seed: int, size: int) -> np.ndarray:
        config = TableConfig(features=(VectorConfig(name="id", dimension=size),), seed=seed)
        table = EmbeddingTable(config)
        key = np.array([42], dtype=np.uint64)
        table.claim(key, 0, np.array([5]))
        vector, own = table.lookup(key)
        table.learn(key, 0, np.array([6]), np.ones((1, size), np.float32))
        assert not np.array_equal(table.lookup(key)[0], vector)
        table.erase(key)
        table.claim(key, 0, np.array([7]))
        assert np.array_equal(table.lookup(key)[0], vector)  # admitted again
        assert own.all()
        assert table.statistics().readmitted == 1
        return vector[0]

    assert np.array_equal(first(1, 16), first(1, 16))
    assert not np.array_equal(first(1, 16), first(2, 16))
    many = first(3, 1000)
    assert abs(float(many.mean())) < 0.01
    assert abs(float(many.std()) - 0.1) < 0.01


def test_ids_that_are_not_admitted_read_and_teach_the_shared_vector() -> None:
    feature = VectorConfig(name="id", dimension=4, optimizer="sgd", rate=1.0, threshold=3)
    table = EmbeddingTable(TableConfig(features=(feature,)))
    keys = np.array([1, 2], dtype=np.uint64)
    begun, own = table.lookup(keys)
    assert not own.any()
    table.learn(keys, 0, np.full(2, 5), np.ones((2, 4), np.float32))
    taught, own = table.lookup(np.array([1, 2, 99], dtype=np.uint64))
    assert not own.any()
    assert np.allclose(taught, begun[0] - 2.0, atol=1e-6)
    table.claim(np.array([1, 1], dtype=np.uint64), 0, np.full(2, 5))
    assert table.lookup(keys)[1].tolist() == [True, False]
    told = table.statistics()
    assert (told.admitted, told.rejected) == (1, 3)


def test_out_is_written_and_given_back() -> None:
    config = mixed_config()
    table, keys = EmbeddingTable(config), np.arange(40, dtype=np.uint64)
    features = (np.arange(40) % 3).astype(np.int64)
    table.claim(keys, features, np.full(40, 9))
    out = np.full((40, 16), np.nan, np.float32)
    given, own = table.lookup(keys, features, out=out)
    fresh, again = table.lookup(keys, features)
    assert given is out
    assert np.array_equal(out, fresh)
    assert np.array_equal(own, again)


def test_false_admissions_are_estimated() -> None:
    """Of ids met once, at a threshold of 2, as many are admitted at once as was said."""
    feature = VectorConfig(name="id", dimension=4, threshold=2)
    config = TableConfig(features=(feature,), max_rows=100_000, sketch_bytes=1 << 14)
    table = EmbeddingTable(config)
    assert table.statistics().false_admission == 0.0
    keys = np.random.default_rng(1).integers(0, 1 << 63, 120_000).astype(np.uint64)
    table.claim(keys[:100_000], 0, np.full(100_000, 5))
    before = table.statistics()
    table.claim(keys[100_000:], 0, np.full(20_000, 5))
    after = table.statistics()
    rate = (after.admitted - before.admitted) / 20_000
    said = (before.false_admission + after.false_admission) / 2
    assert rate > 0.01
    assert abs(rate - said) < 0.3 * rate
