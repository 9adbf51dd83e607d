"""The facade: exact while rows are few, likely lists beyond, the same form of answer."""

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.retrieval.exact import search_exact
from engine.retrieval.records import Exclusions, Filters, Records
from engine.retrieval.retriever import Retriever, RetrieverConfig
from tests.engine.vectors import clustered


def test_it_is_exact_then_inverted_then_exact_again():
    rng = np.random.default_rng(0)
    live = np.zeros(4000, dtype=np.uint8)
    records = Records(slab=clustered(rng, 4000, 8), size=8, live=live)
    retriever = Retriever(RetrieverConfig(exact_up_to=1000, nprobe=1))
    queries, filters = clustered(rng, 40, 8), Filters(available=rng.integers(0, 2, 4000, np.uint8))
    given = {
        "filters": filters,
        "excluded": Exclusions.of([rng.integers(0, 4000, 100) for _ in range(40)]),
    }

    def recall():
        found = retriever.search(records, queries, 20, **given)
        expected = search_exact(records, queries, 20, **given)
        assert found.rows.shape == expected.rows.shape
        assert np.all(filters.available[found.rows] == 1)
        same = np.array_equal(found.rows, expected.rows)
        assert same >= retriever.is_exact
        shared = zip(found.rows.tolist(), expected.rows.tolist(), strict=True)
        return sum(len(set(a) & set(b)) for a, b in shared) / found.rows.size

    assert np.all(retriever.search(records, queries, 3).rows == -1)
    live[:900] = 1
    retriever.update(records, np.arange(900))
    assert not retriever.wants_training
    assert recall() == 1.0
    live[900:] = 1
    retriever.update(records, np.arange(900, 4000))
    assert retriever.wants_training
    assert retriever.is_exact, "until it is trained"
    assert recall() == 1.0
    retriever.adopt(retriever.train(records))
    assert not retriever.wants_training
    assert recall() == 1.0, "the list of all rows comes first"
    while retriever.carry_over(records, 700):
        assert recall() >= 0.7, retriever.index.left_behind
    assert len(retriever) == 4000
    assert not retriever.is_exact
    assert 0.5 < recall() < 1.0, "one list of many was scanned"
    live[800:] = 0
    retriever.update(records, np.arange(800, 4000))
    assert len(retriever) == 800
    assert recall() == 1.0


def test_rows_it_was_not_told_of_are_not_found():
    rng = np.random.default_rng(2)
    records = Records(slab=clustered(rng, 500, 8), size=8)
    retriever, items = Retriever(), np.arange(0, 500, 3)
    retriever.update(records, items)
    found = retriever.search(records, records.slab[:20], 10)
    expected = search_exact(records, records.slab[:20], 10, rows=items)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.scores, expected.scores)


def test_it_wants_more_lists_when_rows_have_multiplied():
    rng = np.random.default_rng(1)
    records = Records(slab=clustered(rng, 20_000, 4), size=4)
    retriever = Retriever(RetrieverConfig(exact_up_to=0, capacity=20_000))
    assert not retriever.wants_training
    retriever.update(records, np.arange(1000))
    first = retriever.train(records)
    retriever.adopt(first)
    retriever.carry_over(records, 1000)
    retriever.update(records, np.arange(1000, 20_000))
    assert retriever.wants_training
    second = retriever.train(records)
    assert len(second) >= 2 * len(first)
    retriever.adopt(second)
    assert not retriever.wants_training, "one version at a time"
    assert retriever.carry_over(records, 19_000) == 1000
    assert retriever.carry_over(records, 19_000) == 0
    assert not retriever.wants_training
    fixed = Retriever(RetrieverConfig(exact_up_to=0, lists=4))
    fixed.update(records, np.arange(20_000))
    fixed.adopt(fixed.train(records))
    fixed.carry_over(records, 20_000)
    assert len(fixed.index.centroids) == 4
    assert not fixed.wants_training


def test_settings_are_checked_and_nothing_is_trained_from_nothing():
    for wrong in ({"exact_up_to": -1}, {"nprobe": 0}, {"lists": -1}, {"capacity": -1}):
        with pytest.raises(ConfigError, match="exact_up_to is"):
            RetrieverConfig(**wrong)
    retriever = Retriever()
    with pytest.raises(ConfigError, match="no rows to train from"):
        retriever.train(Records(slab=np.ones((2, 2), dtype=np.float32), size=2))
