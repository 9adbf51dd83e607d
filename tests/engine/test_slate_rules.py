"""Plackett–Luce slates, and slates under diversity, caps and boosts."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.features import Schema
from engine.registry import make_policy
from engine.slates.ruled import RuledDraw
from tests import laws
from tests.engine.test_weights import asked, belief
from tests.engine.worlds import ITEMS, SCHEMA, item_features, learned, requests
from tests.naive import explore as naive

RULED = "slate=ruled,diversity=0.3,boost=genre=jazz:0.1|price:-0.02"
SPECS = [
    "linear-greedy:slate=plackett-luce",
    "linear-ucb:slate=plackett-luce,temperature=0.2,floor=0.1",
    "beta-kl-ucb:slate=plackett-luce",
    f"linear-thompson:{RULED}",
    f"linear-squarecb:{RULED}",
    f"beta-ucb:{RULED},floor=0.1",
    "linear-thompson:draws=slate",
    "beta-thompson:draws=slate,floor=0.3",
]
CAPPED = ["linear-thompson:slate=ruled,cap=genre:1", f"linear-ucb:{RULED},cap=genre:1"]
UNDER_CAPS = [
    laws.ranking_is_pure,
    laws.a_drawn_slate_scores_as_it_was_stated,
    laws.permuting_candidates_changes_nothing,
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law, spec):
    if law is laws.a_constant_reward_is_learned_within_two_percent:
        return  # of the model, which other tests hold to it
    law(spec)


@pytest.mark.parametrize("spec", CAPPED)
@pytest.mark.parametrize("law", UNDER_CAPS, ids=lambda law: law.__name__)
def test_law_under_caps(law, spec):
    law(spec)


def test_plackett_luce_is_its_formula():
    made, state = learned("linear-ucb:slate=plackett-luce,temperature=0.3,floor=0,alpha=1")
    posterior = made.derive(state)
    batch = requests(posterior, n=1)
    index = made.exploration.index(made.believe(posterior, batch))
    total = 0.0
    for picks in itertools.permutations(range(8), 2):
        stated = made.score(posterior, batch, np.array([picks])).propensity[0]
        left = [j for j in range(8) if j != picks[0]]
        expected = (
            naive.softmax(index, 0.3)[picks[0]],
            naive.softmax(index[left], 0.3)[left.index(picks[1])],
        )
        np.testing.assert_allclose(stated, expected, rtol=1e-9)
        total += stated.prod()
    assert abs(total - 1) < 1e-9


def ruled(belief_, rule, shown, z, schema=SCHEMA):
    """Means and eligible candidates of one request, some of whose items were shown."""
    size = len(belief_.mean)
    one = asked(size)
    one = replace(one, z=z)
    free = np.ones(size, dtype=bool)
    free[shown] = False
    adjusted, eligible = rule.narrow(belief_, one, free, np.array([shown], dtype=int), schema)
    return adjusted, np.flatnonzero(eligible).tolist()


def test_diversity_is_maximal_marginal_relevance():
    z = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [-2, 0, 0]])
    mean = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
    replicas = np.stack([mean, 2 * mean])
    given = belief(mean, replicas=replicas)
    first, _ = ruled(given, RuledDraw(diversity=0.25), [], z)
    np.testing.assert_allclose(first.mean, 0.75 * mean)
    then, eligible = ruled(given, RuledDraw(diversity=0.25), [0, 1], z)
    alike = np.array([1, 1, np.sqrt(0.5), 0, 0])  # of the last, the highest of -1 and 0
    np.testing.assert_allclose(then.mean, 0.75 * mean - 0.25 * alike)
    np.testing.assert_allclose(then.replicas, 0.75 * replicas - 0.25 * alike)
    np.testing.assert_array_equal(then.sd, given.sd)
    assert eligible == [2, 3, 4]


def test_boosts_add_columns():
    z = SCHEMA.encode_items([{"price": 7.0, "genre": "pop"}, {"price": 5.0, "genre": "jazz"}])
    boosted, _ = ruled(belief([0.1, 0.1]), RuledDraw(boost=("genre=jazz:0.5", "price:-0.1")), [], z)
    np.testing.assert_allclose(boosted.mean, [0.1 - 0.1, 0.1 + 0.5])


def test_caps_count_what_was_shown():
    genres = ["pop", "pop", "pop", "jazz", "folk", "folk", "folk"]
    z = SCHEMA.encode_items([{"genre": genre} for genre in genres])
    given = belief(np.zeros(7))
    assert ruled(given, RuledDraw(cap=("genre:2",)), [0], z)[1] == [1, 2, 3, 4, 5, 6]
    assert ruled(given, RuledDraw(cap=("genre:2",)), [0, 4, 1], z)[1] == [3, 5, 6]
    assert ruled(given, RuledDraw(cap=("genre:1",)), [0, 3, 4], z)[1] == [5, 6]


def test_slates_keep_their_caps_until_nothing_else_is_left():
    made, state = learned("linear-thompson:slate=ruled,cap=genre:1,alpha=3")
    posterior = made.derive(state)
    items = [item for item in ITEMS if item_features([item])[0]["genre"] != "folk"]
    batch = requests(posterior, n=200, items=items)
    slates = made.rank(posterior, batch, 3)
    genres = np.array([item_features([item])[0]["genre"] for item in items])
    assert all(len(set(genres[picks[:2]])) == 2 for picks in slates.picks)
    assert np.all(slates.propensity > 0)
    left = len(items) - 2
    assert np.all(slates.propensity[:, 2] >= made.slate.floor / left - 1e-12), "caps are lifted"


def test_what_a_cap_bars_has_no_chance():
    made, state = learned("linear-greedy:slate=ruled,cap=genre:1")
    posterior = made.derive(state)
    batch = requests(posterior, n=1, items=ITEMS)
    genre = [each["genre"] for each in item_features(ITEMS)]
    pairs = list(itertools.permutations(range(len(ITEMS)), 2))
    for picks in pairs:
        stated = made.score(posterior, batch, np.array([picks])).propensity[0, 1]
        barred = genre[picks[0]] == genre[picks[1]] != "folk"
        assert (stated == 0) == barred
    for first in range(len(ITEMS)):
        mine = [p for p in pairs if p[0] == first]
        stated = [made.score(posterior, batch, np.array([p])).propensity[0, 1] for p in mine]
        assert abs(sum(stated) - 1) < 1e-12


def test_diversity_makes_slates_less_alike():
    z = SCHEMA.encode_items(item_features(ITEMS))
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9)

    def likeness(spec):
        made, state = learned(spec)
        posterior = made.derive(state)
        slates = made.rank(posterior, requests(posterior, n=40, items=ITEMS), 3)
        cosines = [unit[picks] @ unit[picks].T for picks in slates.picks]
        return np.mean([each[np.triu_indices(3, 1)].mean() for each in cosines])

    plain, spread = (
        likeness(f"linear-greedy:floor=0,slate=ruled,diversity={share}") for share in (0, 0.6)
    )
    assert spread < plain - 0.1


def test_rules_that_say_nothing_change_nothing():
    made, state = learned("linear-thompson")
    posterior = made.derive(state)
    bare, _ = learned("linear-thompson:slate=ruled")
    batch = requests(posterior, n=5)
    one, other = made.rank(posterior, batch, 3), bare.rank(posterior, batch, 3)
    np.testing.assert_array_equal(one.picks, other.picks)
    np.testing.assert_allclose(one.propensity, other.propensity, atol=2e-6)


@pytest.mark.parametrize("spec", ["linear-thompson:draws=slate", "beta-thompson:draws=slate"])
def test_pins_leave_the_other_slots_one_draw(spec):
    """A pinned slot is as if its item were no candidate: the others are a shorter slate."""
    made, state = learned(spec)
    posterior = made.derive(state)
    batch = requests(posterior, n=3, items=ITEMS)
    pins = np.full((3, 3), -1)
    pins[0, 1], pins[1] = 4, [6, 0, 2]
    slates = made.rank(posterior, batch, 3, pins)
    assert slates.picks[1].tolist() == [6, 0, 2]
    assert slates.methods()[0] == ["quadrature", "pinned", "quadrature"]
    others = [item for at, item in enumerate(ITEMS) if at != 4]
    alone = made.score(
        posterior,
        requests(posterior, n=1, items=others),
        np.array([[others.index(ITEMS[slates.picks[0, slot]]) for slot in (0, 2)]]),
    )
    # the first row of contexts is the same for any number of them
    np.testing.assert_allclose(slates.propensity[0, [0, 2]], alone.propensity[0], rtol=1e-9)
    whole = made.score(posterior, batch, slates.picks)
    np.testing.assert_array_equal(whole.propensity[2], slates.propensity[2])
    taken = slates.picks.copy()
    taken[0, 0] = 4  # another slot's pin
    taken[0, 1] = 4
    assert made.score(posterior, batch, _distinct(taken), pins).propensity[0, 0] == 0.0


def _distinct(picks):
    """The same picks, with an item that stands twice kept in its first place alone."""
    picks = picks.copy()
    for row in picks:
        for slot in range(1, len(row)):
            while row[slot] in row[:slot]:
                row[slot] = (row[slot] + 1) % len(ITEMS)
    return picks


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("linear-thompson:slate=plackett-luce", "does not choose by one"),
        ("linear-epsilon:slate=plackett-luce", "does not choose by one"),
        ("linear-softmax:slate=plackett-luce", "does not choose by one"),
        ("linear-greedy:slate=plackett-luce,temperature=0", "above 0"),
        ("linear-thompson:slate=ruled,draws=slate", "draws=slot"),
        ("beta-thompson:slate=ruled,diversity=0.1", "does not choose by"),
        ("beta-kl-ucb:slate=ruled,boost=price:1", "does not choose by"),
        ("linear-ucb:slate=ruled,diversity=1", "below 1"),
        ("linear-ucb:slate=ruled,cap=genre", "name:number"),
        ("linear-ucb:slate=ruled,cap=genre:0", "whole number above 0"),
        ("linear-ucb:slate=ruled,cap=genre:1|genre:2", "twice"),
        ("linear-ucb:slate=ruled,cap=genra:1", "did you mean 'genre'"),
        ("linear-ucb:slate=ruled,cap=device:1", "no categorical feature of the item"),
        ("linear-ucb:slate=ruled,cap=price:1", "no categorical feature of the item"),
        ("linear-ucb:slate=ruled,boost=prize:1", "did you mean 'price'"),
        ("linear-ucb:slate=ruled,boost=price:much", "finite number"),
        ("linear-ucb:slate=ruled,boost=price:nan", "finite number"),
        ("linear-ucb:slate=ruled,floor=2", "0 to 1"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(spec, hint):
    with pytest.raises(ConfigError, match=hint):
        make_policy(spec, schema=SCHEMA)


def test_diversity_needs_item_features():
    with pytest.raises(ConfigError, match="features of the item"):
        make_policy("linear-ucb:slate=ruled,diversity=0.5", schema=Schema())


def test_a_beta_policy_may_be_capped():
    make_policy("beta-thompson:slate=ruled,cap=genre:2", schema=SCHEMA)


def test_what_a_cap_bars_states_nothing_of_what_was_drawn_in_its_place():
    made, state = learned("shared-thompson:slate=ruled,cap=genre:1")
    posterior = made.derive(state)
    genre = [features["genre"] for features in item_features(ITEMS)]
    first, second = next(
        pair
        for pair in itertools.permutations(range(7), 2)
        if genre[pair[0]] == genre[pair[1]] == "pop"
    )
    stated = made.score(
        posterior, requests(posterior, n=4, items=ITEMS), np.tile([first, second], (4, 1))
    )
    for values in (stated.propensity, stated.error, stated.recurrence, stated.unbiased):
        assert np.all(values[:, 1] == 0)
    assert not stated.greedy[:, 1].any()


def test_nothing_follows_from_a_slot_that_shows_the_pin_of_another():
    """With one draw a slate; what is drawn in its place may be a later slot's given pick."""
    made, state = learned("beta-thompson:draws=slate")
    posterior = made.derive(state)
    batch, n = requests(posterior, n=200, items=ITEMS), 200
    picks, pins = np.tile([4, 2, 0, 1, 3], (n, 1)), np.tile([-1, -1, -1, 2, -1], (n, 1))
    stated = made.score(posterior, batch, picks, pins)
    assert np.all(stated.propensity[:, 0] > 0)
    for column in (1, 2, 4):
        assert np.all(stated.propensity[:, column] == 0)
        assert np.all(stated.error[:, column] == 0)
