"""From candidates to slots: who chooses, why each slot was chosen, and what is refused."""

import math

import numpy as np
import pytest

from api.problems import ProblemError
from api.ranking import Ranker
from api.service import Service
from api.settings import Settings
from engine.batches import Outcomes
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.counts import Counts
from streams.views import View

HOUR = {"type": "numeric", "name": "hour"}
IDS = ("a", "b", "c", "new")


def config(spec="linear-greedy:floor=0.2", features=(HOUR,)):
    policies = {"main": PolicyConfig(spec=spec, features=features)}
    return EngineConfig(
        policies=policies, recommenders={"default": RecommenderConfig(policy="main")}
    )


def view(of, clicks=(("a", 1.0), ("b", 0.0), ("c", 0.0))):
    policy = of.policies["main"].build("main")
    state = policy.init()
    item_ids = [item_id for item_id, _ in clicks] * 20
    n = len(item_ids)
    outcomes = Outcomes(
        item_ids=item_ids,
        x=policy.schema.encode([{}] * n),
        reward=np.array([reward for _, reward in clicks] * 20),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
    )
    policy.update(state, outcomes)
    return View(
        version=7,
        offsets={0: n},
        policies={"main": policy.derive(state)},
        state_hashes={"main": policy.state_hash},
        config=of,
        counts=Counts(),
    )


def rank(ranker, view, request_id="r", **changes):
    asked = {"context": {}, "ids": IDS, "request_id": request_id, "k": 2} | changes
    return ranker.rank(view, "main", **asked)


def test_reasons_tell_greedy_picks_explored_ones_and_unseen_items_apart():
    ranker, shown = Ranker(config()), view(config())
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
    ranker, shown = Ranker(config()), view(config())
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
    ranked = rank(Ranker(config()), learned and view(learned), k=4)
    assert (ranked.policy, ranked.fallback, ranked.method) == ("uniform", fallback, "exact")
    assert {slot.reason for slot in ranked.slots} == {"fallback"}
    stated = [slot.propensity for slot in ranked.slots]
    assert stated == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])


def test_a_view_without_the_policy_falls_back():
    ranker = Ranker(config())
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
    ranked = rank(Ranker(config("linear-greedy:floor=0.5")), view(config()))
    assert ranked.fallback is None
    assert math.isclose(ranked.slots[0].propensity, 0.5 + 0.5 / 4)


def test_a_pool_looked_up_before_gives_the_same_slates_in_the_next_view():
    cached, fresh = Ranker(config()), Ranker(config())
    first, second = view(config()), view(config(), (("a", 0.0), ("b", 1.0), ("new", 0.5)))
    for shown in (first, second, first):
        for number in range(20):
            with_pool = rank(cached, shown, str(number), pool="p")
            assert with_pool == rank(fresh, shown, str(number))
    other = rank(cached, first, ids=("c", "b", "a"), pool="p")
    assert {slot.item_id for slot in other.slots} <= {"a", "b", "c"}


def test_a_feature_that_does_not_fit_is_pointed_at():
    with pytest.raises(ProblemError) as refused:
        rank(Ranker(config()), view(config()), context={"other": "x", "hour": "late"})
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
