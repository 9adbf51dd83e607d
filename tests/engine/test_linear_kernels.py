"""Kernels of the linear family beside their slow twins, on random input."""

import numpy as np
import pytest

from engine.features import Categorical, Interaction, Numeric, Schema
from engine.kernels.fourier import draw_frequencies, map_features
from engine.kernels.hybrid import eliminate_items, predict_hybrid
from engine.kernels.linear import derive_ridge, weigh_covariance
from engine.kernels.shared import factor_covariance, join_rows, predict_joint
from engine.kernels.sums import update_cross, update_outer
from tests import naive
from tests.naive import linear as twin

RNG = np.random.default_rng
SCHEMA = Schema(
    features=(
        Numeric(name="age"),
        Categorical(name="device", values=("ios", "web")),
        Numeric(name="price", of="item"),
        Categorical(name="genre", of="item", values=("pop", "jazz", "folk")),
        Interaction(left="device", right="genre"),
        Interaction(left="price", right="age"),
    )
)


def definite(rng, m, d):
    """Packed positive definite matrices ``(m, d (d + 1) / 2)``."""
    rows = rng.normal(size=(m, 2 * d, d))
    return np.array([naive.pack(r.T @ r) for r in rows])


def candidates(rng):
    offsets = np.array([0, 5, 5, 6, 13])
    x, z = rng.normal(size=(4, 4)), rng.normal(size=(13, 4))
    z[rng.random(z.shape) < 0.3] = 0.0
    of = np.repeat(np.arange(4), np.diff(offsets))
    return offsets, x, z, of


