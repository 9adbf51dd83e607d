"""What mf, fm and bpr learn in worlds where the truth is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.batches import Candidates, Outcomes, Requests
from engine.errors import ConfigError
from engine.features import Id, Numeric, Schema
from engine.registry import make_policy

USER = Id(name="user")
PLACE = Id(name="place")
BRAND = Id(name="brand", of="item")
USERS, ITEMS = 80, 60
START_MS = 1_700_000_000_000


@dataclass(frozen=True, kw_only=True)
class World:
    """Rewards are biases and an inner product of four tastes, and in ``places`` something else."""

    seed: int = 0
    noise: float = 0.3
    places: int = 1
    strength: float = 1.0

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        draw = {
            "user": rng.normal(0, self.strength / 2, (USERS, 4)),
            "item": rng.normal(0, 1, (ITEMS, 4)),
            "user_bias": rng.normal(0, 0.5, USERS),
            "item_bias": rng.normal(0, 0.5, ITEMS),
            "turn": rng.normal(0, 1, (self.places, ITEMS)) * (self.places > 1),
        }
        object.__setattr__(self, "truth", draw)

    def mean(self, user, item, place=0):
        t = self.truth
        inner = np.einsum("ij,ij->i", t["user"][user], t["item"][item])
        return 3.0 + t["user_bias"][user] + t["item_bias"][item] + inner + t["turn"][place, item]

    def events(self, n, seed=1, popularity=None):
        rng = np.random.default_rng(seed)
        user, place = rng.integers(0, USERS, n), rng.integers(0, self.places, n)
        item = rng.choice(ITEMS, n, p=popularity)
        return user, item, place, self.mean(user, item, place) + rng.normal(0, self.noise, n)


def encode(schema, user, place):
    named = [{"user": f"u{u}", "place": f"p{p}"} for u, p in zip(user, place, strict=True)]
    return schema.encode(named)


def outcomes(schema, user, item, place, reward, **more):
    n = len(user)
    return Outcomes(
        item_ids=[f"i{each}" for each in item],
        x=encode(schema, user, place),
        z=schema.encode_items([{"brand": f"b{each % 3}"} for each in item]),
        reward=reward,
        weight=np.ones(n),
        time_ms=START_MS + np.arange(n) * 1000,
        **more,
    )


def means(policy, state, user, place=None):
    """Means of all items for some users, ``(n, ITEMS)``."""
    posterior, schema = policy.derive(state), policy.schema
    z = schema.encode_items([{"brand": f"b{each % 3}"} for each in range(ITEMS)])
    found = Candidates.of(posterior, [f"i{each}" for each in range(ITEMS)], z=z)
    x = encode(schema, user, np.zeros_like(user) if place is None else place)
    asked = Requests.of(x, [str(each) for each in range(len(user))], [found] * len(user))
    return policy.believe(posterior, asked).mean.reshape(len(user), ITEMS)


def error(policy, state, world, place=None):
    """Root mean square error of the means against the truth, over all users and items."""
    user = np.arange(USERS)
    told = means(policy, state, user, place)
    at = np.zeros(USERS, dtype=int) if place is None else place
    truth = [
        world.mean(np.full(ITEMS, u), np.arange(ITEMS), p) for u, p in zip(user, at, strict=True)
    ]
    return float(np.sqrt(np.mean((told - np.array(truth)) ** 2)))


def learned(spec, schema, batch):
    policy = make_policy(spec, schema=schema)
    state = policy.init()
    policy.update(state, batch)
    return policy, state


def test_tastes_are_found_beside_biases():
    world, schema = World(), Schema(features=(USER,))
    batch = outcomes(schema, *world.events(60_000))
    with_tastes = error(*learned("mf-greedy:dimension=8", schema, batch), world)
    biases = error(*learned("mf-greedy:dimension=8,initial_scale=0", schema, batch), world)
    assert with_tastes < 0.25
    assert biases > 0.9


def test_chances_of_clicks_are_found():
    world, schema = World(strength=3.0), Schema(features=(USER,))
    user, item, place, _ = world.events(120_000)
    rng = np.random.default_rng(5)
    chance = 1 / (1 + np.exp(4.0 - world.mean(user, item)))
    clicks = (rng.random(len(user)) < chance).astype(float)
    batch = outcomes(schema, user, item, place, clicks)
    policy, state = learned("mf-greedy:loss=logistic,dimension=8", schema, batch)
    told = means(policy, state, np.arange(USERS))
    grid = [world.mean(np.full(ITEMS, u), np.arange(ITEMS)) for u in range(USERS)]
    truth = 1 / (1 + np.exp(4.0 - np.array(grid)))
    assert np.sqrt(np.mean((told - truth) ** 2)) < 0.09
    assert np.std(truth) > 0.2
    assert abs(told.mean() - truth.mean()) < 0.02


def test_a_third_id_explains_what_two_cannot():
    world = World(places=4, strength=0.5)
    events = world.events(80_000)
    place = np.arange(USERS) % 4
    both = Schema(features=(USER, PLACE))
    alone = Schema(features=(USER,))
    fm = error(*learned("fm-greedy:dimension=8", both, outcomes(both, *events)), world, place)
    mf = error(*learned("mf-greedy:dimension=8", alone, outcomes(alone, *events)), world, place)
    assert fm < 0.35
    assert mf > 0.8


def test_ids_of_items_tell_of_new_ones():
    """Brands make the reward: an item never met is believed what its brand's are like."""
    schema = Schema(features=(USER, BRAND))
    rng = np.random.default_rng(6)
    user, item = rng.integers(0, USERS, 20_000), rng.integers(0, ITEMS // 2, 20_000)
    reward = np.array([1.0, 2.0, 4.0])[item % 3] + rng.normal(0, 0.2, 20_000)
    batch = outcomes(schema, user, item, np.zeros_like(user), reward)
    told = means(*learned("fm-greedy", schema, batch), np.arange(5))
    new = told[:, ITEMS // 2 :]
    # The brand's share of what item and brand explain together.
    by_brand = [new[:, (np.arange(ITEMS // 2, ITEMS) % 3) == each].mean() for each in range(3)]
    assert by_brand[0] < by_brand[1] < by_brand[2]
    assert by_brand[2] - by_brand[0] > 1.0


def choosy_log(world, schema, n=60_000):
    """A log that shows what will be liked: rewards are missing not at random."""
    rng = np.random.default_rng(7)
    user, item, place, reward = world.events(n, seed=8)
    liked = world.mean(user, item)
    propensity = np.clip(1 / (1 + np.exp(-2.0 * (liked - 4.0))), 0.04, 1.0)
    kept = rng.random(n) < propensity
    found = [each[kept] for each in (user, item, place, reward)]
    return outcomes(schema, *found, propensity=propensity[kept])


def test_propensities_correct_a_log_of_what_is_liked():
    world, schema = World(), Schema(features=(USER,))
    batch = choosy_log(world, schema)
    truth = np.mean([world.mean(np.full(ITEMS, u), np.arange(ITEMS)) for u in range(USERS)])
    bias = {}
    for weighting in ("none", "propensity"):
        spec = f"mf-greedy:dimension=8,weighting={weighting},clip=25"
        policy, state = learned(spec, schema, batch)
        bias[weighting] = float(means(policy, state, np.arange(USERS)).mean() - truth)
    assert bias["none"] > 0.25
    assert abs(bias["propensity"]) < 0.3 * bias["none"]


def test_rewards_of_slots_that_few_look_at_are_made_up_for():
    """The second slot is looked at half as often: its items are worth as much all the same."""
    schema = Schema(features=(USER,))
    rng = np.random.default_rng(9)
    n = 30_000
    slot = np.tile([0, 1], n // 2)
    item = np.where(slot == 0, 0, 1)
    seen = rng.random(n) < np.where(slot == 0, 1.0, 0.5)
    click = (seen & (rng.random(n) < 0.4)).astype(float)
    user = rng.integers(0, USERS, n)
    batch = outcomes(schema, user, item, np.zeros_like(user), click, slot=slot)
    blind = means(*learned("mf-greedy:rate=0.01", schema, batch), np.arange(USERS)).mean(axis=0)
    spec = "mf-greedy:rate=0.01,weighting=propensity,examination=1|0.5"
    told = means(*learned(spec, schema, batch), np.arange(USERS)).mean(axis=0)
    assert blind[0] - blind[1] > 0.12
    assert abs(told[0] - told[1]) < 0.06
    with pytest.raises(ConfigError, match="no position-based form"):
        make_policy("mf-greedy:examination=1|0.5", schema=schema)


def test_rare_items_weigh_more_where_popularity_stands_for_propensities():
    schema = Schema(features=(USER,))
    rng = np.random.default_rng(10)
    item = np.where(rng.random(5_000) < 0.9, 0, 1)
    user = np.zeros(5_000, dtype=int)
    reward = np.where(item == 0, 1.0, 3.0)
    batch = outcomes(schema, user, item, user, reward)
    totals = {}
    for weighting in ("none", "popularity"):
        spec = f"mf-greedy:weighting={weighting},rarity_power=1,clip=100"
        _, state = learned(spec, schema, batch)
        totals[weighting] = float(state.shared["totals"][1])
    assert abs(totals["none"] - 1.2) < 0.05
    assert abs(totals["popularity"] - 2.0) < 0.1


@pytest.mark.parametrize("negatives", ["ring", "shown"])
def test_what_users_choose_stands_above_the_rest(negatives):
    """Each user has one choice in three of her tastes: area under the curve, held out."""
    world, schema = World(strength=4.0), Schema(features=(USER,))
    rng = np.random.default_rng(11)
    n = 30_000
    user = np.repeat(rng.integers(0, USERS, n), 3)
    item = np.stack([rng.permutation(ITEMS)[:3] for _ in range(n)]).ravel()
    liked = world.mean(user, item) + rng.gumbel(0, 0.5, 3 * n)
    best = liked.reshape(n, 3) == liked.reshape(n, 3).max(axis=1, keepdims=True)
    batch = outcomes(
        schema,
        user,
        item,
        np.zeros_like(user),
        best.ravel() * 1.0,
        slate=np.repeat(np.arange(n), 3),
    )
    spec = f"bpr-greedy:dimension=8,negatives={negatives},pairs=4"
    told = means(*learned(spec, schema, batch), np.arange(USERS))
    truth = np.array([world.mean(np.full(ITEMS, u), np.arange(ITEMS)) for u in range(USERS)])
    one, other = rng.integers(0, ITEMS, (2, USERS, 400))
    here = np.arange(USERS)[:, None]
    agree = (told[here, one] > told[here, other]) == (truth[here, one] > truth[here, other])
    assert agree[one != other].mean() > 0.85


def test_recent_popularity_orders_what_nothing_else_tells_apart():
    """Ten hours pass, which a dozen events bring about: one moves the clock by an hour at most."""
    schema = Schema(features=(USER,))
    counts, passed = [300, 12, 200, 100], [0, 36_000_000, 36_000_000, 36_000_000]
    item = np.repeat([0, 4, 1, 2], counts)
    user = np.zeros(len(item), dtype=int)
    batch = outcomes(schema, user, item, user, np.ones(len(item)))
    late = replace(batch, time_ms=np.full(len(item), START_MS) + np.repeat(passed, counts))
    spec = "bpr-greedy:rate=1e-6,bias_rate=1e-6,recent_seconds=3600"
    told = means(*learned(spec, schema, late), np.array([0]))[0]
    assert told[1] > told[2] > told[0] > told[3]
    np.testing.assert_allclose(told[1] - told[2], np.log(2.0), atol=0.01)


def test_ids_met_too_seldom_share_one_vector():
    schema = Schema(features=(USER,))
    user = np.array([0, 0, 0, 1])
    batch = outcomes(schema, user, np.zeros(4, dtype=int), user, np.array([1.0, 2.0, 3.0, 4.0]))
    policy, state = learned("mf-greedy:admission=3", schema, batch)
    table = policy.derive(state).parts["table"]
    assert len(table) == 2  # user 0 and the item
    one, other = means(policy, state, np.array([1, 2]))
    np.testing.assert_array_equal(one, other)


def test_ids_that_models_cannot_take_are_refused():
    with pytest.raises(ConfigError, match="one id of the context and the item"):
        make_policy("mf-greedy", schema=Schema(features=(USER, PLACE)))
    with pytest.raises(ConfigError, match="every item has"):
        make_policy("fm-greedy", schema=Schema(features=(Id(name="item_id", of="item"),)))
    with pytest.raises(ConfigError, match="not chosen"):
        make_policy("bpr-greedy", schema=Schema(features=(USER, BRAND)))
    for spec, hint in {
        "mf-greedy:clip=0.5": "at least 1",
        "mf-greedy:rarity_power=0": "above 0",
        "mf-greedy:loss=hinge": "loss",
        "mf-greedy:optimizer=newton": "optimizer",
        "mf-greedy:dimension=0": "dimension",
        "bpr-greedy:pairs=0": "pairs",
        "bpr-greedy:ring_size=0": "ring",
        "bpr-greedy:recent_seconds=0": "above 0",
        "bpr-greedy:success=inf": "finite",
        "mf-greedy:half_life_seconds=60": "cannot forget",
    }.items():
        with pytest.raises(ConfigError, match=hint):
            make_policy(spec, schema=Schema(features=(USER, Numeric(name="age"))))


@pytest.mark.parametrize("model", ["bpr", "fm"])
def test_ids_of_one_salt_have_the_same_vectors_wherever_they_stand(model):
    """What follows an item is learned of the last one, and known of the one before it, too."""
    rng = np.random.default_rng(3)
    n = 4000
    last, item = rng.integers(0, ITEMS, (2, n))
    follows = np.arange(n) % 2 == 0
    item[follows] = (last[follows] + 1) % ITEMS
    shared = [Id(name=f"last{place}", salt="last") for place in (1, 2)]

    def told(features):
        schema = Schema(features=tuple(features))
        contexts = [{"last1": f"i{one}"} for one in last]
        batch = Outcomes(
            item_ids=[f"i{each}" for each in item],
            x=schema.encode(contexts),
            z=schema.encode_items([{}] * n),
            reward=follows * 1.0,
            weight=np.ones(n),
            time_ms=np.arange(n) * 1000,
        )
        policy, state = learned(f"{model}-greedy:dimension=8", schema, batch)
        posterior = policy.derive(state)
        ids = [f"i{each}" for each in range(ITEMS)]
        candidates = Candidates.of(posterior, ids, z=np.empty((ITEMS, 0)))
        x = schema.encode([{"last1": "i3"}, {"last2": "i3"}, {"last2": "none"}])
        requests = Requests.of(x, ["a", "b", "c"], [candidates] * 3)
        return policy.believe(posterior, requests).mean.reshape(3, -1), posterior

    found, posterior = told(shared)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    if model == "bpr":
        assert found[0].argmax() == 4
    assert [each.name for each in posterior.parts["table"].config.features] == ["last", "item_id"]
    apart, posterior = told([Id(name="last1"), Id(name="last2")])
    np.testing.assert_array_equal(apart[1], apart[2])  # no id of last2 was met
    assert len(posterior.parts["table"].config.features) == 3


def test_an_id_that_is_the_item_itself_is_learned_once_and_whole():
    schema = Schema(features=(Id(name="seen", salt="item_id"),))
    batch = Outcomes(
        item_ids=["a", "b"] * 200,
        x=schema.encode([{"seen": "a"}] * 400),
        z=schema.encode_items([{}] * 400),
        reward=np.array([1.0, 0.0] * 200),
        weight=np.ones(400),
        time_ms=np.arange(400) * 1000,
    )
    _, state = learned("mf-greedy:dimension=4", schema, batch)
    table = state.parts["table"].table
    assert len(table) == 2
    assert not np.any(table.table.words[:3, 0] & 1)  # no record is left half written
    assert np.isfinite(table.table.floats[:3]).all()
