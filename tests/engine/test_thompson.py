"""Thompson sampling of every family, drawn by slot, by slate and jointly."""

import numpy as np
import pytest
import scipy.stats

from engine.batches import Joint
from engine.errors import ConfigError
from engine.exploration.base import Terms
from engine.exploration.thompson import MarginalThompson, Thompson
from engine.features import Schema
from engine.kernels.families import BETA, GAMMA, NORMAL, STUDENT
from engine.kernels.slates import draw_by_belief
from engine.kernels.thompson import integrate_wins
from engine.kernels.thompson_joint import draw_jointly
from engine.kernels.thompson_slate import draw_once, integrate_slates
from engine.models.base import Model, Traits
from engine.slates.sequential import SequentialDraw
from tests import naive
from tests.engine.test_kernels import batch
from tests.engine.test_weights import asked, belief
from tests.naive import explore, families

RNG = np.random.default_rng


def beliefs(code, m, rng, *, wide=True):
    """Random p, q and r of a family; wide over the decades that its bound is stated for."""
    decades = rng.uniform(0, 8 if wide else 1)
    if code in {NORMAL, STUDENT}:
        freedom = 10 ** rng.uniform(0, rng.uniform(0.1, 2.5), m)
        return rng.normal(size=m) * 0.5, 10 ** rng.uniform(-decades, 0, m), freedom
    most = 5 if wide else 1.5
    least = -1.7 if wide and code == BETA else -1.0
    rates = rng.uniform(least, most, m) if code == BETA else rng.uniform(-2, 2, m)
    return 10 ** rng.uniform(least, rng.uniform(0, most), m), 10**rates, np.zeros(m)


def wins(code, p, q, r, picks):
    found = np.empty((1, len(picks)))
    integrate_wins(code, p, q, r, np.array([0, len(p)]), np.array([picks]), found)
    return found[0]


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda f: type(f).__name__)
def test_quadrature_holds_its_bound_for_every_family(family):
    rng, worst = RNG(family.code), 0.0
    for _ in range(40):
        m = int(rng.integers(2, 16))
        p, q, r = beliefs(family.code, m, rng)
        picks = rng.permutation(m)[:2]
        first, second = wins(family.code, p, q, r, picks)
        left = np.delete(np.arange(m), picks[0])
        place = int(np.flatnonzero(left == picks[1])[0])
        worst = max(
            worst,
            abs(first - families.win(family, p, q, r, picks[0])),
            abs(second - families.win(family, p[left], q[left], r[left], place)),
        )
    assert worst < 1e-7, "the bound stated to users is 1e-6"


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda f: type(f).__name__)
def test_one_draw_a_slate_equals_a_sum_over_explored_slots(family):
    rng = RNG(10 + family.code)
    for trial in range(24):
        m, mass = int(rng.integers(3, 8)), (0.0, 0.02, 0.3, 1.0)[trial % 4]
        p, q, r = beliefs(family.code, m, rng, wide=False)
        picks = rng.permutation(m)[:3]
        found = np.empty((1, 3))
        integrate_slates(family.code, p, q, r, np.array([0, m]), mass, picks[None].copy(), found)
        prefix = [families.slate_once(family, p, q, r, picks[:k], mass) for k in range(4)]
        for slot in range(3):
            least = min([1.0, *found[0, :slot]])
            bound = min(max(1e-6, 1e-9 / least), 1.0) if least else 1.0
            if bound < 0.1 and m - slot > 1:
                assert abs(found[0, slot] - prefix[slot + 1] / prefix[slot]) < bound


