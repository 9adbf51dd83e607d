"""Stated propensities are the frequencies: chi-squared over 100,000 draws of every policy."""

from collections import defaultdict

import numpy as np
import pytest
import scipy.stats

from engine.policy import Requests, hash_key
from engine.registry import policy_names
from tests.engine.worlds import ITEMS, SCHEMA, candidates, learned

DRAWS, SLOTS = 100_000, 3
ITEMS_SHOWN = ITEMS[:5]
LEVEL = 0.01  # of one false alarm in the whole file; the seeds are fixed, so none is ever new
SPECS = [
    *policy_names(),
    "beta-thompson:prior_a=0.02,prior_b=0.05,floor=0",
    "linear-thompson:floor=0.3,alpha=1",
    "linear-ucb:floor=0.5",
    "beta-epsilon:floor=0",
]
CASES = [(spec, world) for spec in SPECS for world in ("learned", "ties")]


def draw(spec, world):
    """Slates of one context, 100,000 request ids."""
    made, state = learned(spec, seed=11, n=150 if world == "learned" else 1)
    posterior = made.derive(state)
    items = ITEMS_SHOWN
    found = candidates(posterior, items)
    context = {"hour": 20.0, "age": 25.0, "device": "ios"}
    requests = Requests(
        x=SCHEMA.encode([context]).repeat(DRAWS, axis=0),
        keys=np.array([hash_key(f"audit-{i}") for i in range(DRAWS)], dtype=np.uint64),
        offsets=np.arange(DRAWS + 1) * len(items),
        item_keys=np.tile(found.keys, DRAWS),
        rows=np.tile(found.rows, DRAWS),
        z=np.tile(found.z, (DRAWS, 1)),
    )
    return made.rank(posterior, requests, SLOTS)


def chi_squared(slates, slot):
    """Statistic and degrees of freedom of a slot, conditional on the slots before it."""
    cells = defaultdict(dict)
    keys, inverse = np.unique(slates.picks[:, : slot + 1], axis=0, return_inverse=True)
    for cell, picks in enumerate(keys.tolist()):
        rows = np.flatnonzero(inverse.ravel() == cell)
        cells[tuple(picks[:-1])][picks[-1]] = len(rows), slates.propensity[rows, slot].mean()
    statistic, freedom = 0.0, 0
    for found in cells.values():
        total = sum(count for count, _ in found.values())
        kept, rest = 0, np.array([0.0, total])
        for count, p in found.values():
            if total * p >= 5:
                statistic += (count - total * p) ** 2 / (total * p)
                rest[1] -= total * p
                kept += 1
            else:
                rest[0] += count
        if kept < len(ITEMS_SHOWN) - slot and rest[1] >= 5:
            statistic += (rest[0] - rest[1]) ** 2 / rest[1]
            kept += 1
        freedom += max(kept - 1, 0)
    return statistic, freedom


@pytest.mark.parametrize(("spec", "world"), CASES)
def test_stated_propensities_are_the_frequencies(spec, world):
    slates = draw(spec, world)
    for slot in range(SLOTS):
        statistic, freedom = chi_squared(slates, slot)
        chance = scipy.stats.chi2.sf(statistic, freedom) if freedom else 1.0
        assert chance > LEVEL / (len(CASES) * SLOTS), (slot, statistic, freedom)


def test_the_audit_finds_a_propensity_that_is_two_percent_off():
    slates = draw("linear-thompson", "learned")
    slates.propensity[slates.picks[:, 0] == 0, 0] *= 1.02
    off = slates.picks[:, 0] != 0
    slates.propensity[off, 0] *= 0.98
    statistic, freedom = chi_squared(slates, 0)
    assert scipy.stats.chi2.sf(statistic, freedom) < LEVEL / (len(CASES) * SLOTS)


@pytest.mark.parametrize("spec", policy_names())
def test_weights_of_another_policy_average_one(spec):
    """What evaluation rests on: E[1 / propensity] is the number of candidates."""
    slates = draw(spec, "learned")
    weight = 1.0 / (slates.propensity[:, 0] * len(ITEMS_SHOWN))
    error = weight.std() / np.sqrt(DRAWS)
    assert abs(weight.mean() - 1) < 4.5 * error + 1e-9
