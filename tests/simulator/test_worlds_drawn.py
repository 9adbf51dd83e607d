"""What the drawn worlds say of themselves is so."""

import json

import numpy as np
import pytest

from api.commands.simulate import WORLDS
from engine.errors import ConfigError
from engine.features import Categorical, Schema
from simulator.simulate import make_world, play, world_names
from simulator.worlds.changes import Delayed, Drifting
from simulator.worlds.clicks import Cascade, PositionBiased
from simulator.worlds.cold_start import ColdStart
from simulator.worlds.drawn import Drawn, DrawnWorld
from simulator.worlds.linear import Gaussian, OneHot
from simulator.worlds.logistic import Logistic
from simulator.worlds.multiclass import Multiclass
from simulator.worlds.shop import Shop
from tests.api.running import run_cli

DRAWN = [
    Gaussian,
    OneHot,
    Logistic,
    ColdStart,
    PositionBiased,
    Cascade,
    lambda seed: Drifting(Logistic(seed=seed), swap_at=1100),
]
NAMES = ["gaussian", "one-hot", "logistic", "cold-start", "position-biased", "cascade", "drifting"]
drawn = pytest.mark.parametrize("make", DRAWN, ids=NAMES)


def named(schema, row):
    """The context that a row was encoded from."""
    found, at = {}, 1
    for feature in (f for f in schema.features if getattr(f, "of", None) == "context"):
        if isinstance(feature, Categorical):
            entries = row[at : at + len(feature.values)]
            found[feature.name] = feature.values[int(np.argmax(entries))]
            at += len(feature.values)
        else:
            found[feature.name] = float(row[at])
            at += 1
    return found


@drawn
def test_rows_are_what_the_schema_makes_of_the_context(make):
    world = make(seed=3)
    x = world.batch(50).x
    np.testing.assert_array_equal(world.schema.encode([named(world.schema, row) for row in x]), x)


@drawn
def test_arrays_hold_the_visits(make):
    """Across the end of a block, and whatever was picked before."""
    world, arrays = make(seed=3), make(seed=3).batch(1500)
    rng = np.random.default_rng(0)
    for t in range(1500):
        visit = world.visit(t)
        picks = rng.permutation(len(visit.candidates))[:1]
        np.testing.assert_array_equal(visit.x[0], arrays.x[t])
        np.testing.assert_array_equal(visit.truth, arrays.truth[t, visit.candidates])
        if world.slots == 1:
            assert world.rewards(t, visit, picks) == arrays.reward[t, visit.candidates[picks]]


@drawn
def test_the_seed_makes_the_world(make):
    one, same, other = make(seed=3).batch(2100), make(seed=3).batch(2100), make(seed=4).batch(2100)
    for mine, again, theirs in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(mine, again)
        assert np.any(mine != theirs)
    assert np.any(one.reward[:1024] != one.reward[1024:2048]), "blocks differ"


@drawn
def test_rewards_are_on_average_what_was_expected(make):
    n = 20_000
    _, truth, reward = make(seed=5).batch(n)
    error = reward - truth
    assert np.all(np.abs(error.mean(axis=0)) < 5 * error.std(axis=0) / np.sqrt(n))


def test_linear_worlds_have_the_stated_spread_and_noise():
    gaussian = Gaussian(seed=5, items=200, spread=0.2, noise=0.3).batch(5000)
    assert gaussian.truth.std() == pytest.approx(0.2, rel=0.05)
    assert (gaussian.reward - gaussian.truth).std() == pytest.approx(0.3, rel=0.01)
    one_hot = OneHot(seed=5, low=0.1, high=0.9)
    assert 0.1 <= one_hot.mean.min() < one_hot.mean.max() <= 0.9
    assert one_hot.mean.shape == (5, 20)
    shares = one_hot.batch(20_000).x[:, 1:].mean(axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.015)


def test_from_the_swap_on_every_item_has_the_rewards_of_another():
    drifting, before = Drifting(Logistic(seed=6), swap_at=1100), Logistic(seed=6)
    after, was = drifting.batch(3000), before.batch(3000)
    source = drifting.source
    assert sorted(source) == list(range(10))
    assert np.all(source != np.arange(10))
    np.testing.assert_array_equal(after.x, was.x)
    for mine, theirs in ((after.truth, was.truth), (after.reward, was.reward)):
        np.testing.assert_array_equal(mine[:1100], theirs[:1100])
        np.testing.assert_array_equal(mine[1100:], theirs[1100:, source])


def test_items_come_and_go_with_their_features():
    world = ColdStart(seed=7, items=4, arrivals=3, every=10)
    sets = [world.visit(t) for t in (0, 9, 10, 29, 30, 500)]
    assert [visit.candidates[0] for visit in sets] == [0, 0, 1, 2, 3, 3]
    assert sets[0].candidates is sets[1].candidates
    for visit in sets:
        assert visit.candidates.tolist() == list(
            range(visit.candidates[0], visit.candidates[0] + 4)
        )
        features = [{f"z{j}": v for j, v in enumerate(world.z[i])} for i in visit.candidates]
        np.testing.assert_array_equal(visit.z, world.schema.encode_items(features))
    assert len(world.schema.cross[0]) == 9, "every product of a context and an item feature"
    logit = world.appeal[3] + visit.x[0, 1:] @ world.taste @ world.z[3]
    assert visit.truth[0] == pytest.approx(1 / (1 + np.exp(-logit)))