def test_every_slate_of_one_draw_has_its_probability():
    """Over all ordered slates of three, probabilities of slates sum to one."""
    p, q, r = np.array([0.0, 0.4, 0.1, -0.3]), np.array([0.5, 0.1, 0.9, 0.3]), np.empty(0)
    for mass in (0.0, 0.1):
        slates = np.array(
            [[a, b, c] for a in range(4) for b in range(4) for c in range(4) if len({a, b, c}) == 3]
        )
        n = len(slates)
        found = np.empty(slates.shape)
        offsets = np.arange(n + 1) * 4
        integrate_slates(0, np.tile(p, n), np.tile(q, n), r, offsets, mass, slates, found)
        assert abs(found.prod(axis=1).sum() - 1) < 1e-9
        heads = found[:, 0].reshape(4, 6)  # slates come in order of their first pick
        np.testing.assert_allclose(heads[:, 0].sum(), 1, atol=1e-9)


def test_without_a_floor_one_draw_is_the_order_of_the_draws():
    """Equal beliefs: every order is as likely; the last slot of two is settled by the first."""
    found = np.empty((1, 3))
    same = np.full(5, 0.3)
    integrate_slates(0, same, same, same, np.array([0, 5]), 0.0, np.array([[3, 0, 1]]), found)
    np.testing.assert_allclose(found[0], [1 / 5, 1 / 4, 1 / 3], atol=1e-9)


@pytest.mark.parametrize("mass", [0.0, 0.3])
@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda f: type(f).__name__)
def test_draws_equal_their_twins(family, mass):
    rng, seed = RNG(20 + family.code), np.uint64(3)
    offsets, item_keys, keys = batch(rng, n=30)
    p, q, r = beliefs(family.code, int(offsets[-1]), rng, wide=False)
    fresh, once = np.full((30, 3), -1), np.full((30, 3), -1)
    draw_by_belief(family.code, p, q, r, offsets, item_keys, keys, seed, 0, mass, fresh)
    draw_once(family.code, p, q, r, offsets, item_keys, keys, seed, mass, once)
    for i, key in enumerate(keys):
        at = slice(offsets[i], offsets[i + 1])
        mine, own = (p[at], q[at], r[at]), item_keys[at]

        def by_slot(slot_key, j, mine=mine, own=own):
            key = naive.combine(slot_key, naive.BELIEF, own[j])
            return family.draw(key, *(each[j] for each in mine))

        def by_slate(_, j, mine=mine, own=own, key=key):
            key = naive.combine(3, key, 0x51A7E51A7E51A7E5, own[j])
            return family.draw(key, *(each[j] for each in mine))

        assert list(fresh[i]) == naive.draw_slate(by_slot, own, key, seed, mass, 3)
        assert list(once[i]) == naive.draw_slate(by_slate, own, key, seed, mass, 3)


@pytest.mark.parametrize("freedom", [1.0, 2.5, 30.0])
def test_student_draws_exceed_a_bound_as_often_as_students_t(freedom):
    n = 20_000
    keys = np.array([naive.mix(i) for i in range(n)], dtype=np.uint64)
    items = np.tile(np.array([1, 2], dtype=np.uint64), n)
    located, scaled = np.tile([0.0, 1.5], n), np.tile([1.0, 1e-12], n)
    picks = np.full((n, 1), -1)
    draw_by_belief(
        STUDENT,
        located,
        scaled,
        np.full(2 * n, freedom),
        np.arange(n + 1) * 2,
        items,
        keys,
        np.uint64(0),
        0,
        0.0,
        picks,
    )
    expected = scipy.stats.t(freedom).sf(1.5)
    assert abs(np.mean(picks == 0) - expected) < 5 * np.sqrt(expected / n)


def test_gamma_draws_exceed_a_bound_as_often_as_gamma_does():
    n = 20_000
    keys = np.array([naive.mix(i) for i in range(n)], dtype=np.uint64)
    items = np.tile(np.array([1, 2], dtype=np.uint64), n)
    for a, b in ((0.2, 0.5), (3.0, 2.0)):
        picks = np.full((n, 1), -1)
        draw_by_belief(
            GAMMA,
            np.tile([a, 1e9], n),
            np.tile([b, 1e9 / 1.2], n),
            np.empty(0),
            np.arange(n + 1) * 2,
            items,
            keys,
            np.uint64(0),
            0,
            0.0,
            picks,
        )
        expected = scipy.stats.gamma(a, scale=1 / b).sf(1.2)
        assert abs(np.mean(picks == 0) - expected) < 5 * np.sqrt(expected / n) + 1e-4


