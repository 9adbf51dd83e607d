"""Click rates clustered by visitor, and the interval of an uplift: A/A worlds find none."""

import math

import numpy as np
import pytest

from api.demo.traffic import GROUPS, Tally, group_of
from api.demo.uplift import click_rate, uplift
from simulator.worlds.shop import Shop

WORLDS = 400
VISITORS = 300


def aa(seed):
    """Two groups alike. Who comes often also clicks more, so slots are far from independent."""
    rng = np.random.default_rng(seed)
    keenness = rng.beta(0.6, 5.0, (2, VISITORS))
    slots = 5 * (1 + rng.poisson(12 * keenness))
    return list(zip(rng.binomial(slots, keenness), slots, strict=True))


def holds_zero(groups):
    gained = uplift(*(click_rate(*group) for group in groups))
    return gained.low <= 0.0 <= gained.high


def test_two_random_controls_show_no_uplift():
    held = sum(holds_zero(aa(seed)) for seed in range(WORLDS))
    assert 0.93 * WORLDS <= held <= 0.975 * WORLDS


def shop_aa(seed):
    """The demo's own shop and groups, both shown slates at random."""
    shop, rng = Shop(seed=seed, visitors=200), np.random.default_rng([seed, 1])
    tallies = {group: Tally() for group in GROUPS}
    for _ in range(600):
        number = int(rng.integers(200))
        slate = rng.choice(shop.items_at(0), shop.slots, replace=False)
        clicked = shop.clicks(shop.visitor(number, hour=12.0), slate, rng)
        tallies[group_of(seed, number)].add(number, len(slate), len(clicked))
    return [tallies[group].columns() for group in GROUPS]


def test_two_random_controls_in_the_demos_shop_show_no_uplift():
    held = sum(holds_zero(shop_aa(seed)) for seed in range(200))
    assert held >= 0.93 * 200


def test_slots_taken_as_independent_would_find_uplifts_that_are_not_there():
    def naive(clicks, slots):  # one "visitor" a slot
        single = np.repeat(np.arange(2), [clicks.sum(), slots.sum() - clicks.sum()]) == 0
        return single, np.ones_like(single)

    held = sum(holds_zero([naive(*group) for group in aa(seed)]) for seed in range(WORLDS))
    assert held < 0.85 * WORLDS


def test_an_uplift_that_is_there_is_covered_and_found():
    rng = np.random.default_rng(1)
    found = covered = 0
    for _ in range(200):
        slots = 5 * (1 + rng.poisson(3, (2, VISITORS)))
        rate = rng.beta(2, 18, (2, VISITORS)) * np.array([[1.3], [1.0]])
        gained = uplift(
            *(click_rate(c, s) for c, s in zip(rng.binomial(slots, rate), slots, strict=True))
        )
        covered += gained.low <= 0.3 <= gained.high
        found += gained.low > 0
    assert covered >= 186
    assert found > 150


def test_the_standard_error_is_that_of_the_bootstrap():
    clicks, slots = aa(3)[0]
    rate = click_rate(clicks, slots)
    rng = np.random.default_rng(0)
    draws = rng.integers(VISITORS, size=(4000, VISITORS))
    spread = (clicks[draws].sum(axis=1) / slots[draws].sum(axis=1)).std()
    assert rate.se == pytest.approx(spread, rel=0.05)
    assert rate.value == clicks.sum() / slots.sum()


def test_visitors_shown_nothing_do_not_count():
    assert click_rate([1, 0, 0], [5, 5, 0]) == click_rate([1, 0], [5, 5])


@pytest.mark.parametrize("group", [([], []), ([1], [5]), ([0, 0], [5, 5])])
def test_what_is_not_defined_is_none(group):
    other = click_rate([1, 2, 0], [5, 5, 5])
    gained = uplift(click_rate(*group), other)
    assert (gained.value, gained.low, gained.high) == (None, None, None)
    low, high = click_rate(*group).interval
    assert 0 <= low <= high <= 1
    assert not math.isnan(high)
