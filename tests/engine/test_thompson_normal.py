"""Thompson slates of normal beliefs: the same picks as plain draws, probabilities within 1e-6."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from engine.kernels.random import combine1, normal1
from engine.kernels.slates import draw_by_belief
from engine.kernels.thompson_normal import CDF, PDF, draw_normal_slates
from tests import naive

BOUND = 1e-6


def world(name, m, rng):
    mean, sd = {
        "apart": (rng.normal(0, 1, m), np.full(m, 0.1)),
        "mixed": (rng.normal(0, 0.3, m), 0.1 + 0.1 * rng.random(m)),
        "alike": (rng.normal(0, 0.05, m), np.full(m, 0.2)),
        "equal": (np.zeros(m), np.full(m, 0.2)),
        "spread": (rng.normal(0, 0.3, m), 0.3 * 10 ** rng.uniform(-1, 0, m)),
        "ladder": (3.0 * np.arange(m), np.ones(m)),
        "wide": (rng.normal(0, 0.3, m), 0.3 * 10 ** rng.uniform(-3, 0, m)),
    }[name]
    return mean, sd


def slates(mean, sd, picks, *, n=1, mass=0.0, seed=0):
    m = len(mean)
    item_keys = np.random.default_rng(m).integers(0, 2**63, m).astype(np.uint64)
    keys = np.arange(7, 7 + n, dtype=np.uint64)
    given = (np.arange(n + 1) * m, np.tile(item_keys, n), keys, np.uint64(seed), 0, mass)
    probability, left_out = np.zeros(picks.shape), np.zeros(n, dtype=bool)
    mean, sd = np.tile(mean, n), np.tile(sd, n)
    plain = picks.copy()
    draw_normal_slates(mean, sd, *given, picks, probability, left_out)
    draw_by_belief(0, mean, sd, np.empty(0), *given, plain)
    return probability, left_out, plain


def win(mean, sd, left, a):
    """P(the draw of a is highest of those left): SciPy's quadrature, piece by piece."""
    rivals = [j for j in left if j != a]

    def integrand(z):
        below = scipy.stats.norm.logcdf(z, mean[rivals], sd[rivals]).sum()
        return scipy.stats.norm.pdf(z, mean[a], sd[a]) * np.exp(below)

    ends = mean[a] + sd[a] * np.linspace(-9, 9, 37)
    parts = [
        scipy.integrate.quad(integrand, low, high, epsabs=1e-12, epsrel=1e-9)[0]
        for low, high in itertools.pairwise(ends)
    ]
    return sum(parts)


@pytest.mark.parametrize("m", [2, 3, 12])
@pytest.mark.parametrize("name", ["apart", "mixed", "alike", "equal", "spread", "ladder"])
def test_every_slot_is_within_the_bound_of_quadrature(name, m):
    mean, sd = world(name, m, np.random.default_rng(m))
    k = min(m - 1, 4)
    drawn = np.full((1, k), -1)
    slates(mean, sd, drawn, seed=3)
    worst_first = np.argsort(mean)[None, :k].copy()  # what a Thompson slate never is
    for picks in (drawn, worst_first):
        probability, left_out, _ = slates(mean, sd, picks)
        assert not left_out[0]
        for slot in range(k):
            left = [j for j in range(m) if j not in picks[0, :slot]]
            expected = win(mean, sd, left, picks[0, slot])
            assert abs(probability[0, slot] - expected) < BOUND


@pytest.mark.parametrize("name", ["apart", "mixed", "alike", "equal", "spread", "ladder"])
def test_slates_of_ten_from_a_thousand_hold_the_bound_in_every_slot(name):
    mean, sd = world(name, 1000, np.random.default_rng(1))
    picks = np.full((1, 10), -1)
    probability, left_out, plain = slates(mean, sd, picks)
    np.testing.assert_array_equal(picks, plain)
    assert not left_out[0]
    for slot in (0, 4, 9):
        left = np.delete(np.arange(1000), picks[0, :slot])
        place = int(np.flatnonzero(left == picks[0, slot])[0])
        expected = naive.normal_win_of_many(mean[left], sd[left], place)
        assert abs(probability[0, slot] - expected) < BOUND


@pytest.mark.parametrize("name", ["apart", "mixed", "alike", "equal"])
def test_probabilities_of_a_slot_sum_to_one(name):
    mean, sd = world(name, 300, np.random.default_rng(2))
    first = np.arange(300)[:, None].copy()
    probability, _, _ = slates(mean, sd, first, n=300)
    assert abs(probability.sum() - 1) < 1e-5
    best = int(np.argmax(mean))
    others = np.array([[best, j] for j in range(300) if j != best])
    probability, _, _ = slates(mean, sd, others, n=299)
    assert abs(probability[:, 1].sum() - 1) < 1e-5


@pytest.mark.parametrize("mass", [0.0, 0.3])
def test_picks_are_those_of_plain_draws(mass):
    mean, sd = world("mixed", 60, np.random.default_rng(4))
    picks = np.full((500, 5), -1)
    _, _, plain = slates(mean, sd, picks, n=500, mass=mass)
    np.testing.assert_array_equal(picks, plain)


def test_spreads_too_far_apart_are_left_to_the_caller():
    mean, sd = world("wide", 400, np.random.default_rng(5))
    picks = np.full((1, 3), -1)
    probability, left_out, plain = slates(mean, sd, picks)
    assert left_out.tolist() == [True]
    np.testing.assert_array_equal(picks, plain)
    assert probability.tolist() == [[0.0] * 3]


def test_the_table_of_the_distribution_function_is_near():
    t = np.linspace(-8, 8, 4001)
    cell = np.round((t + 8) * 32).astype(int)
    off = t - (cell / 32 - 8)
    middle = cell / 32 - 8
    bend = 1 - off * (middle / 2 - off * (middle**2 - 1) / 6)
    found = CDF[cell] + PDF[cell] * off * bend
    assert np.max(abs(found - scipy.stats.norm.cdf(t))) < 1e-8


def test_normal_numbers_are_quantiles_within_1e_8():
    keys = np.random.default_rng(6).integers(0, 2**64, 4000, dtype=np.uint64)
    ends = np.array([0, 1 << 11, 2 << 11, 2**64 - 1], dtype=np.uint64)
    for key in (*keys, *ends):
        assert abs(normal1(key) - naive.normal(int(key))) < 1e-8


def test_normal_numbers_are_normal():
    draws = [normal1(np.uint64(combine1(np.uint64(5), np.uint64(i)))) for i in range(20_000)]
    assert scipy.stats.kstest(draws, "norm").pvalue > 1e-3


@pytest.mark.parametrize("m", [2000, 50_000])
def test_tails_of_thousands_of_candidates_are_not_lost(m):
    """One narrow belief at the end of many alike: each reaches it once in a billion draws."""
    mean, sd = np.zeros(m), np.ones(m)
    mean[0], sd[0] = 5.999, 0.01
    probability, left_out, _ = slates(mean, sd, np.array([[0]]))
    z = np.linspace(-8, 8, 4001)
    rivals = (m - 1) * scipy.stats.norm.logcdf(mean[0] + sd[0] * z)
    expected = np.sum(scipy.stats.norm.pdf(z) * np.exp(rivals)) * (z[1] - z[0])
    assert not left_out[0]
    assert abs(probability[0, 0] - expected) < BOUND
