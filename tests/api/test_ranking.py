"""From candidates to slots: who chooses, why each slot was chosen, and what is refused."""

import math

import numpy as np
import pytest

from api.problems import ProblemError
from api.ranking import Ranker
from api.service import Service
from api.settings import Settings
from engine.batches import Outcomes
from streams.catalogue import Catalogue
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.counts import Counts
from streams.errors import BadItemError
from streams.events import Item, User, encode_event
from streams.log.base import CATALOGUE
from streams.log.memory import MemoryLog
from streams.views import View
from tests.item_model import register

HOUR = {"type": "numeric", "name": "hour"}
PRICE = {"type": "numeric", "name": "price", "of": "item"}
PRICES = {"a": 2.0, "b": 1.0, "c": -1.0}
IDS = ("a", "b", "c", "new")


def config(spec="linear-greedy:floor=0.2", features=(HOUR,)):
    policies = {"main": PolicyConfig(spec=spec, features=features)}
    return EngineConfig(
        policies=policies, recommenders={"default": RecommenderConfig(policy="main")}
    )


def ranker_of(of=None, *events):
    log = MemoryLog()
    log.append(CATALOGUE, [("", encode_event(event)) for event in events])
    catalogue = Catalogue(log)
    catalogue.refresh()
    return Ranker(of or config(), catalogue)


def view(of, clicks=(("a", 1.0), ("b", 0.0), ("c", 0.0))):
    policy = of.policies["main"].build("main")
    state = policy.init()
    item_ids = [item_id for item_id, _ in clicks] * 20
    n = len(item_ids)
    outcomes = Outcomes(
        item_ids=item_ids,
        x=policy.schema.encode([{}] * n),
        z=policy.schema.encode_items([{"price": PRICES.get(item)} for item in item_ids]),
        reward=np.array([reward for _, reward in clicks] * 20),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
    )
    policy.update(state, outcomes)
    return View(
        version=7,
        offsets={0: n},
        clocks={0: 0},
        policies={"main": policy.derive(state)},
        state_hashes={"main": policy.state_hash},
        config=of,
        counts=Counts(),
    )


def rank(ranker, view, request_id="r", **changes):
    asked = {"context": {}, "ids": IDS, "request_id": request_id, "k": 2} | changes
    return ranker.rank(view, "main", **asked)


def test_reasons_tell_greedy_picks_explored_ones_and_unseen_items_apart():
    ranker, shown = ranker_of(), view(config())
    reasons = {}
    for number in range(300):
        for slot in rank(ranker, shown, str(number), k=1).slots:
            reasons.setdefault(slot.item_id, set()).add(slot.reason)
    assert reasons == {
        "a": {"exploit"},
        "b": {"explore"},
        "c": {"explore"},
        "new": {"cold_start"},
    }


def test_a_slate_names_its_view_and_policy():
    ranker, shown = ranker_of(), view(config())
    ranked = rank(ranker, shown)
    policy = ranker.policies["main"]
    assert (ranked.policy, ranked.policy_hash, ranked.view) == ("main", policy.hash, 7)
    assert ranked.schema == policy.schema.version
    assert ranked.fallback is None
    assert math.isclose(ranked.slots[0].propensity, 0.8 + 0.2 / 4)


@pytest.mark.parametrize(
    ("learned", "fallback"),
    [
        (None, "no_view"),
        (config("linear-greedy:ridge=3"), "policy_changed"),
        (config(features=()), "policy_changed"),
    ],
)
def test_without_fitting_beliefs_the_slate_is_uniform(learned, fallback):
    ranked = rank(ranker_of(), learned and view(learned), k=4)
    assert (ranked.policy, ranked.fallback) == ("uniform", fallback)
    assert {slot.method for slot in ranked.slots} == {"exact"}
    assert {slot.reason for slot in ranked.slots} == {"fallback"}
    stated = [slot.propensity for slot in ranked.slots]
    assert stated == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])


def test_a_view_without_the_policy_falls_back():
    ranker = ranker_of()
    shown = view(config())
    shown = View(
        **{name: getattr(shown, name) for name in shown.__dataclass_fields__}
        | {
            "policies": {},
            "state_hashes": {},
        }
    )
    assert rank(ranker, shown).fallback == "no_posterior"


def test_another_exploration_goes_on_with_what_was_learned():
    ranked = rank(ranker_of(config("linear-greedy:floor=0.5")), view(config()))
    assert ranked.fallback is None
    assert math.isclose(ranked.slots[0].propensity, 0.5 + 0.5 / 4)


def test_a_pool_looked_up_before_gives_the_same_slates_in_the_next_view():
    cached, fresh = ranker_of(), ranker_of()
    first, second = view(config()), view(config(), (("a", 0.0), ("b", 1.0), ("new", 0.5)))
    for shown in (first, second, first):
        for number in range(20):
            with_pool = rank(cached, shown, str(number), pool="p")
            assert with_pool == rank(fresh, shown, str(number))
    other = rank(cached, first, ids=("c", "b", "a"), pool="p")
    assert {slot.item_id for slot in other.slots} <= {"a", "b", "c"}


