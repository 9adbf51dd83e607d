"""The exact scan beside its twin, with every filter, and its answers in all kinds of batches."""

import numpy as np
import pytest

from engine.errors import ConfigError, ShapeError
from engine.kernels.retrieval.exact import BLOCK
from engine.retrieval.exact import search_exact
from engine.retrieval.records import Exclusions, Filters, Records
from tests.engine.vectors import make_filters, make_records
from tests.naive import retrieval as naive


@pytest.mark.parametrize("size", [1, 3, 12, 16, 17, 32, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_scan_equals_its_twin_whatever_is_filtered(size, bias):
    rng = np.random.default_rng(size)
    records = make_records(rng, rows=3 * BLOCK + 5, size=size, bias=bias)
    filters = make_filters(rng, len(records.slab))
    queries = rng.integers(-3, 4, (6, size)).astype(np.float32)
    banned = [rng.integers(0, len(records.slab), each) for each in (0, 1, 9, 150, 0, 30)]
    for k in (1, 7, len(records.slab) + 3):
        expected = naive.search(records, queries, k, filters, banned)
        found = search_exact(records, queries, k, filters=filters, excluded=Exclusions.of(banned))
        np.testing.assert_array_equal(found.rows, expected[0])
        np.testing.assert_array_equal(found.scores, expected[1])
    assert np.sum(found.rows[0] >= 0) < len(records.slab) // 2, "the filters kept some out"


def test_only_the_rows_given_are_searched():
    rng = np.random.default_rng(1)
    records = make_records(rng, rows=400, size=8, bias=True)
    queries = rng.integers(-3, 4, (5, 8)).astype(np.float32)
    for m in (0, 1, 50, 390):
        rows = rng.integers(0, 400, m)  # some twice
        found = search_exact(records, queries, 9, rows=rows)
        expected = naive.search(records, queries, 9, Filters(), rows=rows.tolist())
        np.testing.assert_array_equal(found.rows, expected[0])


def test_a_query_gets_the_same_bits_alone_in_a_batch_and_among_other_rows():
    rng = np.random.default_rng(2)
    slab = rng.normal(size=(1001, 37)).astype(np.float32)
    records, queries = Records(slab=slab, size=29, start=5), rng.normal(size=(9, 29))
    together = search_exact(records, queries, 50)
    for i in range(9):
        alone = search_exact(records, queries[i : i + 1], 50)
        assert np.array_equal(alone.rows[0], together.rows[i])
        assert np.array_equal(alone.scores[0], together.scores[i])
        given = search_exact(records, queries[i : i + 1], 20, rows=together.rows[i, 5:])
        assert np.array_equal(given.scores[0], together.scores[i, 5:25])
    expected = slab[:, 5:34].astype(float) @ queries.astype(np.float32).astype(float).T
    np.testing.assert_allclose(
        together.scores, -np.sort(-expected.T, axis=1)[:, :50], rtol=1e-5, atol=1e-5
    )


def test_of_equal_scores_the_lower_rows_are_returned():
    records = Records(slab=np.ones((300, 4), dtype=np.float32), size=4)
    found = search_exact(records, np.ones((5, 4)), 20, excluded=Exclusions.of([[3, 0]] * 5))
    assert found.rows.tolist() == [[1, 2, *range(4, 22)]] * 5
    assert np.all(found.scores == 4)


def test_what_is_not_a_number_is_not_returned_and_infinity_is():
    slab = np.zeros((70, 3), dtype=np.float32)
    slab[::2, 0], slab[1, 0], slab[3, 0] = np.nan, np.inf, -np.inf
    found = search_exact(Records(slab=slab, size=3), [[1.0, 0.0, 0.0]], 40)
    assert found.rows[0, 0] == 1
    assert found.rows[0, :35].tolist() == [1, *range(5, 70, 2), 3]
    assert np.all(found.rows[0, 35:] == -1)


def test_words_around_the_vector_do_not_matter():
    rng = np.random.default_rng(3)
    slab = np.full((90, 24), np.nan, dtype=np.float32)
    slab[:, 4:17] = rng.integers(-3, 4, (90, 13))
    clean = np.ascontiguousarray(slab[:, 4:17])
    queries = rng.integers(-3, 4, (2, 13))
    found = search_exact(Records(slab=slab, size=13, start=4), queries, 10)
    expected = search_exact(Records(slab=clean, size=13), queries, 10)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.scores, expected.scores)


def test_an_empty_slab_and_no_queries_are_answered():
    empty = Records(slab=np.empty((0, 4), dtype=np.float32), size=4)
    assert np.all(search_exact(empty, np.ones((2, 4)), 3).rows == -1)
    some = Records(slab=np.ones((5, 4), dtype=np.float32), size=4)
    assert search_exact(some, np.ones((0, 4)), 3).rows.shape == (0, 3)


def test_what_does_not_fit_is_refused():
    slab = np.ones((5, 4), dtype=np.float32)
    records = Records(slab=slab, size=4)
    with pytest.raises(ConfigError, match="k is 0"):
        search_exact(records, np.ones((1, 4)), 0)
    with pytest.raises(ShapeError, match="queries"):
        search_exact(records, np.ones((1, 3)), 1)
    with pytest.raises(ShapeError, match="finite"):
        search_exact(records, [[np.nan] * 4], 1)
    with pytest.raises(ShapeError, match="rows of the slab"):
        search_exact(records, np.ones((1, 4)), 1, rows=[5])
    with pytest.raises(ShapeError, match="available is"):
        search_exact(records, np.ones((1, 4)), 1, filters=Filters(available=np.ones(4, np.uint8)))
    with pytest.raises(ShapeError, match="exclusions are of 2"):
        search_exact(records, np.ones((1, 4)), 1, excluded=Exclusions.of([[1], [2]]))
    with pytest.raises(ShapeError, match="rising"):
        Exclusions(offsets=np.array([0, 2, 1]), rows=np.array([3]))
    with pytest.raises(ShapeError, match="words 2:6"):
        Records(slab=slab, size=4, start=2)
    with pytest.raises(ShapeError, match="float64"):
        Records(slab=np.ones((5, 4)), size=4)
    with pytest.raises(ShapeError, match="live"):
        Records(slab=slab, size=4, live=np.ones(5, dtype=bool))