def test_waits_have_the_stated_mean():
    world = Delayed(Logistic(seed=8), mean_delay=200, seed=8)
    waits = np.array([world.delay(t) for t in range(10_000)])
    assert abs(waits.mean() - 200) < 5 * 200 / 100
    assert waits.min() >= 0
    assert {Delayed(Logistic(), mean_delay=0).delay(t) for t in range(100)} == {0}


class Plain(DrawnWorld):
    """Nothing to see; the second of two items pays, and is told of ``wait`` visits later."""

    def __init__(self, wait):
        super().__init__(Schema(), 2, seed=0)
        self.wait = wait

    def draw(self, first, rng):
        truth = np.tile([0.0, 1.0], (1024, 1))
        return Drawn(np.ones((1024, 1)), truth, truth)

    def delay(self, t):
        return self.wait


@pytest.mark.parametrize("wait", [0, 1, 50])
def test_rewards_are_learned_when_they_are_told_and_not_before(wait):
    """A greedy policy knows nothing until its first success is told, and then never errs."""
    right = play(Plain(wait), "linear-greedy:floor=0", rounds=300).right
    first = int(np.argmax(right))
    told = first + 1 + wait
    assert right[told:].all()
    if wait == 50:
        assert 0.3 < right[first:told].mean() < 0.8, "until then it still tosses a coin"


def test_no_wait_is_the_plain_world():
    world, late = Logistic(seed=9), Delayed(Logistic(seed=9), mean_delay=0)
    mine = play(world, "linear-ucb", rounds=300, seed=1)
    theirs = play(late, "linear-ucb", rounds=300, seed=1)
    np.testing.assert_array_equal(mine.reward, theirs.reward)


@pytest.mark.parametrize("name", [name for name in world_names() if name != "multiclass"])
def test_every_world_has_a_name_and_runs(name):
    assert name in WORLDS
    run = play(make_world(name, seed=2), "linear-thompson", rounds=80, seed=2)
    assert run.regret.min() >= -1e-12
    assert np.all(np.isfinite(run.reward))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Gaussian(items=1), "items is 1"),
        (lambda: OneHot(low=1.0, high=1.0), "low below high"),
        (lambda: ColdStart(every=0), "every"),
        (lambda: Cascade(items=4), "items is 4"),
        (lambda: Cascade(high=1.5), "chances"),
        (lambda: PositionBiased(looks=(0.9, 0.5)), "the first of them 1"),
        (lambda: Drifting(Logistic(), swap_at=0), "swap_at"),
        (lambda: Drifting(Cascade()), "one slot"),
        (lambda: Drifting(ColdStart()), "item features"),
        (lambda: Delayed(Shop(), mean_delay=-1), "mean_delay"),
        (lambda: make_world("gaussian", seed=0, quadratic=True), "leave them out"),
    ],
)
def test_what_cannot_be_is_refused(make, told):
    with pytest.raises(ConfigError, match=told):
        make()


def test_quadratic_tables_hold_squares_and_products_once():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    world = Multiclass(rows, ["x", "y"] * 20, seed=1, quadratic=True)
    arrays = Multiclass(rows, ["x", "y"] * 20, seed=1, quadratic=True).batch(100)
    assert arrays.x.shape == (100, 1 + 3 + 6)
    a, b, c = arrays.x[:, 1:4].T
    np.testing.assert_array_equal(
        arrays.x[:, 4:], np.stack([a * a, a * b, a * c, b * b, b * c, c * c], 1)
    )
    for t in range(100):
        visit = world.visit(t)
        np.testing.assert_array_equal(visit.x[0], arrays.x[t])
        np.testing.assert_array_equal(visit.truth, arrays.truth[t])


def test_quadratic_is_an_option_of_the_command(tmp_path):
    """Opposite quarters of the plane are told apart by the product of the two columns alone."""
    rows = np.random.default_rng(0).normal(size=(300, 2))
    lines = [f"{a},{b},{'same' if a * b > 0 else 'other'}" for a, b in rows.tolist()]
    (tmp_path / "table.csv").write_text("x,y,class\n" + "\n".join(lines) + "\n")
    asked = (
        "simulate",
        "multiclass",
        "--data",
        "table.csv",
        "--label",
        "class",
        "--rounds",
        "1500",
    )
    plain, quadratic = (
        json.loads(run_cli(*asked, "--policy", "linear-ucb", "--json", *more, cwd=tmp_path).stdout)
        for more in ((), ("--quadratic",))
    )
    assert plain["policies"][0]["accuracy_last_tenth"] < 0.7
    assert quadratic["policies"][0]["accuracy_last_tenth"] > 0.9
