"""Rewards over propensities: what Exp3 rests on."""

import numpy as np
import pytest

from engine.batches import Candidates, Outcomes, Requests
from engine.registry import MODELS, make_policy

CHANCES = np.array([0.7, 0.25, 0.05])
MEANS = np.array([0.2, 0.5, 0.8])


def rounds(seed, n, chances=CHANCES, examined=None):
    rng = np.random.default_rng(seed)
    picks = rng.choice(3, n, p=chances)
    looked = np.ones(n) if examined is None else (rng.random(n) < examined).astype(float)
    return Outcomes(
        item_ids=[f"i{pick}" for pick in picks],
        x=np.ones((n, 1)),
        reward=looked * (rng.random(n) < MEANS[picks]),
        weight=rng.choice([1.0, 2.0], n),
        time_ms=np.zeros(n, dtype=np.int64),
        propensity=chances[picks],
        examination=None if examined is None else np.full(n, examined),
    )


def believe(state, made):
    posterior = made.derive(state)
    found = Candidates.of(posterior, ["i0", "i1", "i2", "unseen"])
    return made.believe(posterior, Requests.of(np.ones((1, 1)), ["r"], [found]))


def learned(*batches):
    made = make_policy("importance-greedy")
    state = made.init()
    for batch in batches:
        made.update(state, batch)
    return made, state


def test_the_belief_is_the_sum_of_rewards_over_propensities():
    batch = rounds(0, 300)
    made, state = learned(batch)
    belief = believe(state, made)
    for i in range(3):
        mine = np.array(batch.item_ids) == f"i{i}"
        expected = sum(batch.weight[mine] * batch.reward[mine] / batch.propensity[mine])
        np.testing.assert_allclose(belief.mean[i] * belief.total, expected, rtol=1e-12)
        np.testing.assert_allclose(belief.count[i], batch.weight[mine].sum(), rtol=1e-12)
    assert belief.total == batch.weight.sum()
    assert belief.mean[3] == 0
    assert belief.family == "mean"
    assert not belief.sd.any()


@pytest.mark.parametrize("examined", [None, 0.4])
def test_means_are_unbiased_whatever_the_policy_chose(examined):
    found = [
        believe(*reversed(learned(rounds(seed, 500, examined=examined)))) for seed in range(200)
    ]
    means = np.array([belief.mean[:3] for belief in found])
    error = means.std(axis=0) / np.sqrt(len(means))
    assert np.all(np.abs(means.mean(axis=0) - MEANS) < 4 * error)
    assert np.all(4 * error < 0.3 * MEANS)


def test_an_unshown_item_and_an_empty_state_earn_nothing():
    made, state = learned()
    assert not believe(state, made).mean.any()
    assert np.all(np.isfinite(believe(state, made).mean))


def test_refreshing_moves_every_mean_as_rounds_go_by():
    made, state = learned(rounds(1, 50))
    posterior = made.derive(state)
    before = believe(state, made).mean
    only = rounds(2, 50, chances=np.array([1.0, 0.0, 0.0]))
    made.update(state, only)
    refreshed = made.refresh(posterior, state, ["i0"])
    found = Candidates.of(refreshed, ["i1"])
    mean = made.believe(refreshed, Requests.of(np.ones((1, 1)), ["r"], [found])).mean[0]
    assert 0 < mean < before[1]
    np.testing.assert_allclose(mean, believe(state, made).mean[1], rtol=1e-12)


def test_only_this_model_says_it_holds_importance_weighted_means():
    assert [name for name, model in MODELS.items() if model().traits.importance] == ["importance"]
