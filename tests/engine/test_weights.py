"""Explorations that state their probabilities outright: formulas, ties, ranges, refusals."""

import numpy as np
import pytest

from engine.batches import Belief, Requests, hash_key
from engine.errors import ConfigError
from engine.exploration.bagging import Bagging
from engine.exploration.base import Terms
from engine.exploration.exp3 import Exp3
from engine.exploration.inverse_gap import FastCB, SquareCB
from engine.exploration.kl_ucb import KLUCB
from engine.exploration.weighted import Softmax, TopM
from engine.kernels.explore import draw_by_replicas, draw_by_weights, find_kl_bounds
from engine.models.base import Model, Traits
from engine.registry import make_policy
from tests.engine.test_kernels import batch
from tests.naive import explore as naive

RNG = np.random.default_rng
KINDS = {
    0: (20.0, lambda s: naive.softmax(s, 1 / 20)),
    1: (20.0, lambda s: naive.squarecb(s, 20.0)),
    2: (20.0, lambda s: naive.fastcb(-s, 20.0)),
    3: (0.3, lambda s: naive.exp3(s, 0.3)),
    4: (4.0, lambda s: naive.top_m(s, 4)),
}


def belief(mean, *, sd=0.1, family="normal", count=1.0, total=100.0, **more):
    mean = np.asarray(mean, dtype=float)
    size = len(mean)
    return Belief(
        family=family,
        mean=mean,
        sd=np.broadcast_to(sd, size).astype(float),
        noise=np.ones(size),
        count=np.broadcast_to(count, size).astype(float),
        total=total,
        **more,
    )


def asked(size, n=1):
    return Requests(
        x=np.ones((n, 1)),
        keys=np.array([hash_key(f"r{i}") for i in range(n)], dtype=np.uint64),
        offsets=np.arange(n + 1) * size,
        item_keys=np.tile(np.array([hash_key(f"i{j}") for j in range(size)], dtype=np.uint64), n),
        rows=np.zeros(n * size, dtype=np.int64),
    )