@pytest.mark.parametrize("d", [1, 3, 8])
def test_sums_of_products_equal_their_twins(d):
    rng = RNG(d)
    m, n, h = 4, 150, d + 1
    rows, weight = rng.integers(0, m, n), rng.random(n) + 0.5
    x, other = rng.normal(size=(n, d)), rng.normal(size=(n, h))
    gram, cross = np.zeros((m, d * (d + 1) // 2)), np.zeros((m, d, h))
    expected = gram.copy(), cross.copy()
    update_outer(gram, rows, x, weight)
    update_cross(cross, rows, x, other, weight)
    twin.update_outer(expected[0], rows, x, weight)
    twin.update_cross(expected[1], rows, x, other, weight)
    np.testing.assert_allclose(gram, expected[0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(cross, expected[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 9])
def test_covariances_of_faded_rows_equal_their_twin(d):
    rng = RNG(d)
    squared, covariance, prior = definite(rng, 3, d), definite(rng, 3, d), definite(rng, 1, d)[0]
    expected = twin.weigh_covariance(squared, prior, covariance, d)
    weigh_covariance(squared, prior, covariance)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)


@pytest.mark.parametrize("f", [1, 2, 11])
def test_factors_multiply_to_the_covariance(f):
    covariance, factor = definite(RNG(f), 1, f)[0], np.full((f, f), np.nan)
    assert factor_covariance(covariance, factor)
    np.testing.assert_allclose(factor, np.linalg.cholesky(naive.unpack(covariance, f)), rtol=1e-9)


def test_a_covariance_that_is_none_has_no_factor():
    assert not factor_covariance(np.array([1.0, 2.0, 1.0]), np.empty((2, 2)))


def test_joint_rows_and_scores_equal_their_twins():
    rng = RNG(1)
    offsets, x, z, of = candidates(rng)
    rows = np.array([twin.joint_row(x[i], zj, SCHEMA) for i, zj in zip(of, z, strict=True)])
    f = rows.shape[1]
    out = np.empty_like(rows)
    join_rows(x, z, *SCHEMA.cross, offsets, out)
    np.testing.assert_array_equal(out, rows)
    np.testing.assert_array_equal(out, SCHEMA.joint(x[of], z))

    theta, covariance = rng.normal(size=f), definite(rng, 1, f)[0]
    mean, sd = np.empty(len(z)), np.empty(len(z))
    predict_joint(theta, covariance, x, z, *SCHEMA.cross, offsets, mean, sd)
    full = naive.unpack(covariance, f)
    np.testing.assert_allclose(mean, rows @ theta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sd, [np.sqrt(row @ full @ row) for row in rows], rtol=1e-9)


@pytest.mark.parametrize(("d", "h"), [(1, 1), (4, 3), (3, 12)])
def test_eliminating_items_equals_its_twin(d, h):
    rng = RNG(d)
    gram, moment, cross = definite(rng, 5, d), rng.normal(size=(5, d)), rng.normal(size=(5, d, h))
    prior, shared_gram = definite(rng, 1, d)[0], definite(rng, 1, h)[0]
    shared_moment = rng.normal(size=h)
    expected = twin.eliminate_items(gram, cross, moment, prior, shared_gram, shared_moment)
    theta, covariance, link = np.empty_like(moment), np.empty_like(gram), np.empty_like(cross)
    sums = (gram, cross, moment, prior)
    assert not eliminate_items(*sums, theta, covariance, link, shared_gram, shared_moment)
    found = (theta, covariance, link, shared_gram, shared_moment)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-11)


def test_items_that_are_not_positive_definite_are_counted_and_take_no_part():
    gram, moment, cross = np.array([[-1.0], [1.0]]), np.ones((2, 1)), np.ones((2, 1, 1))
    left, rest = np.ones(1), np.ones(1)
    out = np.zeros((2, 1)), np.zeros((2, 1)), np.zeros((2, 1, 1))
    assert eliminate_items(gram, cross, moment, np.ones(1), *out, left, rest) == 1
    assert (left[0], rest[0]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert out[0].tolist() == [[0.0], [pytest.approx(0.5)]]


def test_hybrid_scores_equal_the_four_terms_of_the_paper():
    rng = RNG(4)
    offsets, x, z, of = candidates(rng)
    d, m = 4, 6
    h = np.array([twin.joint_row(x[i], zj, SCHEMA)[d:] for i, zj in zip(of, z, strict=True)])
    size = h.shape[1]
    rows, theta, beta = rng.integers(0, m, len(z)), rng.normal(size=(m, d)), rng.normal(size=size)
    covariance, shared = definite(rng, m, d), definite(rng, 1, size)[0]
    inverses = [naive.unpack(packed, d) for packed in covariance]
    cross = rng.normal(size=(m, d, size))
    link = np.array([inverse @ block for inverse, block in zip(inverses, cross, strict=True)])
    mean, sd, own = np.empty(len(z)), np.empty(len(z)), np.empty(len(z))
    features, where = np.empty_like(h), (*SCHEMA.cross, offsets, rows)
    predict_hybrid(theta, covariance, link, beta, shared, x, z, *where, mean, sd, own, features)
    full = naive.unpack(shared, size)
    for j, row in enumerate(rows):
        at = x[of[j]]
        assert mean[j] == pytest.approx(theta[row] @ at + beta @ h[j], rel=1e-9)
        spread = twin.hybrid_spread(inverses[row], cross[row], full, at, h[j])
        assert sd[j] == pytest.approx(spread, rel=1e-8)
        assert own[j] == pytest.approx(np.sqrt(at @ inverses[row] @ at), rel=1e-9)
        rest = h[j] - cross[row].T @ inverses[row] @ at
        np.testing.assert_allclose(features[j], rest, rtol=1e-9, atol=1e-10)


def test_a_candidate_scores_the_same_bits_whoever_stands_beside_it():
    rng = RNG(5)
    x, z = rng.normal(size=(1, 4)), rng.normal(size=(11, 4))
    f = SCHEMA.sizes["f"]
    theta, covariance = rng.normal(size=f), definite(rng, 1, f)[0]
    whole = np.empty(11), np.empty(11)
    predict_joint(theta, covariance, x, z, *SCHEMA.cross, np.array([0, 11]), *whole)
    for j in range(11):
        alone = np.empty(1), np.empty(1)
        predict_joint(
            theta, covariance, x, z[j : j + 1].copy(), *SCHEMA.cross, np.array([0, 1]), *alone
        )
        assert (alone[0][0], alone[1][0]) == (whole[0][j], whole[1][j])


def test_frequencies_and_features_equal_their_twins():
    rng = RNG(6)
    keys = rng.integers(0, 2**63, 3, dtype=np.uint64)
    drawn = np.empty((3, 5))
    draw_frequencies(np.uint64(9), keys, 0.7, drawn)
    np.testing.assert_allclose(drawn, twin.frequencies(9, keys, 0.7, 5), atol=3e-8)
    rows, out = rng.normal(size=(20, 3)), np.empty((20, 10))
    rows[rng.random(rows.shape) < 0.2] = 0.0
    map_features(rows, drawn, 1.5, out)
    np.testing.assert_allclose(out, twin.fourier_rows(rows, drawn, 1.5), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1.5, rtol=1e-12)


def test_sums_that_overflowed_are_counted_and_give_no_beliefs():
    gram = np.array([[1.0, 0.0, np.inf], [1.0, 0.0, 2.0]])
    theta, covariance = np.zeros((2, 2)), np.zeros((2, 3))
    assert derive_ridge(gram, np.ones((2, 2)), np.zeros(3), theta, covariance) == 1
    np.testing.assert_allclose(theta, [[0.0, 0.0], [1.0, 0.5]], rtol=1e-12)
