import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, ShapeError
from engine.estimators import Thresholds, WeightedSums, judge

# Four rows worked by hand, and computed by the Open Bandit Pipeline 0.5.7.
ACTION = np.array([0, 1, 1, 0])
LOGGED = np.array([0.5, 0.25, 0.5, 0.8])
TARGET_0 = np.array([0.8, 0.5, 0.2, 0.4])
REWARD = np.array([[1.0], [0.0], [1.0], [1.0]])
WEIGHT = (np.where(ACTION == 0, TARGET_0, 1 - TARGET_0) / LOGGED)[:, None]


def summed(weight, reward, **options):
    sums = WeightedSums(weight.shape[1], clip=options.pop("clip", 10.0))
    sums.add(weight, reward, **options)
    return sums


def by_name(sums):
    return {estimate.estimator: estimate for estimate in sums.estimates()}


def world(seed=0, n=4000, k=1):
    rng = np.random.default_rng(seed)
    weight = np.cumprod(rng.choice([0.25, 1.0, 2.5], p=[0.4, 0.4, 0.2], size=(n, k)), axis=1)
    return weight, (rng.random((n, k)) < 0.3).astype(float)


def test_four_rows_by_hand():
    found = by_name(summed(WEIGHT, REWARD, clip=1.0))
    assert round(found["ips"].value, 6) == 0.925
    assert round(found["clipped_ips"].value, 6) == 0.625
    assert round(found["snips"].value, 6) == 0.649123
    assert round(found["ips"].ess, 6) == 3.467449
    assert round(found["ips"].mean_weight, 6) == 1.425
    assert found["clipped_ips"].max_weight == 1.0
    assert found["ips"].n == 4


def test_errors_are_those_of_the_textbook():
    weight, reward = world()
    n, w, x = len(weight), weight[:, 0], (weight * reward)[:, 0]
    found = by_name(summed(weight, reward))
    np.testing.assert_allclose(found["ips"].se, x.std(ddof=1) / np.sqrt(n), rtol=1e-9)
    v = x.sum() / w.sum()
    delta = np.sqrt(np.sum(w**2 * (reward[:, 0] - v) ** 2)) / w.sum() * np.sqrt(n / (n - 1))
    np.testing.assert_allclose(found["snips"].se, delta, rtol=1e-9)


def test_a_constant_reward_is_known_exactly_by_snips():
    weight, reward = world()
    found = by_name(summed(weight, np.full_like(reward, 0.7)))["snips"]
    np.testing.assert_allclose((found.value, *found.ci), 0.7, atol=1e-7)


def test_the_logging_policy_earns_what_it_earned():
    _, reward = world(k=3)
    for found in summed(np.ones_like(reward), reward).estimates():
        np.testing.assert_allclose(found.value, reward.sum(axis=1).mean())
        assert found.ess == len(reward)


@given(st.integers(1, 3), st.integers(0, 400))
def test_merged_sums_equal_the_whole(k, cut):
    weight, reward = world(n=400, k=k)
    parts = summed(weight[:cut], reward[:cut]).merge(summed(weight[cut:], reward[cut:]))
    whole = summed(weight, reward)
    for one, other in zip(parts.estimates(), whole.estimates(), strict=True):
        np.testing.assert_allclose(
            [one.value, one.se, one.ess, one.max_weight, one.mean_weight, one.n],
            [other.value, other.se, other.ess, other.max_weight, other.mean_weight, other.n],
            rtol=1e-9,
        )
    np.testing.assert_allclose(parts.effective_rewarded, whole.effective_rewarded)


def test_repeated_slates_of_a_user_add_no_certainty():
    weight, reward = world(n=300)
    users = np.arange(300)
    once = by_name(summed(weight, reward, cluster=users))
    thrice = by_name(
        summed(np.tile(weight, (3, 1)), np.tile(reward, (3, 1)), cluster=np.tile(users, 3))
    )
    for name in once:
        np.testing.assert_allclose(thrice[name].value, once[name].value)
        np.testing.assert_allclose(thrice[name].se, once[name].se)


def test_a_sampled_slate_counts_for_those_left_out():
    weight, reward = world(n=50)
    once, twice = (
        by_name(summed(weight, reward)),
        by_name(summed(weight, reward, sampling=np.full(50, 2.0))),
    )
    assert all(once[name].value == twice[name].value for name in once)
    doubled = by_name(summed(np.vstack([weight, weight[:1]]), np.vstack([reward, reward[:1]])))
    sampled = by_name(summed(weight, reward, sampling=np.r_[2.0, np.ones(49)]))
    assert abs(doubled["snips"].value - sampled["snips"].value) < 1e-12


def lengths(seed=0, n=400, k=3):
    """Slates of one to k slots."""
    weight, reward = world(seed, n, k)
    length = np.random.default_rng(seed).integers(1, k + 1, size=n)
    shown = (np.arange(k) < length[:, None]).astype(float)
    return weight * shown, reward * shown, shown


def test_slots_a_slate_does_not_have_count_for_nothing():
    weight, reward, shown = lengths()
    found = by_name(summed(weight, reward, shown=shown))
    by_hand = [
        shown[:, slot].mean() * (weight * reward)[:, slot].sum() / weight[:, slot].sum()
        for slot in range(3)
    ]
    np.testing.assert_allclose(found["snips"].value, sum(by_hand))
    for estimate in summed(shown, reward, shown=shown).estimates():
        np.testing.assert_allclose(estimate.value, reward.sum(axis=1).mean())
        np.testing.assert_allclose(estimate.ess, len(weight))
    whole = weight[np.arange(len(weight)), shown.sum(axis=1).astype(int) - 1]
    np.testing.assert_allclose(found["ips"].ess, whole.sum() ** 2 / (whole @ whole))
    np.testing.assert_allclose(found["ips"].mean_weight, whole.mean())