def shared(n, *, m=5, seed=0, own=None, family="normal", **more):
    """The same correlated belief for n requests, and its parts."""
    rng = RNG(seed)
    rows, factor = rng.normal(size=(m, 3)), np.tril(rng.normal(size=(3, 3))) * 0.5
    mean = rng.normal(size=m) * 0.3
    joint = Joint(
        features=np.tile(rows, (n, 1)),
        factor=factor,
        independent=None if own is None else np.tile(own, n),
    )
    spread = np.sqrt(((rows @ factor) ** 2).sum(axis=1))
    made = belief(np.tile(mean, n), sd=np.tile(spread, n), family=family, joint=joint, **more)
    return made, (mean, rows, factor)


def test_joint_draws_equal_their_twins():
    rng, seed, mass, samples = RNG(31), np.uint64(4), 0.3, 12
    offsets, item_keys, keys = batch(rng, n=25)
    size = int(offsets[-1])
    location, own = rng.normal(size=size) * 0.3, rng.choice([0.0, 0.4], size)
    features, factor = rng.normal(size=(size, 3)), np.tril(rng.normal(size=(3, 3)))
    picks, hits = np.full((25, 3), -1), np.empty((25, 3))
    recurrence = np.empty((25, 3), dtype=np.int64)
    given = (location, features, factor, own, offsets, item_keys, keys, seed, 2, mass, samples)
    draw_jointly(*given, picks, hits, recurrence)
    for i, key in enumerate(keys):
        at = slice(offsets[i], offsets[i + 1])
        left = list(range(offsets[i + 1] - offsets[i]))

        def values(key, at=at):
            mine = location[at], features[at], factor, own[at], item_keys[at]
            return explore.joint_values(key, *mine)

        for slot in range(3):
            slot_key = naive.combine(4, key, 2 + slot)
            if len(left) == 1:
                assert (hits[i, slot], recurrence[i, slot]) == (1.0, 1)
                continue
            found = explore.joint_slot(slot_key, values, left, item_keys[at], mass, samples)
            assert found[::2] == (picks[i, slot], recurrence[i, slot])
            assert abs(found[1] - hits[i, slot]) < 1e-12
            left.remove(found[0])


def chances(parts, alpha, own, *, left, draws=400_000):
    """P(highest of those left), by NumPy's generator."""
    mean, rows, factor = parts
    rng = RNG(99)
    z = rng.normal(size=(draws, 3)) @ factor.T @ rows.T + own * rng.normal(size=(draws, len(mean)))
    values = (mean + alpha * z)[:, left]
    return np.bincount(values.argmax(axis=1), minlength=len(left)) / draws


def test_joint_draws_are_served_counted_and_recur_with_their_chance():
    n, floor, own = 12_000, 0.1, np.array([0, 0.3, 0, 0, 0.2])
    made, parts = shared(n, own=own)
    slates = Thompson(alpha=0.7, samples=30).draw(
        made, asked(5, n), np.full((n, 2), -1), Terms(seed=1, floor=floor)
    )
    assert slates.method == "monte_carlo"
    true = (1 - floor) * chances(parts, 0.7, own, left=list(range(5))) + floor / 5
    served = np.bincount(slates.picks[:, 0], minlength=5)
    statistic = ((served - n * true) ** 2 / (n * true)).sum()
    assert scipy.stats.chi2.sf(statistic, 4) > 1e-3
    for item in range(5):
        rows = slates.picks[:, 0] == item
        size = np.sqrt(rows.sum())
        stated, error = slates.propensity[rows, 0], slates.error[rows, 0]
        assert abs(stated.mean() - true[item]) < 4 * error.mean() / size + 2e-3
        assert 0.7 < stated.std() / error.mean() < 1.3 or true[item] < 0.05
        recurred = slates.recurrence[rows, 0]
        assert abs(recurred.mean() * true[item] - 1) < 4.5 / size
    left = [1, 2, 3, 4]
    second = (1 - floor) * chances(parts, 0.7, own, left=left) + floor / 4
    for place, item in enumerate(left):
        rows = (slates.picks[:, 0] == 0) & (slates.picks[:, 1] == item)
        if rows.sum() > 30:
            near = slates.propensity[rows, 1].mean() - second[place]
            assert abs(near) < 4 * slates.error[rows, 1].mean() / np.sqrt(rows.sum()) + 3e-3


