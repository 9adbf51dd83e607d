"""Conjugate models beside SciPy's distributions, and the priors of groups."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from engine.batches import Candidates, Outcomes, Requests
from engine.errors import ConfigError
from engine.features import Categorical, Schema
from engine.models.groups import pool_items
from engine.registry import make_policy
from tests.laws import LAWS
from tests.naive import groups as naive

GENRES = Schema(features=(Categorical(name="genre", of="item", values=("pop", "jazz")),))
FAMILIES = ("beta", "poisson", "normal")


def shown(item_ids, reward, genres=None, chance=None):
    """Outcomes of items; with genres, of items that have one."""
    n = len(item_ids)
    return Outcomes(
        item_ids=list(item_ids),
        x=np.ones((n, 1)),
        reward=np.asarray(reward, dtype=float),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
        z=None if genres is None else GENRES.encode_items([{"genre": g} for g in genres]),
        examination=None if chance is None else np.full(n, chance),
    )


def believe(made, state, item_ids, genres=None):
    posterior = made.derive(state)
    z = None if genres is None else GENRES.encode_items([{"genre": g} for g in genres])
    found = Candidates.of(posterior, item_ids, z=z)
    return made.believe(posterior, Requests.of(np.ones((1, 1)), ["r"], [found]))


def learn(made, *batches):
    state = made.init()
    for batch in batches:
        made.update(state, batch)
    return state


def student(reward, mean, weight, shape, scale):
    """Posterior of the mean by the textbook's sequential update, one reward at a time."""
    for r in reward:
        scale += 0.5 * weight * (r - mean) ** 2 / (weight + 1)
        mean = (weight * mean + r) / (weight + 1)
        weight, shape = weight + 1, shape + 0.5
    return scipy.stats.t(2 * shape, mean, np.sqrt(scale / (shape * weight)))


