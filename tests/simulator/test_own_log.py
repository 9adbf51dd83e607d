"""What a log of the service holds of pins, sampled propensities and item features is all used."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from engine.batches import Candidates, Requests
from engine.embeddings.keys import hash_ids
from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError
from engine.features import Schema
from engine.registry import make_policy
from simulator.evaluate import evaluate, weigh
from simulator.health import check_log
from simulator.own_log import read_events
from simulator.targets import LearnedTarget, UniformTarget, make_target
from streams.catalogue import Catalogue
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Feedback, Impression, Item, Pool, ShownItem, Tick, User, encode_event
from streams.log.base import CATALOGUE, EVENTS
from streams.log.memory import MemoryLog
from streams.rows import ItemRows, pick_features
from streams.shard import Shard
from streams.vector_features import VectorFeatures, open_vectors
from streams.vector_files import save_vectors
from tests.item_model import register
from tests.simulator.test_targets import log_of, table_file, uniform_log

START = 1_700_000_000_000
ITEMS = tuple("abcdef")
PRICE = {"type": "numeric", "name": "price", "of": "item", "scale": 2}
HOUR = {"type": "numeric", "name": "hour", "center": 12, "scale": 6}


class House:
    """A log that is served from and learned of, one slate at a time."""

    def __init__(self, spec, *features, learn="close", sets=None):
        self.config = EngineConfig(
            policies={"main": PolicyConfig(spec=spec, features=features)},
            recommenders={
                "default": RecommenderConfig(policy="main", window_seconds=2, learn=learn)
            },
        )
        self.policy = self.config.policies["main"].build("main")
        self.log, self.shard = MemoryLog(START), Shard()
        self.catalogue = Catalogue(self.log)
        self.vectors = VectorFeatures(self.policy.schema, sets or {})
        self.rows = ItemRows(self.policy.schema, self.vectors)
        self.append(self.config.to_control(START))

    def append(self, *events, topic=EVENTS):
        self.log.append(topic, [("", encode_event(event)) for event in events])

    def put(self, *events):
        self.append(*events, topic=CATALOGUE)
        self.catalogue.refresh()

    def serve(self, request_id, context, k=3, pins=None, pool="home", **fields):
        """Choose as the service does, and log it; the state knows every record before."""
        self.log.time_ms += 500
        self.append(Tick(ts=0))
        self.shard.fold(self.log.poll(EVENTS, self.shard.next_offset, 10**6))
        posterior = self.policy.derive(self.shard.states["main"])
        found = self.catalogue.candidates(pool, fields.get("candidates")).ids
        z = self.rows.of(self.catalogue, found)
        candidates = Candidates.of(posterior, found, z=z)
        requests = Requests.of(self.policy.schema.encode([context]), [request_id], [candidates])
        places = np.array([[found.index(pin) if pin else -1 for pin in pins or [None] * k]])
        slates = self.policy.rank(posterior, requests, k, places)
        shown = [
            ShownItem(
                item_id=found[pick],
                propensity=float(slates.propensity[0, slot]),
                method=slates.methods()[0][slot],
                features=pick_features(
                    self.policy.schema,
                    self.catalogue.item(found[pick]),
                    found[pick],
                    self.vectors,
                ),
            )
            for slot, pick in enumerate(slates.picks[0])
        ]
        impression = Impression(
            ts=0,
            request_id=request_id,
            recommender="default",
            slate=tuple(shown),
            context=context,
            pool=pool,
            catalogue_version=self.catalogue.version,
            **fields,
        )
        self.append(impression)
        return impression

    def click(self, impression, slot):
        item = impression.slate[slot].item_id
        event_id = f"{impression.request_id}-{slot}"
        self.append(
            Feedback(
                ts=0,
                event_id=event_id,
                request_id=impression.request_id,
                item_id=item,
                kind="click",
            )
        )

    def read(self, data_dir=None):
        self.log.time_ms += 60_000
        self.append(Tick(ts=0))
        return read_events(self.log, data_dir=data_dir)


def priced(item, price):
    return Item(ts=0, id=item, features={"price": float(price), "colour": "red"})


@pytest.mark.parametrize(
    ("spec", "learn"),
    [
        ("items-ucb:corrected=true,floor=0.3,alpha=1", "close"),
        ("items-ucb:corrected=true,floor=0.3,alpha=1", "first"),
        ("shared-ucb:floor=0.3,alpha=1", "first"),
        ("hybrid-ucb:floor=0.3,alpha=1", "close"),
    ],
)
def test_a_policy_over_item_features_is_scored_on_its_log_as_it_served(monkeypatch, spec, learn):
    """The policy that served, learning from its own log, states the propensities it logged."""
    register(monkeypatch)
    house = House(spec, HOUR, PRICE, learn=learn)
    rng = np.random.default_rng(1)
    price = dict(zip(ITEMS, rng.normal(0, 3, len(ITEMS)), strict=True))
    house.put(*(priced(item, p) for item, p in price.items()))
    house.put(Pool(ts=0, name="home", item_ids=ITEMS))
    for number in range(120):
        if number % 7 == 0:
            item = str(rng.choice(ITEMS))
            price[item] = rng.normal(0, 3)
            house.put(priced(item, price[item]), User(ts=0, id="u"))
        given = {"pins": [None, "c", None]} if number % 5 == 0 else {}
        if number % 11 == 0:
            given = {"candidates": ITEMS[:4], "pool": None}
        seen = house.serve(f"r{number}", {"hour": number % 24}, **given)
        for slot, shown in enumerate(seen.slate):
            if rng.random() < 1 / (1 + np.exp(-price[shown.item_id])):
                house.click(seen, slot)
    log = house.read()
    assert len(log) == 120
    assert log.excluded == {}
    assert log.pinned.sum() == len(range(0, 120, 5)) - len(range(0, 120, 55))
    policy = make_policy(spec, schema=log.schema)
    found = LearnedTarget(policy, batch=1).propensities(log)
    np.testing.assert_allclose(found, log.propensity, rtol=1e-9)
    blind = LearnedTarget(make_policy("beta-ucb:floor=0.3", schema=log.schema), batch=1)
    assert not np.allclose(blind.propensities(log), log.propensity)
    assert len(log.candidates.sets) > 15  # one for every change of a price
    assert evaluate(log, [spec]).policies[0].estimates[0].value is not None


TASTE = {"type": "vector", "name": "taste", "count": 2, "version": "a"}
STYLE = {"type": "vector", "name": "style", "of": "item", "count": 2, "version": "a"}


def test_a_policy_over_vectors_is_scored_where_their_sets_are(tmp_path):
    rng = np.random.default_rng(3)
    users = [f"u{number}" for number in range(10)]
    for name, salt, ids in (("taste", "user_id", users), ("style", "item_id", ITEMS[:5])):
        vectors = rng.normal(size=(len(ids), 2)).astype(np.float32)
        save_vectors(tmp_path, name, VectorSet.of(hash_ids(salt, ids).keys, vectors, "a"))
    crossed = {"type": "interaction", "left": "taste", "right": "style"}
    features = (TASTE, STYLE, crossed)
    spec = "shared-ucb:floor=0.3,alpha=1"
    house = House(spec, *features, sets=open_vectors([Schema.from_list(features)], tmp_path))
    house.put(*(Item(ts=0, id=item) for item in ITEMS), Pool(ts=0, name="home", item_ids=ITEMS))
    for number in range(60):
        context = house.vectors.of_context({}, users[number % 10])
        seen = house.serve(f"r{number}", context)
        for slot in range(3):
            if rng.random() < 0.4:
                house.click(seen, slot)
    log = house.read(tmp_path)
    assert len(log) == 60
    target = LearnedTarget(make_policy(spec, schema=log.schema), batch=1)
    np.testing.assert_allclose(target.propensities(log), log.propensity, rtol=1e-9)

    elsewhere = house.read()
    assert len(elsewhere) == 0
    told = "vectors of the candidates unknown, or of another version"
    assert elsewhere.excluded == {told: 60}
    next_vectors = VectorSet.of(hash_ids("item_id", ITEMS).keys, np.ones((6, 2), np.float32), "b")
    save_vectors(tmp_path, "style", next_vectors)
    moved = {"main": PolicyConfig(spec=spec, features=(TASTE, {**STYLE, "version": "b"}, crossed))}
    house.append(replace(house.config, policies=moved).to_control(0))
    assert house.read(tmp_path).excluded == {told: 60}

    (tmp_path / "vectors" / "style" / "b" / "keys.npy").write_bytes(b"")
    with pytest.raises(ConfigError, match="damaged"):
        house.read(tmp_path)


@pytest.mark.parametrize("learn", ["close", "first"])
@pytest.mark.parametrize("spec", ["beta-ucb:examination=cascade", "linear-ucb:examination=1|0.5"])
def test_slots_and_reactions_are_learned_from_the_columns_as_live(spec, learn):
    house = House(f"{spec},floor=0.5", HOUR, learn=learn)
    house.put(*(Item(ts=0, id=item) for item in ITEMS), Pool(ts=0, name="home", item_ids=ITEMS))
    rng = np.random.default_rng(2)
    for number in range(80):
        seen = house.serve(f"r{number}", {"hour": number % 24})
        for slot in rng.permutation(3):
            if rng.random() < 0.4:
                house.click(seen, int(slot))
    log = house.read()
    target = LearnedTarget(make_policy(f"{spec},floor=0.5", schema=log.schema), batch=1)
    np.testing.assert_allclose(target.propensities(log), log.propensity, rtol=1e-9)


def test_items_whose_features_do_not_fit_are_told():
    house = House("linear-greedy", PRICE)
    house.put(*(priced(item, 1.0) for item in ITEMS), Pool(ts=0, name="home", item_ids=ITEMS))
    house.serve("good", {})
    house.put(Item(ts=0, id="f", features={"price": "dear"}))
    seen = house.serve("kept", {}, pool=None, candidates=ITEMS[:5])
    house.append(structs.replace(seen, request_id="beside", pool="home", candidates=None))
    bad = ShownItem(item_id="a", propensity=0.5, method="exact", features={"price": "dear"})
    house.append(structs.replace(seen, request_id="shown", slate=(bad,)))
    log = house.read()
    assert log.request_ids == ["good", "kept"]
    assert log.excluded == {"item features do not fit the schema": 2}


def test_contexts_of_before_a_feature_changed_its_type_are_told():
    house = House("linear-greedy", HOUR)
    house.put(*(Item(ts=0, id=item) for item in ITEMS), Pool(ts=0, name="home", item_ids=ITEMS))
    house.serve("fits", {})
    house.serve("before", {"hour": 3})
    house.read()
    told = {"type": "categorical", "name": "hour", "values": ["late"]}
    policies = {"main": PolicyConfig(spec="linear-greedy", features=(told,))}
    house.append(replace(house.config, policies=policies).to_control(0))
    log = house.read()
    assert log.request_ids == ["fits"]
    assert log.excluded == {"context does not fit the schema": 1}
    assert evaluate(log, ["linear-greedy"]).policies[0].estimates


def test_columns_of_pins_and_samples():
    house = House("linear-greedy", PRICE)
    house.put(*(Item(ts=0, id=item) for item in ITEMS), Pool(ts=0, name="home", item_ids=ITEMS))
    slate = (
        ShownItem(item_id="b", propensity=1.0, method="pinned", features={"price": 4}),
        ShownItem(item_id="a", propensity=0.5, method="monte_carlo", error=0.1, recurrence=4),
        ShownItem(item_id="d", propensity=0.25, method="exact"),
    )
    seen = Impression(
        ts=0,
        request_id="r",
        recommender="default",
        slate=slate,
        pool="home",
        catalogue_version=house.catalogue.version,
    )
    house.append(seen, structs.replace(seen, request_id="s", slate=slate[1:]))
    house.click(seen, 0)
    house.click(seen, 1)
    log = house.read()
    assert log.pinned.tolist() == [[True, False, False], [False, False, False]]
    assert log.inverse.tolist() == [[1, 4, 4], [4, 4, 1]]
    assert log.propensity[0].tolist() == [1.0, 0.5, 0.25]
    assert log.left.tolist() == [[1, 5, 4], [6, 5, 1]]
    assert log.earned.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert log.last.tolist() == [[1, 1, 1], [-1, -1, -1]]
    assert log.z[:, :, 0].tolist() == [[2, 0, 0], [0, 0, 0]]


def pinned_log(seed=0, n=4000, k=3):
    """Slates of a uniform policy over four items where some slots are pinned."""
    rng = np.random.default_rng(seed)
    items, pinned = np.zeros((n, k), dtype=int), rng.random((n, k)) < 0.3
    propensity = np.ones((n, k))
    for row in range(n):
        order = rng.permutation(4)
        items[row] = order[:k]  # pins are drawn too, before the rest
        free = 4 - int(pinned[row].sum())
        for slot in np.flatnonzero(~pinned[row]):
            propensity[row, slot] = 1 / free
            free -= 1
    reward = (rng.random((n, k)) < 0.2 * (items + 1)) * 1.0
    return log_of(items, propensity, reward, pinned=pinned)


def test_pins_leave_targets_what_is_left(tmp_path):
    log = pinned_log(n=300)
    np.testing.assert_allclose(UniformTarget().propensities(log), log.propensity)
    learned = make_target("beta-epsilon:epsilon=1", log)
    np.testing.assert_allclose(learned.propensities(log), log.propensity)
    weights = (0.4, 0.3, 0.2, 0.1)
    rows = [{"item_id": i, "probability": p} for i, p in zip("abcd", weights, strict=True)]
    few = log_of(
        [[0, 2, 1], [3, 1, 0]],
        [[1 / 3, 1, 1 / 2], [1, 1, 1]],
        [[0] * 3] * 2,
        pinned=np.array([[False, True, False], [True, True, True]]),
    )
    found = make_target(f"table:{table_file(tmp_path, rows)}", few).propensities(few)
    np.testing.assert_allclose(found, [[0.4 / 0.8, 1, 0.3 / 0.4], [1, 1, 1]])
    assert few.left.tolist() == [[3, 1, 2], [1, 1, 1]]


def test_the_value_of_a_policy_leaves_pinned_slots_out(tmp_path):
    """Against the mean over the same pins of what the table is expected to earn in its slots."""
    log = pinned_log(n=6000)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    rows = [{"item_id": i, "probability": p} for i, p in zip("abcd", weights, strict=True)]
    target = make_target(f"table:{table_file(tmp_path, rows)}", log)
    truth = np.mean([expected(weights, *row) for row in zip(log.items, log.pinned, strict=True)])
    for estimate in weigh(log, target.propensities(log), clip=100).estimates():
        assert abs(estimate.value - truth) < 4 * estimate.se
    (found,) = evaluate(log, ["uniform"]).policies
    assert found.estimates[0].value == pytest.approx(log.earned.sum(axis=1).mean())
    assert found.estimates[0].mean_weight == pytest.approx(1)
    assert any("of the slots were pinned" in reason for reason in found.reasons)
    assert {f.status for f in check_log(log).findings} == {"pass"}


def expected(weights, items, pinned, slot=0, gone=()):
    """Expected reward of the free slots from ``slot`` on; reward of an item is 0.2 (item + 1)."""
    if slot == len(items):
        return 0.0
    if pinned[slot]:
        return expected(weights, items, pinned, slot + 1, gone)
    barred = {*gone, *items[pinned]}
    left = [item for item in range(4) if item not in barred]
    total = sum(weights[item] for item in left)
    return sum(
        weights[item]
        / total
        * (0.2 * (item + 1) + expected(weights, items, pinned, slot + 1, (*gone, item)))
        for item in left
    )


def test_a_certain_log_is_told_by_what_was_chosen():
    log = uniform_log(n=300)
    sampled = log_of(
        log.items, log.propensity, log.reward, recurrence=np.ones(log.items.shape, dtype=int)
    )
    assert check_log(sampled).deterministic == 0.0  # the reciprocal of 1 draw says nothing
    pins = log_of(
        log.items, np.ones(log.items.shape), log.reward, pinned=np.ones(log.items.shape, bool)
    )
    assert check_log(pins).deterministic == 0.0
    assert evaluate(pins, ["uniform"]).policies[0].estimates[0].value == 0.0


def test_draws_until_an_item_came_again_weigh_without_bias():
    """1 / estimate is biased where few draws were made; the draws until recurrence are not."""
    rng = np.random.default_rng(5)
    n, draws = 60_000, 20
    p = np.array([0.55, 0.3, 0.1, 0.05])
    items = rng.choice(4, size=(n, 1), p=p)
    estimate = (1 + rng.binomial(draws, p[items])) / (draws + 1)
    reward = (rng.random((n, 1)) < 0.2 * (items + 1)) * 1.0
    truth = 0.2 * 2.5  # of a uniform policy

    def value(**fields):
        (found, *_) = (
            evaluate(log_of(items, estimate, reward, **fields), ["uniform"]).policies[0].estimates
        )
        return found

    sampled = value(recurrence=rng.geometric(p[items]))
    assert abs(sampled.value - truth) < 3 * sampled.se
    assert abs(sampled.mean_weight - 1) < 0.03
    plain = value()
    assert abs(plain.value - truth) > 6 * plain.se


def test_schemas_without_item_features_need_no_catalogue_history():
    log = log_of([[0, 1]], [[0.25, 1 / 3]], [[0, 1]])
    assert log.z.shape == (1, 2, 0)
    assert log.candidates.z[0].shape == (4, 0)
    assert log.schema == Schema()
    assert log.last.tolist() == [[1, 1]]
