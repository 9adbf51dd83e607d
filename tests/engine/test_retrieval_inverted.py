"""The inverted file: exact when all lists are scanned, near it when few are, whatever has moved."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.errors import ConfigError, ShapeError
from engine.kernels.retrieval.lists import BLOCK
from engine.retrieval.centroids import Centroids, lists_for, train_centroids
from engine.retrieval.exact import search_exact
from engine.retrieval.inverted import InvertedFile
from engine.retrieval.records import Exclusions, Filters, Records
from tests.engine.vectors import clustered, make_filters, make_records
from tests.naive import retrieval as naive

ALL = 1 << 20  # more than there are lists


def recall(found, expected):
    shared = [len(set(a) & set(b)) for a, b in zip(found.rows, expected.rows, strict=True)]
    return sum(shared) / expected.rows.size


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [5, 16, 35])
def test_with_every_list_scanned_it_is_exact(size, bias):
    rng = np.random.default_rng(size)
    records = make_records(rng, rows=1500, size=size, bias=bias)
    filters = make_filters(rng, 1500)
    index = InvertedFile.over(records, lists=13)
    assert len(index) == records.live.sum()
    queries = rng.integers(-3, 4, (8, size))
    excluded = Exclusions.of([rng.integers(0, 1500, 200) for _ in range(8)])
    for k in (1, 10, 1500):
        given = {"filters": filters, "excluded": excluded}
        found = index.search(records, queries, k, nprobe=ALL, **given)
        expected = search_exact(records, queries, k, **given)
        assert np.array_equal(found.rows, expected.rows)
        assert np.array_equal(found.scores, expected.scores)


def test_scores_are_those_of_the_exact_scan_to_the_bit():
    rng = np.random.default_rng(0)
    records = Records(slab=rng.normal(size=(900, 40)).astype(np.float32), size=29, start=3, bias=1)
    index = InvertedFile.over(records, lists=9)
    queries = rng.normal(size=(7, 29))
    together = index.search(records, queries, 12, nprobe=ALL)
    expected = search_exact(records, queries, 12)
    assert np.array_equal(together.rows, expected.rows)
    assert np.array_equal(together.scores, expected.scores)
    few = index.search(records, queries, 12, nprobe=2)
    for i in range(7):
        alone = index.search(records, queries[i : i + 1], 12, nprobe=2)
        assert np.array_equal(alone.rows[0], few.rows[i])
        assert np.array_equal(alone.scores[0], few.scores[i])


def test_recall_is_kept_after_every_row_has_moved():
    rng = np.random.default_rng(1)
    n = 20_000
    records = Records(slab=clustered(rng, n, 16), size=16)
    index = InvertedFile.over(records)
    assert len(index.centroids) == lists_for(n) == 128
    queries = clustered(rng, 200, 16)
    assert recall(index.search(records, queries, 10), search_exact(records, queries, 10)) >= 0.99
    moved = clustered(rng, n, 16)
    for rows in np.array_split(rng.permutation(n), 37):
        records.slab[rows] = moved[rows]
        index.update(records, rows)
    exact = search_exact(records, queries, 10)
    assert recall(index.search(records, queries, 10), exact) >= 0.99
    assert recall(index.search(records, queries, 10, nprobe=1), exact) >= 0.6
    assert 10 * index.sizes.max() < n, "rows went to lists of their own"


def test_long_vectors_are_found_in_their_short_lists():
    rng = np.random.default_rng(2)
    spectrum = 1.0 / np.sqrt(np.arange(1, 33))
    lengths = np.exp(0.4 * rng.normal(size=(20_000, 1)))
    vectors = (rng.normal(size=(20_000, 32)) * spectrum * lengths).astype(np.float32)
    records, queries = Records(slab=vectors, size=32), rng.normal(size=(200, 32)) * spectrum
    index = InvertedFile.over(records)
    found = index.search(records, queries, 10, nprobe=8)
    assert recall(found, search_exact(records, queries, 10)) >= 0.9


def test_how_updates_are_cut_leaves_no_trace():
    rng = np.random.default_rng(3)
    records = Records(slab=rng.normal(size=(3000, 8)).astype(np.float32), size=8)
    centroids = train_centroids(records.vectors(np.arange(500)), 20)
    rows = rng.integers(0, 3000, 5000)  # many twice
    hashes, answers = set(), []
    for cuts in (1, 7, 5000):
        index = InvertedFile(centroids)
        for part in np.array_split(rows, cuts):
            index.update(records, part)
        hashes.add(index.hash())
        answers.append(index.search(records, records.slab[:20], 10, nprobe=2))
        assert len(index) == len(np.unique(rows))
    assert len(hashes) == 1
    assert all(np.array_equal(each.rows, answers[0].rows) for each in answers)
    index.update(Records(slab=-records.slab, size=8), rows[:50])
    assert index.hash() not in hashes


def test_rows_go_to_the_nearest_centroid_and_the_lowest_of_equals():
    rng = np.random.default_rng(4)
    values = rng.integers(-2, 3, (300, 3)).astype(np.float32)  # many are equal
    index = InvertedFile(Centroids(values=values, spreads=np.zeros(300, dtype=np.float32)))
    records = make_records(rng, rows=500, size=2, bias=True)
    index.update(records, np.arange(500))
    for row, each in enumerate(index.lists_of(np.arange(500))):
        if not records.live[row]:
            assert each == -1
            continue
        vector = np.append(records.slab[row, 2:4], records.slab[row, 0])
        assert each == np.argmin(np.sum((values - vector) ** 2, axis=1))


def test_k_are_found_however_few_may_be_returned():
    rng = np.random.default_rng(5)
    records = Records(slab=clustered(rng, 5000, 8), size=8)
    index = InvertedFile.over(records, lists=64)
    available = np.zeros(5000, dtype=np.uint8)
    available[rng.choice(5000, 12, replace=False)] = 1
    filters, queries = Filters(available=available), clustered(rng, 30, 8)
    found = index.search(records, queries, 10, nprobe=1, filters=filters)
    assert np.all(found.rows >= 0)
    assert np.all(available[found.rows])
    assert all(len(set(rows)) == 10 for rows in found.rows.tolist())
    found = index.search(records, queries, 13, nprobe=1, filters=filters)
    assert np.all((found.rows >= 0).sum(axis=1) == 12)
    assert np.all(found.scores[:, 12] == -np.inf)


def test_queries_too_long_for_their_length_are_answered():
    slab = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    records = Records(slab=slab, size=4)
    index = InvertedFile.over(records, lists=4)  # of no spread at all
    queries = np.array([[1e30, 0, 0, 0], [-1e38, -2e38, -3e38, -3e38]])
    found = index.search(records, queries, 25, nprobe=1)
    assert np.all(found.rows >= 0)
    assert np.array_equal(found.rows[0, :10], np.arange(10))


def test_a_new_version_takes_over_row_by_row():
    rng = np.random.default_rng(6)
    records = Records(slab=clustered(rng, 6000, 8), size=8)
    index = InvertedFile.over(records, lists=16)
    queries = clustered(rng, 50, 8)
    exact = search_exact(records, queries, 10)
    fresh = index.train(records, lists=40, seed=1)
    assert fresh.version != index.centroids.version
    index.adopt(fresh)
    assert index.left_behind == 6000
    with pytest.raises(ConfigError, match="carry them over"):
        index.adopt(fresh)
    left = 6000
    while left:
        index.update(records, rng.integers(0, 6000, 100))  # moves them, too
        left = index.carry_over(records, 700)
        assert left == index.left_behind
        assert index.sizes.sum() == len(index) == 6000
        found = index.search(records, queries, 10, nprobe=ALL)
        assert np.array_equal(found.rows, exact.rows)
        assert recall(index.search(records, queries, 10, nprobe=8), exact) >= 0.95
    anew = InvertedFile(fresh)
    anew.update(records, np.arange(6000))
    assert index.hash() == anew.hash()
    assert len(index.sizes) == 40


def test_training_is_the_same_every_time_and_fills_every_list():
    rng = np.random.default_rng(7)
    sample = clustered(rng, 3000, 8)
    one, again = train_centroids(sample, 50), train_centroids(sample.copy(), 50)
    assert one.version == again.version
    assert train_centroids(sample, 50, seed=1).version != one.version
    few = train_centroids(np.repeat(sample[:3], 100, axis=0), 8)  # fewer different than lists
    assert len(few) == 8
    assert np.isfinite(few.values).all()
    index = InvertedFile(one)
    index.update(Records(slab=sample, size=8), np.arange(3000))
    assert np.all(index.sizes > 0)
    expected = np.sqrt(
        np.mean(np.sum((sample - one.values[index.lists_of(np.arange(3000))]) ** 2, axis=1)) / 8
    )
    weighted = np.sqrt(np.average(one.spreads.astype(float) ** 2, weights=index.sizes))
    assert abs(weighted - expected) < 1e-3


def test_a_step_of_training_equals_its_twin():
    sample = np.random.default_rng(9).normal(size=(700, 5)).astype(np.float32)
    for lists in (1, 70):
        for steps in (1, 2):
            before = train_centroids(sample, lists, iterations=steps).values.astype(float)
            after = train_centroids(sample, lists, iterations=steps + 1).values
            np.testing.assert_allclose(after, naive.means(sample, before), rtol=1e-4, atol=1e-5)


def test_the_slab_may_grow_and_entries_come_and_go():
    rng = np.random.default_rng(8)
    small = Records(slab=rng.normal(size=(10, 4)).astype(np.float32), size=4)
    index = InvertedFile(train_centroids(small.slab, 3))
    index.update(small, np.arange(10))
    large = Records(slab=rng.normal(size=(50 * BLOCK, 4)).astype(np.float32), size=4)
    large.slab[:10] = small.slab
    for _ in range(5):
        index.update(large, rng.permutation(len(large.slab)))
        index.erase(large, rng.permutation(len(large.slab))[: 40 * BLOCK])
        assert len(index) == 10 * BLOCK
    blocks = len(index._chain)
    index.update(large, np.arange(len(large.slab)))
    assert len(index._chain) == blocks
    with pytest.raises(ShapeError, match="this index has"):
        index.update(small, [0])


def test_what_does_not_fit_is_refused():
    records = Records(slab=np.ones((5, 4), dtype=np.float32), size=4)
    index = InvertedFile.over(records, lists=2)
    with pytest.raises(ConfigError, match="nprobe is 0"):
        index.search(records, np.ones((1, 4)), 1, nprobe=0)
    with pytest.raises(ShapeError, match="width 3"):
        index.search(Records(slab=records.slab, size=3), np.ones((1, 3)), 1)
    with pytest.raises(ShapeError, match="rows of the slab"):
        index.update(records, [-1])
    with pytest.raises(ShapeError, match="4 numbers each"):
        index.adopt(train_centroids(np.ones((2, 3), dtype=np.float32), 1))
    with pytest.raises(ConfigError, match="one or more"):
        InvertedFile.over(Records(slab=records.slab, size=4, live=np.zeros(5, dtype=np.uint8)))
    with pytest.raises(ConfigError, match="lists is 0"):
        train_centroids(records.slab, 0)


class Churn(RuleBasedStateMachine):
    """Rows written, moved, freed and reused, centroids renewed, beside a dictionary of vectors."""

    ROWS, SIZE = 3 * BLOCK, 3

    @initialize(seed=st.integers(0, 9))
    def start(self, seed):
        self.rng = np.random.default_rng(seed)
        slab = np.zeros((self.ROWS, self.SIZE), dtype=np.float32)
        self.records = Records(slab=slab, size=self.SIZE, live=np.zeros(self.ROWS, np.uint8))
        self.index = InvertedFile(train_centroids(self._vectors(20), 4))
        self.oracle = {}

    def _vectors(self, n):
        return self.rng.integers(-4, 5, (n, self.SIZE)).astype(np.float32)

    @rule(n=st.integers(1, 2 * BLOCK))
    def write(self, n):
        rows = self.rng.integers(0, self.ROWS, n)
        self.records.slab[rows] = self._vectors(n)
        self.records.live[rows] = 1
        self.index.update(self.records, rows)
        self.oracle |= {row: self.records.slab[row].copy() for row in rows.tolist()}

    @precondition(lambda self: self.oracle)
    @rule(n=st.integers(1, 2 * BLOCK), freed=st.booleans())
    def drop(self, n, freed):
        rows = self.rng.permutation(sorted(self.oracle))[:n]
        if freed:
            self.records.live[rows] = 0
            self.index.update(self.records, rows)
        else:
            self.index.erase(self.records, rows)
        for row in rows.tolist():
            del self.oracle[row]

    @precondition(lambda self: self.oracle and not self.index.left_behind)
    @rule(lists=st.integers(1, 9))
    def renew(self, lists):
        self.index.adopt(self.index.train(self.records, lists=lists))

    @rule(limit=st.integers(1, BLOCK))
    def carry(self, limit):
        before = self.index.left_behind
        assert self.index.carry_over(self.records, limit) == max(0, before - limit)

    @invariant()
    def answers_are_those_of_the_oracle(self):
        if not hasattr(self, "oracle"):
            return
        assert len(self.index) == len(self.oracle) == self.index.sizes.sum()
        placed = self.index.lists_of(np.arange(self.ROWS)) >= 0
        assert set(np.flatnonzero(placed).tolist()) == set(self.oracle)
        query = self._vectors(1)
        slab = np.zeros_like(self.records.slab)
        live = np.zeros(self.ROWS, dtype=np.uint8)
        for row, vector in self.oracle.items():
            slab[row], live[row] = vector, 1
        kept = Records(slab=slab, size=self.SIZE, live=live)
        expected = naive.search(kept, query, 20, Filters())
        found = self.index.search(self.records, query, 20, nprobe=ALL)
        np.testing.assert_array_equal(found.rows, expected[0])
        np.testing.assert_array_equal(found.scores, expected[1])


TestChurn = Churn.TestCase
TestChurn.settings = settings(max_examples=40, stateful_step_count=25)
