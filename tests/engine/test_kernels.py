"""Every compiled kernel beside its slow twin, on random input."""

import importlib
import pkgutil

import numpy as np
import pytest
import scipy.stats

import engine.kernels
from engine.kernels.linear import derive_ridge, predict_linear
from engine.kernels.slates import draw_by_belief, draw_by_index, mark_greedy
from engine.kernels.sums import add_rows, update_gram
from engine.kernels.thompson import integrate_wins
from tests import naive

RNG = np.random.default_rng
NONE = np.empty(0)


def batch(rng, n=6, most=9):
    sizes = rng.integers(3, most + 1, n)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    item_keys = rng.integers(0, 2**63, offsets[-1], dtype=np.uint64)
    keys = rng.integers(0, 2**63, n, dtype=np.uint64)
    return offsets, item_keys, keys


@pytest.mark.parametrize("d", [1, 2, 7])
def test_sums_and_ridge_equal_their_twins(d):
    rng = RNG(d)
    m, n = 5, 200
    rows = rng.integers(0, m, n)
    x, reward, weight = rng.normal(size=(n, d)), rng.random(n), rng.random(n) + 0.5
    gram, moment, total = np.zeros((m, d * (d + 1) // 2)), np.zeros((m, d)), np.zeros(m)
    twin = gram.copy(), moment.copy()
    update_gram(gram, moment, rows, x, reward, weight)
    naive.update_gram(*twin, rows, x, reward, weight)
    np.testing.assert_allclose(gram, twin[0], rtol=1e-12)
    np.testing.assert_allclose(moment, twin[1], rtol=1e-12)
    add_rows(total, rows, reward)
    np.testing.assert_allclose(total, np.bincount(rows, reward, m), rtol=1e-12)

    theta, covariance = np.empty_like(moment), np.empty_like(gram)
    assert derive_ridge(gram, moment, naive.pack(0.3 * np.eye(d)), theta, covariance) == 0
    expected = naive.derive_ridge(gram, moment, 0.3)
    np.testing.assert_allclose(theta, expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(covariance, expected[1], rtol=1e-9, atol=1e-12)

    offsets = np.array([0, 3, 3, 8])
    rows = rng.integers(0, m, 8)
    mean, sd = np.empty(8), np.empty(8)
    predict_linear(theta, covariance, x[:3].copy(), offsets, rows, mean, sd)
    expected = naive.predict_linear(theta, covariance, x[:3], offsets, rows)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-9)
    np.testing.assert_allclose(sd, expected[1], rtol=1e-9)


def test_ridge_counts_rows_that_are_not_positive_definite():
    gram = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]])
    theta, covariance = np.zeros((2, 2)), np.zeros((2, 3))
    assert derive_ridge(gram, np.ones((2, 2)), np.array([0.1, 0, 0.1]), theta, covariance) == 1
    assert theta[0, 0] > 0
    assert not theta[1].any()


@pytest.mark.parametrize("mass", [0.0, 0.3, 1.0])
def test_slates_equal_their_twins(mass):
    rng = RNG(7)
    seed, k = np.uint64(3), 3
    offsets, item_keys, keys = batch(rng, n=40)
    index = rng.integers(0, 4, offsets[-1]).astype(float)  # whole numbers: many ties
    mean, sd = rng.normal(size=offsets[-1]), rng.random(offsets[-1]) + 0.1
    a, b = rng.random(offsets[-1]) * 3 + 0.1, rng.random(offsets[-1]) * 3 + 0.1
    by_index, by_normal, by_beta = (np.full((len(keys), k), -1) for _ in range(3))
    propensity = np.empty(by_index.shape)
    draw_by_index(index, offsets, item_keys, keys, seed, 0, mass, by_index, propensity)
    draw_by_belief(0, mean, sd, NONE, offsets, item_keys, keys, seed, 0, mass, by_normal)
    draw_by_belief(1, a, b, NONE, offsets, item_keys, keys, seed, 0, mass, by_beta)
    for i, key in enumerate(keys):
        at = slice(offsets[i], offsets[i + 1])
        own = item_keys[at]

        def indexed(_, j, at=at):
            return index[at][j]

        def normal(slot_key, j, at=at, own=own):
            draw = naive.normal(naive.combine(slot_key, naive.BELIEF, own[j]))
            return mean[at][j] + sd[at][j] * draw

        def beta(slot_key, j, at=at, own=own):
            key = naive.combine(slot_key, naive.BELIEF, own[j])
            return naive.beta_log_odds(key, a[at][j], b[at][j])

        assert list(by_index[i]) == naive.draw_slate(indexed, own, key, seed, mass, k)
        assert list(by_normal[i]) == naive.draw_slate(normal, own, key, seed, mass, k)
        assert list(by_beta[i]) == naive.draw_slate(beta, own, key, seed, mass, k)
        expected = naive.index_propensity(index[at], by_index[i], mass)
        np.testing.assert_allclose(propensity[i], expected, rtol=1e-12)