def test_counted_shares_of_all_candidates_sum_to_one():
    made, _ = shared(5)
    picks = np.arange(5)[:, None]
    request = asked(5, 1)
    stated = [
        Thompson(alpha=1.0).draw(shared(1)[0], request, picks[j : j + 1], Terms(seed=2, floor=0.05))
        for j in range(5)
    ]
    assert abs(sum(s.propensity[0, 0] for s in stated) - 1) < 1e-12
    assert made.joint is not None


def test_candidates_that_are_alike_share_what_they_win():
    rows = np.ones((3, 2))
    joint = Joint(features=rows, factor=np.eye(2))
    made = belief([0.1, 0.1, 0.1], joint=joint)
    for j in range(3):
        found = Thompson().draw(made, asked(3), np.array([[j]]), Terms(seed=0, floor=0.1))
        assert abs(found.propensity[0, 0] - 1 / 3) < 1e-12


def test_the_floor_bounds_how_long_an_item_takes_to_recur():
    """An item that the belief never shows comes again by the floor alone: geometric."""
    n = 4000
    joint = Joint(features=np.ones((2 * n, 1)), factor=np.full((1, 1), 0.1))
    made = belief(np.tile([0.0, 5.0], n), joint=joint)
    found = Thompson(samples=5).draw(
        made, asked(2, n), np.zeros((n, 1), dtype=np.int64), Terms(seed=0, floor=0.4)
    )
    np.testing.assert_allclose(found.propensity, 0.2)
    assert abs(found.recurrence.mean() * 0.2 - 1) < 4.5 / np.sqrt(n)


def test_logit_beliefs_are_drawn_on_the_scale_of_their_log_odds():
    located, spread = np.array([-2.0, -1.5, -1.8]), np.array([0.3, 0.1, 0.5])
    rate = 1 / (1 + np.exp(-located))
    logit = belief(rate, sd=0.01, family="logit", a=located, b=spread)
    plain = belief(located, sd=spread)
    for draws in ("slot", "slate"):
        for j in range(3):
            one, other = (
                Thompson(alpha=0.8, draws=draws).draw(
                    each, asked(3), np.array([[j, (j + 1) % 3]]), Terms(seed=0, floor=0.1)
                )
                for each in (logit, plain)
            )
            np.testing.assert_array_equal(one.propensity, other.propensity)


def test_marginal_draws_forget_what_candidates_share():
    made, _ = shared(1)
    alone = belief(made.mean, sd=made.sd)
    for j in range(5):
        picks = np.array([[j, (j + 2) % 5]])
        one = MarginalThompson(alpha=0.5).draw(made, asked(5), picks, Terms(seed=0, floor=0.1))
        other = Thompson(alpha=0.5).draw(alone, asked(5), picks, Terms(seed=0, floor=0.1))
        assert one.method == "quadrature"
        np.testing.assert_array_equal(one.propensity, other.propensity)


class Told(Model):
    """A model of which only the traits are asked for."""

    axes = update = derive = believe = None

    def __init__(self, **traits):
        self.told = Traits(**traits)

    @property
    def traits(self):
        return self.told