def gamma(reward, a, b):
    return scipy.stats.gamma(a + sum(reward), scale=1 / (b + len(reward)))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("beta-ucb:prior_a=2,prior_b=5", lambda r: scipy.stats.beta(2 + sum(r), 5 + sum(1 - r))),
        ("poisson-ucb:prior_a=2,prior_b=5", lambda r: gamma(r, 2, 5)),
        (
            "normal-ucb:prior_mean=0.3,prior_weight=2,prior_shape=3,prior_scale=0.7",
            lambda r: student(r, 0.3, 2, 3, 0.7),
        ),
    ],
)
def test_beliefs_are_the_conjugate_distributions(spec, expected):
    made, reward = make_policy(spec), np.array([1.0, 0.0, 1.0, 1.0])
    found = believe(made, learn(made, shown(["a"] * 4, reward)), ["a", "unseen"])
    for at, distribution in enumerate((expected(reward), expected(reward[:0]))):
        np.testing.assert_allclose(found.mean[at], distribution.mean(), rtol=1e-12)
        np.testing.assert_allclose(found.sd[at], distribution.std(), rtol=1e-12)
    assert found.count.tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("family", "dist", "parameters"),
    [
        ("beta", "beta", lambda b: (b.a, b.b)),
        ("gamma", "gamma", lambda b: (b.a, 0, 1 / b.b)),
        ("student", "t", lambda b: (b.a, b.mean, b.b)),
    ],
)
def test_a_and_b_are_those_of_the_family(family, dist, parameters):
    name = {"gamma": "poisson", "student": "normal"}.get(family, family)
    made = make_policy(f"{name}-ucb")
    assert made.model.traits.family == family
    found = believe(made, learn(made, shown(["a", "b", "a"], [1, 0, 1])), ["a", "b", "c"])
    told = getattr(scipy.stats, dist)(*parameters(found))
    np.testing.assert_allclose(told.mean(), found.mean, rtol=1e-12)
    np.testing.assert_allclose(told.std(), found.sd, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slot_looked_at_half_the_time_is_corrected_for(family):
    made = make_policy(f"{family}-greedy")
    reward = np.tile([1.0, 0.0, 0.0, 0.0], 5000)
    batch = shown(["a"] * 20000, reward, chance=0.5)
    assert abs(believe(made, learn(made, batch), ["a"]).mean[0] - 0.5) < 0.001


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("group", ["", "genre"])
@pytest.mark.parametrize("constant", [0.4, 0.02])
def test_fifty_prior_weights_of_a_constant_reward_are_learned_within_two_percent(
    family, group, constant
):
    made = make_policy(f"{family}-greedy:group={group}", schema=GENRES)
    prior = {"beta": 0.5, "poisson": 1.0, "normal": 0.0}[family]
    worth = 2 if family == "beta" else 1
    # A prior that is wrong by more than the reward itself takes as many times longer.
    n = int(50 * worth * max(1.0, abs(prior - constant) / constant))
    items = [f"i{i}" for i in range(6) for _ in range(n)]
    genres = [("pop", "jazz")[int(item[1]) % 2] for item in items]
    state = learn(made, shown(items, np.full(len(items), constant), genres))
    np.testing.assert_allclose(believe(made, state, sorted(set(items))).mean, constant, rtol=0.02)


def world(family, seed=0, items=30, n=200):
    """Items of a good and of a bad group: chances, or rates, of about 0.6 and 0.1."""
    rng = np.random.default_rng(seed)
    genres = [("pop", "jazz")[i % 2] for i in range(items)]
    level = np.array([0.6 if genre == "pop" else 0.1 for genre in genres])
    true = np.clip(rng.normal(level, 0.03), 0.01, 0.99)
    order = rng.permutation(np.repeat(np.arange(items), n))
    draw = {
        "beta": lambda p: (rng.random(len(p)) < p).astype(float),
        "poisson": lambda p: rng.poisson(p).astype(float),
        "normal": lambda p: rng.normal(p, 0.5),
    }[family]
    return true, shown([f"i{i}" for i in order], draw(true[order]), [genres[i] for i in order])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_item_of_a_good_group_starts_above_one_of_a_bad_group(family):
    made = make_policy(f"{family}-greedy:group=genre", schema=GENRES)
    _, batch = world(family)
    state = learn(made, batch)
    found = believe(made, state, ["new-1", "new-2", "new-3"], ["pop", "jazz", "folk"])
    # The level above a group counts as one item of sixteen: means are off by no more than that.
    np.testing.assert_allclose(found.mean[:2], [0.6, 0.1], atol=0.06)
    assert found.mean[1] < found.mean[2] < found.mean[0], "of no known group: the population"
    assert np.all(found.sd[:2] < found.sd[2]), "groups differ more than items within them"
    alone = make_policy(f"{family}-greedy", schema=GENRES)
    blind = believe(alone, learn(alone, batch), ["new-1", "new-2"], ["pop", "jazz"])
    assert blind.mean[0] == blind.mean[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_group_priors_bring_few_outcomes_nearer_the_truth(family):
    errors = {}
    true, batch = world(family, seed=3, n=8)
    for group in ("", "genre"):
        made = make_policy(f"{family}-greedy:group={group}", schema=GENRES)
        state = learn(made, batch)
        mean = believe(made, state, [f"i{i}" for i in range(len(true))]).mean
        errors[group] = np.sqrt(np.mean((mean - true) ** 2))
    assert errors["genre"] < 0.75 * errors[""]


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_of_grouped_items_merge_to_the_whole(family):
    made = make_policy(f"{family}-greedy:group=genre", schema=GENRES)
    _, batch = world(family, seed=1)
    whole = learn(made, batch)
    n = len(batch.item_ids)
    merged = made.merge([learn(made, batch.take(np.arange(i, n, 3))) for i in range(3)])
    items, genres = ["i0", "i7", "new-1", "new-2"], ["pop", "jazz", "pop", "jazz"]
    one, other = believe(made, whole, items, genres), believe(made, merged, items, genres)
    for name in ("mean", "sd", "a", "b", "count"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_laws_hold_with_groups(law, family):
    law(f"{family}-ucb:group=genre")


@pytest.mark.parametrize("bounded", [False, True])
def test_pooling_equals_its_twin(bounded):
    rng = np.random.default_rng(5)
    weight = np.concatenate([rng.exponential(20, 40), [0.0, 0.5, 1.0]])
    mean = np.where(weight > 0, rng.beta(2, 6, len(weight)), 0.0)
    level = rng.integers(0, 4, len(weight))
    level[level == 2] = 1  # a group without items

    def variance(m):
        return m * (1 - m) if bounded else m

    given = {"prior_mean": 0.4, "prior_spread": 0.2, "prior_weight": 3.0}
    found = pool_items(weight, mean, level, 4, **given, variance=variance, bounded=bounded)
    seen = weight > 0  # what faded to nothing is as what never was
    twin = naive.pool_items(
        weight[seen], mean[seen], level[seen], 4, (0.4, 0.2), 3.0, variance, bounded
    )
    np.testing.assert_allclose(found, twin, rtol=1e-12)
    np.testing.assert_array_equal([each[2] for each in found], [each[0] for each in found])


@pytest.mark.parametrize("bounded", [False, True])
def test_the_spread_between_items_is_found(bounded):
    """Unbiased up to the item that the level above counts as: 400 items of 50 outcomes each."""
    rng, found = np.random.default_rng(2), []
    for _ in range(20):
        if bounded:
            true = rng.beta(2, 6, 400)  # intraclass correlation 1 / 9
            y, expected = rng.binomial(50, true) / 50, 1 / 9
        else:
            true = rng.gamma(3.0, 1 / 4, 400)  # variance between over variance within: 1 / 4
            y, expected = rng.poisson(50 * true) / 50, 1 / 4
        _, spread = pool_items(
            np.full(400, 50.0),
            y,
            np.ones(400, dtype=np.int64),
            1,
            prior_mean=true.mean(),
            prior_spread=expected,
            prior_weight=1.0,
            variance=(lambda m: m * (1 - m)) if bounded else (lambda m: m),
            bounded=bounded,
        )
        found.append(spread[1] / expected)
    assert abs(np.mean(found) - 1) < 0.03, "4 standard errors of 20 runs"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_must_be_a_categorical_item_feature(family):
    with pytest.raises(ConfigError, match="group is 'gnre'"):
        make_policy(f"{family}-greedy:group=gnre", schema=GENRES)
    of_request = Schema(features=(replace(GENRES.features[0], of="context"),))
    with pytest.raises(ConfigError, match="categorical feature of the item"):
        make_policy(f"{family}-greedy:group=genre", schema=of_request)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("poisson-greedy:prior_b=0", "above 0"),
        ("normal-greedy:prior_weight=-1", "above 0"),
        ("normal-greedy:prior_shape=1", "above 1"),
        ("normal-greedy:prior_mean=inf", "finite"),
    ],
)
def test_wrong_priors_are_refused(spec, hint):
    with pytest.raises(ConfigError, match=hint):
        make_policy(spec)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_item_shown_where_nobody_looked_is_believed_what_its_group_says(family):
    made = make_policy(f"{family}-greedy:group=genre,examination=cascade", schema=GENRES)
    state = made.init()
    reward = [0.9] * 20 + [0.1] * 20
    made.update(
        state, shown([f"item-{i}" for i in range(40)], reward, ["pop"] * 20 + ["jazz"] * 20)
    )
    below = replace(shown(["below"], [0.0], ["jazz"]), slot=np.array([3]), last=np.array([0]))
    made.update(state, below)
    means = believe(made, state, ["below", "never"], ["jazz", "jazz"]).mean
    assert means[0] == means[1] < 0.3