def first_slot(exploration, believed, floor=0.0):
    """Probability of every candidate of one request's first slot."""
    size = len(believed.mean)
    return np.array(
        [
            exploration.draw(
                believed, asked(size), np.array([[j]]), Terms(seed=0, floor=floor)
            ).propensity[0, 0]
            for j in range(size)
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mass", [0.0, 0.2, 1.0])
def test_weighted_slates_equal_their_twins(kind, mass):
    rng = RNG(kind)
    sharpness, formula = KINDS[kind]
    offsets, item_keys, keys = batch(rng, n=60)
    score = -rng.integers(1, 8, offsets[-1]) / 8  # eighths: many ties; losses when negated
    picks, propensity = np.full((60, 3), -1), np.empty((60, 3))
    seed = np.uint64(3)
    draw_by_weights(
        kind, score, sharpness, offsets, item_keys, keys, seed, 0, mass, picks, propensity
    )
    for i, key in enumerate(keys):
        at = slice(offsets[i], offsets[i + 1])
        twin, found = naive.draw_slate(
            lambda left, at=at: formula(score[at][left]), item_keys[at], key, seed, mass, 3
        )
        assert list(picks[i]) == twin
        np.testing.assert_allclose(propensity[i], found, rtol=1e-12, atol=1e-15)
    given = picks.copy()
    again = np.empty_like(propensity)
    draw_by_weights(kind, score, sharpness, offsets, item_keys, keys, seed, 0, mass, given, again)
    np.testing.assert_array_equal(again, propensity)


@pytest.mark.parametrize("mass", [0.0, 0.2])
def test_slates_of_replicas_equal_their_twins(mass):
    rng, seed = RNG(9), np.uint64(5)
    offsets, item_keys, keys = batch(rng, n=60)
    replicas = rng.integers(0, 4, (12, offsets[-1])).astype(float)
    picks, propensity = np.full((60, 3), -1), np.empty((60, 3))
    draw_by_replicas(replicas, offsets, item_keys, keys, seed, 0, mass, picks, propensity)
    for i, key in enumerate(keys):
        own = replicas[:, offsets[i] : offsets[i + 1]]
        item = item_keys[offsets[i] : offsets[i + 1]]
        twin, found = naive.draw_slate(
            lambda left, own=own: naive.bagging(own[:, left]), item, key, seed, mass, 3
        )
        assert list(picks[i]) == twin
        np.testing.assert_allclose(propensity[i], found, rtol=1e-12, atol=1e-15)


def test_kl_bounds_solve_their_equation():
    rng = RNG(2)
    mean, count = rng.beta(0.5, 2, 400), 10 ** rng.uniform(-1, 6, 400)
    for budget in (1e-3, 0.7, 9.0, 40.0):
        found = np.empty(400)
        find_kl_bounds(mean, count, budget, found)
        expected = []
        for p, n in zip(mean, count, strict=True):
            # where even 1 - 1e-15 lies below the bound, it is 1 to the last digits
            q = 1 - 1e-15
            kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
            expected.append(1.0 if n * kl < budget else naive.kl_bound(p, n, budget))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        assert np.all((found >= mean) & (found <= 1))


def test_kl_bounds_at_the_ends():
    mean, count = np.array([0.0, 1.0, 0.3, 0.0]), np.array([10.0, 10.0, 0.0, 0.0])
    found = np.empty(4)
    find_kl_bounds(mean, count, 2.0, found)
    np.testing.assert_allclose(found, [1 - np.exp(-0.2), 1.0, 1.0, 1.0], rtol=1e-14)
    find_kl_bounds(mean, count, 0.0, found)
    assert found.tolist() == [0.0, 1.0, 1.0, 1.0]


def test_kl_ucb_explores_like_the_papers_first_example():
    """At t outcomes the budget is log t + c log log t; unseen items share the slot."""
    many = belief([0.3, 0.5, 0.5], family="beta", count=[50, 40, 0], total=90.0)
    plain, wide = KLUCB().index(many), KLUCB(c=3.0).index(many)
    budget = np.log(90.0)
    np.testing.assert_allclose(
        plain[:2], [naive.kl_bound(0.3, 50, budget), naive.kl_bound(0.5, 40, budget)], rtol=1e-10
    )
    assert np.all(wide[:2] > plain[:2])
    unseen = belief([0.5] * 4, family="beta", count=0.0, total=0.0)
    np.testing.assert_allclose(first_slot(KLUCB(), unseen), 0.25)


@pytest.mark.parametrize("exploration", [SquareCB(), FastCB(), Softmax()])
def test_equal_means_are_equally_likely(exploration):
    np.testing.assert_allclose(first_slot(exploration, belief([0.4] * 5)), 0.2, rtol=1e-12)


def test_two_bests_share_what_the_others_leave():
    p = first_slot(SquareCB(), belief([0.2, 0.6, 0.6], total=25.0))
    np.testing.assert_allclose(p[0], 1 / (3 + 50 * 0.4))
    np.testing.assert_allclose(p[1:], (1 - p[0]) / 2)


def test_inverse_gaps_are_uniform_before_the_first_outcome_and_sharpen():
    means = [0.1, 0.5, 0.3]
    for kind in (SquareCB, FastCB):
        np.testing.assert_allclose(first_slot(kind(), belief(means, total=0.0)), 1 / 3)
        best = [first_slot(kind(), belief(means, total=t))[1] for t in (1.0, 1e2, 1e4)]
        assert best[0] < best[1] < best[2]
        still = [first_slot(kind(exponent=0.0), belief(means, total=t)) for t in (0.0, 1e4)]
        np.testing.assert_array_equal(*still)


@pytest.mark.parametrize("kind", [SquareCB, FastCB])
def test_rewards_in_other_units_give_the_same_probabilities(kind):
    means = np.array([0.1, 0.5, 0.3])
    np.testing.assert_allclose(
        first_slot(kind(low=-5.0, high=15.0), belief(20 * means - 5)),
        first_slot(kind(), belief(means)),
        rtol=1e-12,
    )


def test_fastcb_leaves_what_loses_nothing_alone_and_clips():
    p = first_slot(FastCB(), belief([1.0, 0.2, 0.7]))
    assert p.tolist() == [1.0, 0.0, 0.0]
    beyond = belief([1.4, 1.1, -0.3])  # losses 0, 0, 1
    np.testing.assert_allclose(first_slot(FastCB(), beyond), [0.5, 0.5, 0.0])


def test_exp3_matches_its_figure():
    means, total = np.array([0.2, 0.0, 0.05]), 40.0
    p = first_slot(Exp3(gamma=0.3), belief(means, family="mean", total=total))
    odds = np.exp(0.3 * means * total / 3)
    np.testing.assert_allclose(p, 0.7 * odds / odds.sum() + 0.1, rtol=1e-12)
    scaled = belief(5 * means, family="mean", total=total)
    np.testing.assert_allclose(first_slot(Exp3(gamma=0.3, high=5.0), scaled), p, rtol=1e-12)


def test_a_hot_or_a_cold_softmax_stays_finite():
    np.testing.assert_allclose(
        first_slot(Softmax(temperature=1e-6), belief([0.0, 1.0, 1.0])), [0, 0.5, 0.5]
    )
    np.testing.assert_allclose(
        first_slot(Softmax(temperature=1e9), belief([0.0, 1.0, 1.0])), 1 / 3, rtol=1e-6
    )


def test_top_m_shares_the_last_places():
    p = first_slot(TopM(m=3, alpha=0.0), belief([0.9, 0.5, 0.5, 0.5, 0.1]))
    np.testing.assert_allclose(p, [1 / 3, 2 / 9, 2 / 9, 2 / 9, 0])
    by_bound = belief([0.9, 0.5, 0.5], sd=[0.0, 1.0, np.inf])
    np.testing.assert_allclose(first_slot(TopM(m=2, alpha=1.0), by_bound), [0, 0.5, 0.5])
    np.testing.assert_allclose(first_slot(TopM(m=9, alpha=0.0), by_bound), 1 / 3)


def test_bagging_counts_replicas():
    replicas = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]])
    p = first_slot(Bagging(), belief([0.5] * 3, replicas=replicas))
    np.testing.assert_allclose(p, np.array([1 + 1 / 3, 1 + 1 / 2 + 1 / 3, 1 / 2 + 1 / 3]) / 4)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("linear-softmax:temperature=0", "above 0"),
        ("linear-softmax:temperature=nan", "above 0"),
        ("linear-squarecb:scale=0", "above 0"),
        ("linear-squarecb:exponent=2", "no growth"),
        ("linear-fastcb:low=1", "low below high"),
        ("linear-fastcb:high=inf", "low below high"),
        ("linear-top-m:m=0", "1 or more"),
        ("linear-top-m:m=1.5", "m=number"),
        ("linear-top-m:alpha=-1", "alpha is"),
        ("beta-kl-ucb:c=-1", "0 or a number"),
        ("linear-kl-ucb", "counts of successes"),
        ("linear-exp3", "sums of rewards over their propensities"),
        ("linear-bagging", "replicas"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(spec, hint):
    with pytest.raises(ConfigError, match=hint):
        make_policy(spec)


@pytest.mark.parametrize("gamma", [0.0, 1.1, np.nan])
def test_exp3_needs_a_mass(gamma):
    with pytest.raises(ConfigError, match="gamma"):
        Exp3(gamma=gamma)


class MeanOnly(Model):
    """A model that tells no spread; only its traits are asked for."""

    traits = Traits(family="mean")
    axes = update = derive = believe = None


@pytest.mark.parametrize("kind", ["ucb", "top-m"])
def test_bounds_need_a_spread(kind):
    from engine.registry import EXPLORATIONS

    with pytest.raises(ConfigError, match="tells a mean alone"):
        EXPLORATIONS[kind]().check(MeanOnly())
    TopM(alpha=0.0).check(MeanOnly())
    SquareCB().check(MeanOnly())


def test_fastcb_is_uniform_before_the_first_outcome_even_where_no_loss_is_expected():
    # a boost may lift a mean to the end of the range
    found = first_slot(FastCB(), belief([1.5, 0.5, 0.2, 1.0], total=0.0))
    np.testing.assert_allclose(found, 0.25)