@pytest.mark.parametrize(
    ("exploration", "traits", "hint"),
    [
        (Thompson(), {"family": "mean"}, "'mean' beliefs"),
        (Thompson(), {"family": "edges"}, "'edges' beliefs"),
        (Thompson(), {"family": "beta", "correlated": True}, "'beta' beliefs"),
        (Thompson(draws="slate"), {"family": "normal", "correlated": True}, "draws=slot"),
        (MarginalThompson(), {"family": "normal"}, "thompson there"),
        (MarginalThompson(), {"family": "mean", "correlated": True}, "'mean' beliefs"),
    ],
)
def test_what_has_no_propensities_is_refused_with_the_reason(exploration, traits, hint):
    with pytest.raises(ConfigError, match=hint):
        exploration.check(Told(**traits))


def test_sampled_propensities_need_a_floor():
    model = Told(family="normal", correlated=True)
    with pytest.raises(ConfigError, match="floor above 0"):
        SequentialDraw(floor=0.0).check(Thompson(), model, Schema())
    SequentialDraw(floor=0.01).check(Thompson(), model, Schema())
    SequentialDraw(floor=0.0).check(MarginalThompson(), model, Schema())


@pytest.mark.parametrize(
    ("settings", "hint"),
    [({"alpha": 0.0}, "above 0"), ({"draws": "once"}, "'slate'"), ({"samples": 0}, "1 or more")],
)
def test_wrong_settings_are_refused(settings, hint):
    with pytest.raises(ConfigError, match=hint):
        Thompson(**settings)


def test_one_draw_a_slate_states_wider_bounds_after_rare_picks():
    made = belief([0.0, 3.0, 1.0], sd=0.4)
    found = Thompson(alpha=1.0, draws="slate").draw(
        made, asked(3), np.array([[0, 1, 2]]), Terms(seed=0, floor=0.0)
    )
    assert found.propensity[0, 0] < 1e-6
    assert found.error[0, 0] == 1e-6
    assert found.error[0, 1] > 1e-4
    assert found.error[0, 2] == 0.0


@pytest.mark.parametrize(
    ("mean", "sd", "share"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0.0, [0.25, 0.25, 0.25, 0.25]),
        ([0.3, 0.3, 0.3, 0.2], 0.0, [1 / 3, 1 / 3, 1 / 3, 0.0]),
        ([0.3, 0.3, 0.1, 0.2], 1e-30, [0.5, 0.5, 0.0, 0.0]),
        ([0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [1 / 8, 3 / 8, 3 / 8, 1 / 8]),
        ([-2e6, -2e6, -3e6, -2.5e6], 1e-12, [0.5, 0.5, 0.0, 0.0]),
    ],
)
@pytest.mark.parametrize("draws", ["slot", "slate"])
def test_beliefs_without_spread_are_shown_with_what_they_state(draws, mean, sd, share):
    believed, n = belief(np.tile(mean, 4000), sd=np.tile(np.broadcast_to(sd, 4), 4000)), 4000
    picks = np.full((n, 2), -1)
    slates = Thompson(draws=draws, alpha=1.0).draw(
        believed, asked(4, n), picks, Terms(seed=2, floor=0.0)
    )
    shown = np.bincount(slates.picks[:, 0], minlength=4) / n
    assert np.all(abs(shown - share) < 0.03)
    for j in range(4):
        assert np.all(abs(slates.propensity[picks[:, 0] == j, 0] - share[j]) < 1e-6)
    assert np.all(slates.propensity > 0)


@pytest.mark.parametrize("code", [BETA, GAMMA])
@pytest.mark.parametrize("shape", [1e-3, 1e-5, 1e-6])
def test_quadrature_holds_its_bound_for_priors_worth_next_to_nothing(code, shape):
    p, q = np.full(3, shape), np.full(3, shape if code == BETA else 1.0)
    found = [wins(code, p, q, np.zeros(3), [j])[0] for j in range(3)]
    np.testing.assert_allclose(found, 1 / 3, atol=1e-7)