def test_a_feature_that_does_not_fit_is_pointed_at():
    with pytest.raises(ProblemError) as refused:
        rank(ranker_of(), view(config()), context={"other": "x", "hour": "late"})
    assert refused.value.kind == "bad-features"
    assert [fault.pointer for fault in refused.value.faults] == ["/context/hour"]


def test_before_kernels_are_loaded_slates_are_refused_for_a_moment(tmp_path):
    service = Service(Settings(data_dir=tmp_path))
    with pytest.raises(ProblemError) as refused:
        _ = service.ranker
    assert (refused.value.kind, refused.value.retry_after) == ("starting", 1)
    assert service.missing == ["kernels", "view"]
    service.appender.close()
    service.log.close()


def test_pins_fill_their_slots_and_no_other_shows_their_items():
    ranker, shown = ranker_of(), view(config())
    for number in range(40):
        slots = rank(ranker, shown, str(number), k=3, pins={1: "new"}).slots
        pinned = slots[1]
        assert (pinned.item_id, pinned.propensity, pinned.error) == ("new", 1.0, 0.0)
        assert (pinned.method, pinned.reason) == ("pinned", "pinned")
        others = [slots[0], slots[2]]
        assert {slot.method for slot in others} == {"exact"}
        assert "new" not in {slot.item_id for slot in others}
        greedy, explored = 0.8 + 0.2 / 3, 0.2 / 3
        expected = greedy if slots[0].item_id == "a" else explored
        assert math.isclose(slots[0].propensity, expected)


def test_pins_hold_without_a_view_too():
    ranked = rank(ranker_of(), None, k=4, pins={0: "c", 3: "a"})
    reasons = [slot.reason for slot in ranked.slots]
    assert reasons == ["pinned", "fallback", "fallback", "pinned"]
    assert [ranked.slots[0].item_id, ranked.slots[3].item_id] == ["c", "a"]
    assert [slot.propensity for slot in ranked.slots] == pytest.approx([1, 1 / 2, 1, 1])


@pytest.fixture
def priced(monkeypatch):
    """A policy over items' prices, its catalogue, and what it learned: dear items are clicked."""
    register(monkeypatch)
    of = config("items-greedy:floor=0.1", (HOUR, PRICE))
    items = [Item(ts=0, id=i, features={"price": p, "colour": "red"}) for i, p in PRICES.items()]
    return ranker_of(of, *items, Item(ts=0, id="new")), view(of)


def change(ranker, *events):
    ranker._catalogue._log.append(CATALOGUE, [("", encode_event(event)) for event in events])
    ranker._catalogue.refresh()


def greedy(ranker, shown, pool):
    ranked = rank(ranker, shown, k=4, pool=pool)
    return max(ranked.slots, key=lambda slot: slot.score).item_id


@pytest.mark.parametrize("pool", [None, "p"])
def test_items_are_ranked_by_their_features_as_they_are_now(priced, pool):
    ranker, shown = priced
    assert greedy(ranker, shown, pool) == "a"
    change(ranker, Item(ts=1, id="new", features={"price": 3.0}))
    assert greedy(ranker, shown, pool) == "new"
    change(ranker, Item(ts=2, id="new", deleted=True))
    assert greedy(ranker, shown, pool) == "a"


def test_a_pool_is_encoded_once_as_long_as_no_item_changes(priced):
    ranker, shown = priced
    posterior = shown.policies["main"]
    first = ranker._look_up("main", "p", posterior, IDS)
    assert first.z.tolist() == [[2.0], [1.0], [-1.0], [0.0]]
    change(ranker, User(ts=1, id="u"))
    assert ranker._look_up("main", "p", posterior, IDS) is first
    change(ranker, Item(ts=1, id="b", features={"price": 4}))
    second = ranker._look_up("main", "p", posterior, IDS)
    assert second.z.tolist() == [[2.0], [4.0], [-1.0], [0.0]]
    kept = ranker._item_rows["main"]._known
    before = {item_id: row for item_id, (_, row) in kept.items()}
    change(ranker, Item(ts=2, id="b", features={"price": 3}))
    ranker._look_up("main", "p", posterior, IDS)
    assert [item_id for item_id in IDS if kept[item_id][1] is not before[item_id]] == ["b"]


def test_only_the_features_that_the_policy_reads_are_shown(priced):
    ranker, _ = priced
    assert ranker.shown_features("main", "a") == {"price": 2.0}
    assert ranker.shown_features("main", "new") == ranker.shown_features("main", "gone") == {}
    assert ranker_of().shown_features("main", "a") is None


@pytest.mark.parametrize("with_view", [True, False])
def test_an_item_whose_features_do_not_fit_is_named(priced, with_view):
    ranker, shown = priced
    change(ranker, Item(ts=1, id="b", features={"price": "dear"}))
    with pytest.raises(BadItemError, match="item 'b' of the catalogue: feature 'price'"):
        rank(ranker, shown if with_view else None)
