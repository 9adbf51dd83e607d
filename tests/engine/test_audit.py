"""Stated propensities are the frequencies: chi-squared over thousands of draws of every policy."""

from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.stats

from engine.batches import Joint
from engine.policy import Belief, Requests, hash_key
from engine.registry import policy_names
from tests.engine.worlds import ITEMS, SCHEMA, candidates, learned

SLOTS = 3
ITEMS_SHOWN = ITEMS[:5]
LEVEL = 0.01  # of one false alarm in the whole file; the seeds are fixed, so none is ever new
RULED = "slate=ruled,diversity=0.2,boost=price:0.03,cap=genre:1"
SPECS = [
    *policy_names(),
    "beta-thompson:prior_a=0.02,prior_b=0.05,floor=0",
    "linear-thompson:floor=0.3,alpha=1",
    "linear-ucb:floor=0.5",
    "beta-epsilon:floor=0",
    "linear-squarecb:floor=0.3,scale=2",
    "linear-top-m:m=2,alpha=0,floor=0.1",
    "linear-thompson:draws=slate,alpha=1,floor=0",
    "linear-thompson:draws=slate,alpha=1,floor=0.3",
    "beta-thompson:draws=slate,floor=0.1",
    "poisson-thompson:draws=slate",
    "normal-thompson:draws=slate,alpha=1",
    "logistic-thompson:draws=slate,alpha=1",
    "shared-thompson:alpha=2,floor=0.2",
    "linear-ucb:slate=plackett-luce,temperature=0.3",
    "beta-greedy:slate=plackett-luce,floor=0.2",
    f"linear-thompson:{RULED},alpha=1",
    f"linear-softmax:{RULED}",
    "beta-thompson:slate=ruled,cap=genre:1",
]
CASES = [(spec, world) for spec in SPECS for world in ("learned", "ties")]
SAMPLES = 25  # of joint draws: their shares are unbiased, however few


def draws_of(made):
    """How many requests to draw: quadrature of one costs a hundred times an exact draw."""
    traits = made.model.traits
    quick = made.exploration.method(made.model) != "quadrature" or (
        traits.family in {"normal", "logit"} and made.exploration.slotwise
    )
    return 20_000 if quick else 6_000


@cache
def keys_of(draws):
    return np.array([hash_key(f"audit-{i}") for i in range(draws)], dtype=np.uint64)


def repeat(belief, n):
    """The belief of one request, for n of them."""
    joint = belief.joint and Joint(
        features=np.tile(belief.joint.features, (n, 1)),
        factor=belief.joint.factor,
        independent=np.tile(belief.joint.independent, n),
    )
    return Belief(
        family=belief.family,
        total=belief.total,
        replicas=np.tile(belief.replicas, n),
        joint=joint,
        **{
            name: np.tile(getattr(belief, name), n)
            for name in ("mean", "sd", "noise", "count", "a", "b")
        },
    )


@cache
def draw(spec, world, draws=0):
    """Slates of one context, thousands of request ids."""
    spec = f"{spec}{',' if ':' in spec else ':'}samples={SAMPLES}" if _is_joint(spec) else spec
    made, state = learned(spec, seed=11, n=150 if world == "learned" else 1)
    posterior = made.derive(state)
    found = candidates(posterior, ITEMS_SHOWN)
    one = Requests.of(
        SCHEMA.encode([{"hour": 20.0, "age": 25.0, "device": "ios"}]), ["audit"], [found]
    )
    n = draws or draws_of(made)
    many = Requests(
        x=one.x.repeat(n, axis=0),
        keys=keys_of(n),
        offsets=np.arange(n + 1) * len(found.keys),
        item_keys=np.tile(found.keys, n),
        rows=np.tile(found.rows, n),
        z=np.tile(found.z, (n, 1)),
    )
    belief = repeat(made.believe(posterior, one), n)
    picks = np.full((n, SLOTS), -1)
    return made.slate.draw(made.exploration, belief, many, picks, made.seed, SCHEMA)


def _is_joint(spec):
    return spec.partition(":")[0] in {"shared-thompson", "hybrid-thompson"}


def cells_of(slates, slot):
    """Count, mean and standard error of the stated probability by prefix and pick."""
    cells = defaultdict(dict)
    keys, inverse = np.unique(slates.picks[:, : slot + 1], axis=0, return_inverse=True)
    for cell, picks in enumerate(keys.tolist()):
        rows = np.flatnonzero(inverse.ravel() == cell)
        stated, error = slates.propensity[rows, slot], slates.error[rows, slot]
        spread = error.mean() / np.sqrt(len(rows))
        cells[tuple(picks[:-1])][picks[-1]] = len(rows), stated.mean(), spread
    return cells


def chi_squared(slates, slot):
    """Chance of a slot's frequencies, conditional on the slots before it."""
    statistic, freedom = 0.0, 0
    for found in cells_of(slates, slot).values():
        total = sum(count for count, _, _ in found.values())
        kept, rest = 0, np.array([0.0, total])
        for count, p, _ in found.values():
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
    return scipy.stats.chi2.sf(statistic, freedom) if freedom else 1.0


def worst_cell(slates, slot):
    """Chance of the least likely frequency, where probabilities are estimates themselves."""
    chances = [1.0]
    for found in cells_of(slates, slot).values():
        total = sum(count for count, _, _ in found.values())
        for count, p, error in found.values():
            if total * p >= 25 and total > count:
                off = (count / total - p) / np.sqrt(p * (1 - p) / total + error**2)
                chances.append(2 * scipy.stats.norm.sf(abs(off)))
    return min(1.0, min(chances) * len(chances))


@pytest.mark.parametrize(("spec", "world"), CASES)
def test_stated_propensities_are_the_frequencies(spec, world):
    slates = draw(spec, world)
    for slot in range(SLOTS):
        audit = worst_cell if slates.method == "monte_carlo" else chi_squared
        chance = audit(slates, slot)
        assert chance > LEVEL / (len(CASES) * SLOTS), (slot, chance)


@pytest.mark.parametrize(
    "spec",
    [
        "linear-thompson:alpha=1",
        "linear-softmax:temperature=0.5",
        "beta-ucb:floor=0.9",
        "shared-thompson:alpha=2,floor=0.2",
    ],
)
def test_the_audit_finds_a_propensity_that_is_ten_percent_off(spec):
    slates = draw(spec, "learned", 30_000)
    audit = worst_cell if slates.method == "monte_carlo" else chi_squared
    assert audit(slates, 0) > 1e-4
    most = np.bincount(slates.picks[:, 0]).argmax()
    taken = slates.propensity[slates.picks[:, 0] == most, 0].mean()
    ratio = np.where(slates.picks[:, 0] == most, 1.1, 1 - 0.1 * taken / (1 - taken))
    skewed = replace(slates, propensity=slates.propensity * ratio[:, None])
    assert skewed.propensity[:, 0].mean() < 1
    assert audit(skewed, 0) < LEVEL / (len(CASES) * SLOTS)


@pytest.mark.parametrize("spec", policy_names())
def test_weights_of_another_policy_average_one(spec):
    """What evaluation rests on: E[1 / propensity] is the number of candidates.

    The reciprocal of an estimate is biased; how many draws an item takes to recur is not.
    """
    slates = draw(spec, "learned")
    inverse = 1.0 / slates.propensity[:, 0]
    if slates.method == "monte_carlo":
        inverse = slates.recurrence[:, 0].astype(float)
    weight = inverse / len(ITEMS_SHOWN)
    error = weight.std() / np.sqrt(len(weight))
    assert abs(weight.mean() - 1) < 4.5 * error + 1e-9
