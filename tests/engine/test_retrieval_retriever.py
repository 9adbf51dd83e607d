"""The facade: exact while rows are few, the inverted file beyond, the same form of answer."""

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
    excluded = Exclusions.of([rng.integers(0, 4000, 100) for _ in range(40)])

    def differs():
        given = {"filters": filters, "excluded": excluded}
        found = retriever.search(records, queries, 20, **given)
        expected = search_exact(records, queries, 20, **given)
        assert found.rows.shape == expected.rows.shape
        assert np.all(filters.available[found.rows] == 1)
        return not np.array_equal(found.rows, expected.rows)

    live[:900] = 1
    retriever.update(records, np.arange(900))
    assert not retriever.wants_training
    assert not differs()
    live[900:] = 1
    retriever.update(records, np.arange(900, 4000))
    assert retriever.wants_training
    assert not differs(), "exact until it is trained"
    retriever.adopt(records, retriever.train(records))
    assert not retriever.wants_training
    assert len(retriever.index) == 4000
    assert differs(), "one list of many was scanned"
    live[800:] = 0
    retriever.update(records, np.arange(800, 4000))
    assert len(retriever.index) == 800
    assert not differs()


def test_it_wants_more_lists_when_rows_have_multiplied():
    rng = np.random.default_rng(1)
    live = np.zeros(20_000, dtype=np.uint8)
    records = Records(slab=clustered(rng, 20_000, 4), size=4, live=live)
    retriever = Retriever(RetrieverConfig(exact_up_to=0))
    live[:1000] = 1
    retriever.update(records, np.arange(1000))
    first = retriever.train(records)
    retriever.adopt(records, first)
    live[:] = 1
    retriever.update(records, np.arange(1000, 20_000))
    assert retriever.wants_training
    second = retriever.train(records)
    assert len(second) >= 2 * len(first)
    retriever.adopt(records, second)
    assert not retriever.wants_training, "one version at a time"
    assert retriever.carry_over(records, 19_000) == 1000
    assert retriever.carry_over(records, 19_000) == 0
    assert not retriever.wants_training
    fixed = Retriever(RetrieverConfig(exact_up_to=0, lists=4))
    fixed.update(records, [])
    fixed.adopt(records, fixed.train(records))
    assert len(fixed.index.centroids) == 4
    assert not fixed.wants_training


def test_settings_are_checked():
    for wrong in ({"exact_up_to": -1}, {"nprobe": 0}, {"lists": -1}):
        with pytest.raises(ConfigError, match="exact_up_to is"):
            RetrieverConfig(**wrong)