def test_a_few_longer_slates_do_not_condemn_a_log():
    rng = np.random.default_rng(2)
    shown = np.ones((20_000, 4))
    shown[5:, 2:] = 0
    sums = summed(shown, (rng.random(shown.shape) < 0.3) * shown, shown=shown)
    assert judge(sums).verdict == "trust"


def test_errors_are_those_of_the_jackknife_over_users_of_sampled_slates_of_any_length():
    weight, reward, shown = lengths(n=900)
    user = np.random.default_rng(3).integers(0, 300, size=900)
    sampling = np.where(user % 3 == 0, 4.0, 1.0)

    def values(kept):
        rows = np.flatnonzero(kept)
        sums = summed(weight[rows], reward[rows], shown=shown[rows], sampling=sampling[rows])
        return [estimate.value for estimate in sums.estimates()]

    users = np.unique(user)
    left_out = np.array([values(user != one) for one in users])
    spread = np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0)
    jackknife = np.sqrt(spread * (len(users) - 1) / len(users))
    found = summed(weight, reward, shown=shown, sampling=sampling, cluster=user).estimates()
    np.testing.assert_allclose([estimate.se for estimate in found], jackknife, rtol=0.03)


def test_the_mean_weight_counts_sampled_slates_for_those_left_out():
    weight, reward = world(n=20_000)
    heavy = weight[:, 0] > 1
    kept = heavy | (np.arange(len(weight)) % 10 == 0)
    sampling = np.where(heavy, 1.0, 10.0)[kept]
    sums = summed(weight[kept], reward[kept], sampling=sampling)
    assert abs(by_name(sums)["ips"].mean_weight - 1) < 4 * sums.mean_weight_error
    assert sums.mean_weight_error < 0.05
    assert not any("mean weight" in reason for reason in judge(sums).reasons)
    assert by_name(sums)["ips"].ess < kept.sum()


def test_one_cluster_tells_no_error():
    weight, reward = world(n=50)
    for sums in (summed(weight[:1], reward[:1]), summed(weight, reward, cluster=np.zeros(50, int))):
        assert {(estimate.se, estimate.ci) for estimate in sums.estimates()} == {(None, None)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_bad_weights_are_refused(bad):
    with pytest.raises(ShapeError):
        summed(np.array([[bad]]), np.array([[1.0]]))


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(ShapeError):
        WeightedSums(2).add(np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(ShapeError):
        WeightedSums(1).merge(WeightedSums(2))
    with pytest.raises(ConfigError):
        WeightedSums(0)
    with pytest.raises(ConfigError):
        WeightedSums(1, clip=0)


def test_nothing_in_common_gives_no_number_and_is_refused():
    sums = summed(np.zeros((50, 1)), np.ones((50, 1)))
    assert {(found.value, found.se, found.ci) for found in sums.estimates()} == {(None, None, None)}
    verdict = judge(sums)
    assert verdict.verdict == "refuse"
    never_second = summed(np.tile([1.0, 0.0], (900, 1)), np.ones((900, 2)))
    assert by_name(never_second)["snips"].value is None
    assert judge(never_second).verdict == "refuse"
    assert judge(WeightedSums(1)).verdict == "refuse"


def test_a_healthy_log_is_trusted_and_each_fault_is_named():
    rng = np.random.default_rng(1)
    weight = rng.choice([0.5, 1.5], size=(20_000, 1))
    reward = (rng.random((20_000, 1)) < 0.3).astype(float)
    healthy = summed(weight, reward)
    assert (judge(healthy).verdict, judge(healthy).reasons) == ("trust", [])
    assert judge(healthy, deterministic=0.9).verdict == "refuse"
    assert judge(healthy, unsupported=0.01).verdict == "caution"
    assert judge(healthy, unsupported=0.5).verdict == "refuse"
    few = judge(summed(weight[:100], reward[:100]))
    assert few.verdict == "caution"
    assert any("sample size" in reason for reason in few.reasons)
    unrewarded = judge(summed(weight, reward * (np.arange(20_000) < 30)[:, None]))
    assert unrewarded.verdict == "refuse"
    assert any("rewarded" in reason for reason in unrewarded.reasons)
    wrong = judge(summed(weight * 1.2, reward))
    assert any("mean weight" in reason for reason in wrong.reasons)
    heavy = judge(summed(np.vstack([weight, [[9e4]]]), np.vstack([reward, [[1.0]]])))
    assert any("one slate" in reason for reason in heavy.reasons)
    assert judge(healthy, thresholds=Thresholds(refuse_ess=1e9)).verdict == "refuse"


def test_losses_count_as_much_as_gains():
    rng = np.random.default_rng(0)
    reward = rng.choice([-1.0, 1.0], size=(5000, 1))
    sums = summed(np.ones((5000, 1)), reward)
    assert sums.effective_rewarded == 5000
    assert judge(sums).verdict == "trust"


@pytest.mark.parametrize("sampling", [[0.0, 1.0], [-1.0, 1.0], [np.nan, 1.0], [1.0]])
def test_bad_sampling_rates_are_refused(sampling):
    with pytest.raises(ShapeError, match="sampling"):
        summed(np.ones((2, 1)), np.ones((2, 1)), sampling=np.array(sampling))


def test_weights_that_never_vary_say_so():
    verdict = judge(summed(np.full((100, 1), 0.5), np.ones((100, 1))))
    assert any("too few exploratory choices" in reason for reason in verdict.reasons)