def test_given_picks_are_kept():
    offsets, item_keys, keys = batch(RNG(1), n=1, most=4)
    picks = np.array([[2, 0]])
    propensity = np.empty((1, 2))
    draw_by_index(
        np.zeros(offsets[-1]), offsets, item_keys, keys, np.uint64(0), 0, 0.0, picks, propensity
    )
    assert picks.tolist() == [[2, 0]]
    assert propensity.tolist() == [[1 / offsets[-1], 1 / (offsets[-1] - 1)]]


def test_greedy_marks_the_highest_mean_left():
    greedy = np.empty((2, 2), dtype=bool)
    mark_greedy(
        np.array([1.0, 3, 2, 5, 5]), np.array([0, 3, 5]), np.array([[1, 0], [1, 0]]), greedy
    )
    assert greedy.tolist() == [[True, False], [True, True]]


def worst_error(beta, p, q, picks, twin):
    """Largest error of a slate's probabilities, slot by slot."""
    stated, left, worst = np.empty((1, len(picks))), list(range(len(p))), 0.0
    integrate_wins(int(beta), p, q, NONE, np.array([0, len(p)]), np.array([picks]), stated)
    for slot, pick in enumerate(picks):
        true = twin(p[left], q[left], left.index(pick))
        worst = max(worst, abs(true - stated[0, slot]))
        left.remove(pick)
    return worst


def test_normal_quadrature_holds_its_bound_over_eight_decades_of_spread():
    rng, worst = RNG(0), 0.0
    for _ in range(60):
        m = int(rng.integers(2, 25))
        mean = rng.normal(size=m) * 10 ** rng.uniform(-3, 0)
        sd = 10 ** rng.uniform(-rng.uniform(0, 8), 0, size=m)
        picks = rng.permutation(m)[:4]
        worst = max(worst, worst_error(False, mean, sd, picks, naive.normal_win))
    assert worst < 1e-8, "the bound stated to users is 1e-6"


def test_beta_quadrature_holds_its_bound_from_the_prior_to_ten_thousands_of_clicks():
    rng, worst = RNG(0), 0.0
    for trial in range(40):
        m = int(rng.integers(2, 12))
        seen = 10 ** rng.uniform(-1, 4.5, size=m)
        rate = rng.beta(1, 3, size=m)
        a, b = 0.5 + seen * rate, 0.5 + seen * (1 - rate)
        if trial % 4 == 0:
            a, b = np.full(m, 1.0), 1.0 + np.floor(seen)
        if trial % 7 == 0:
            a, b = np.full(m, 0.05), np.full(m, 0.2)
        picks = rng.permutation(m)[:3]
        worst = max(worst, worst_error(True, a, b, picks, naive.beta_win))
    assert worst < 1e-7, "the bound stated to users is 1e-6"


def test_quadrature_of_all_candidates_sums_to_one():
    rng = RNG(5)
    mean, sd = rng.normal(size=300) * 0.1, np.exp(rng.normal(size=300)) * 0.1
    total = 0.0
    for pick in range(300):
        wins = np.empty((1, 1))
        integrate_wins(0, mean, sd, NONE, np.array([0, 300]), np.array([[pick]]), wins)
        total += wins[0, 0]
    assert abs(total - 1) < 1e-7


@pytest.mark.parametrize("beta", [False, True])
def test_identical_candidates_win_equally(beta):
    for value in (0.01, 0.1, 1.0, 50.0):
        wins = np.empty((1, 3))
        same = np.full(100, value)
        integrate_wins(
            int(beta), same, same, NONE, np.array([0, 100]), np.array([[7, 0, 99]]), wins
        )
        np.testing.assert_allclose(wins[0], [1 / 100, 1 / 99, 1 / 98], atol=1e-7)


@pytest.mark.parametrize(("a", "b"), [(0.02, 0.05), (0.7, 3.0), (1.0, 1.0), (40.0, 900.0)])
def test_beta_draws_exceed_one_half_as_often_as_beta_does(a, b):
    n = 20_000
    keys = np.array([naive.mix(i) for i in range(n)], dtype=np.uint64)
    picks = np.full((n, 1), -1)
    # The draw of an item beats a near-certain 1/2 with the chance that Beta(a, b) exceeds 1/2.
    ab = np.tile([a, 1e9], n), np.tile([b, 1e9], n)
    offsets, item_keys = np.arange(n + 1) * 2, np.tile(np.array([1, 2], dtype=np.uint64), n)
    draw_by_belief(1, *ab, NONE, offsets, item_keys, keys, np.uint64(0), 0, 0.0, picks)
    expected = scipy.stats.beta(a, b).sf(0.5)
    assert abs(np.mean(picks == 0) - expected) < 5 * np.sqrt(expected * (1 - expected) / n) + 1e-4


def test_everything_compiled_has_a_signature_and_lives_in_kernels(root):
    for folder in ("engine", "streams", "api", "simulator"):
        for path in (root / folder).rglob("*.py"):
            if path.name != "compile.py":
                assert "njit" not in path.read_text(), f"{path} compiles by itself"
    compiled = [
        member
        for info in pkgutil.walk_packages(engine.kernels.__path__, "engine.kernels.")
        for name, member in vars(importlib.import_module(info.name)).items()
        if hasattr(member, "py_func") and not name.endswith("1")
    ]
    assert len(compiled) >= 8
    assert all(hasattr(member, "ahead") for member in compiled)
