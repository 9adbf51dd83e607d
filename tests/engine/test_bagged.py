"""Bootstrap replicas of ridge regression: their kernels, their spread, and that they add."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from engine.errors import ConfigError
from engine.kernels.bagged import (
    derive_replicas,
    draw_repeats,
    predict_replicas,
    update_replicas,
)
from engine.models.bagged import BaggedLinear, bootstrap
from engine.policy import Outcomes
from engine.registry import make_policy
from tests import naive
from tests.engine.worlds import ITEMS, SCHEMA, learned, outcomes, requests
from tests.naive import ordered

RNG = np.random.default_rng


def test_repeats_equal_their_twin():
    rng = RNG(1)
    x, time_ms = rng.normal(size=(40, 3)), rng.integers(0, 2**40, 40)
    repeats = np.empty((40, 7))
    draw_repeats(np.uint64(5), time_ms, x.view(np.uint64), repeats)
    np.testing.assert_array_equal(repeats, ordered.draw_repeats(5, time_ms, x, 7))


@pytest.mark.parametrize("d", [1, 4])
def test_replicas_equal_their_twins(d):
    rng = RNG(d)
    m, n, r = 3, 60, 5
    rows, x = rng.integers(0, m, n), rng.normal(size=(n, d))
    reward, weight = rng.random(n), rng.random(n) + 0.5
    repeats = rng.poisson(1, (n, r)).astype(float)
    sums = np.zeros((m, r, d * (d + 1) // 2)), np.zeros((m, r, d))
    twin = sums[0].copy(), sums[1].copy()
    update_replicas(*sums, rows, x, reward, weight, repeats)
    ordered.update_replicas(*twin, rows, x, reward, weight, repeats)
    theta = np.empty((m, r, d))
    assert derive_replicas(*sums, 0.3, theta) == 0
    for replica in range(r):
        for mine, theirs in zip(sums, twin, strict=True):
            np.testing.assert_allclose(mine[:, replica], theirs[:, replica], rtol=1e-12, atol=1e-12)
        expected, _ = naive.derive_ridge(twin[0][:, replica], twin[1][:, replica], 0.3)
        np.testing.assert_allclose(theta[:, replica], expected, rtol=1e-9, atol=1e-12)
    offsets, asked = np.array([0, 3, 3, 8]), rng.integers(0, m, 8)
    mean = np.empty((r, 8))
    predict_replicas(theta, x[:3].copy(), offsets, asked, mean)
    expected = ordered.predict_replicas(theta, x[:3], offsets, asked)
    np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-13)


def test_sums_not_positive_definite_are_counted():
    gram = np.array([[[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]])
    assert derive_replicas(gram, np.zeros((1, 2, 2)), 0.5, np.zeros((1, 2, 2))) == 1


def test_repeats_are_poisson_and_independent_across_replicas():
    batch = outcomes(0, 4000)
    repeats = bootstrap(batch, 10, seed=3)
    chance = scipy.stats.poisson.pmf(np.arange(5), 1)
    seen = np.array([(repeats == count).sum() for count in range(5)])
    rest = repeats.size - seen.sum()
    statistic = scipy.stats.chisquare(
        [*seen, rest], [*(chance * 40_000), 40_000 * (1 - chance.sum())]
    )
    assert statistic.pvalue > 0.001
    assert np.abs(np.corrcoef(repeats.T) - np.eye(10)).max() < 0.06
    assert not np.array_equal(repeats, bootstrap(batch, 10, seed=4))


def test_outcomes_of_one_slate_move_together():
    batch = outcomes(0, 20)
    slate = replace(batch.take(np.zeros(20, dtype=np.int64)), reward=batch.reward)
    repeats = bootstrap(slate, 50, seed=0)
    assert np.all(repeats == repeats[0])
    later = replace(slate, time_ms=slate.time_ms + np.arange(20))
    assert not np.all(bootstrap(later, 50, seed=0) == repeats[0])
    negative = replace(slate, x=np.where(slate.x == 0, -0.0, slate.x))
    np.testing.assert_array_equal(bootstrap(negative, 50, seed=0), repeats)


def test_the_spread_is_the_standard_error():
    """Of a ridge regression with noise of standard deviation 0.5, within 15 % on average."""
    rng = RNG(2)
    n = 3000
    base = outcomes(1, n, items=("item-1",))
    truth = rng.normal(size=base.x.shape[1])
    batch = replace(base, reward=base.x @ truth + 0.5 * rng.normal(size=n), weight=np.ones(n))
    made = make_policy("bagged-greedy:replicas=200", schema=SCHEMA)
    exact = make_policy("linear-greedy", schema=SCHEMA)
    state, other = made.init(), exact.init()
    made.update(state, batch)
    exact.update(other, batch)
    posterior, reference = made.derive(state), exact.derive(other)
    asked = requests(posterior, n=30, items=("item-1",))
    mine = made.believe(posterior, asked)
    theirs = exact.believe(reference, requests(reference, n=30, items=("item-1",)))
    assert mine.replicas.shape == (200, 30)
    ratio = mine.sd / (0.5 * theirs.sd)
    assert abs(ratio.mean() - 1) < 0.15
    assert np.all(np.abs(mine.mean - theirs.mean) < 0.5 * mine.sd)


def test_shards_merge_to_the_whole_replica_by_replica():
    made, whole = learned("bagged-greedy:replicas=4", seed=2, n=300)
    batch = outcomes(2, 300)
    shards = [made.init() for _ in range(3)]
    for number, shard in enumerate(shards):
        made.update(shard, batch.take(np.arange(number, 300, 3)))
    merged, one = made.merge(shards).take(ITEMS), whole.take(ITEMS)
    for name in one:
        np.testing.assert_allclose(merged[name], one[name], rtol=1e-12, atol=1e-12)


def test_an_unseen_item_has_no_spread_and_examination_scales_rows():
    made, state = learned("bagged-ucb", n=200)
    posterior = made.derive(state)
    belief = made.believe(posterior, requests(posterior, n=2, items=("item-1", "never-seen")))
    assert np.all(belief.sd[1::2] == 0)
    assert np.all(belief.sd[::2] > 0)
    n = 4000
    half = make_policy("bagged-greedy:examination=1|0.5")
    learning = half.init()
    batch = Outcomes(
        item_ids=["a"] * n,
        x=np.ones((n, 1)),
        reward=np.tile([0.8, 0.4], n // 2),
        weight=np.ones(n),
        time_ms=np.arange(n),
        slot=np.tile([0, 1], n // 2),
    )
    half.update(learning, batch)
    theta = half.derive(learning).arrays["theta"][1]
    np.testing.assert_allclose(theta, 0.8, rtol=0.01)


@pytest.mark.parametrize(
    "settings", [{"ridge": -1.0}, {"replicas": 1}, {"replica_seed": -1}], ids=str
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="give"):
        BaggedLinear(**settings)
