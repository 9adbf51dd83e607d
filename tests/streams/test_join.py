"""Every fate a record can have, and what is learned from the rest."""

from dataclasses import replace

import pytest
from msgspec import structs

from engine.errors import ConfigError
from streams.config import RecommenderConfig
from streams.events import Activation, Item, ShownItem, Tick, encode_event
from streams.log.base import Record
from tests.streams.cases import DEVICE, HOUR, START, Bench, click, impression, settings, take_in

SEEN = impression("r")  # shows a and b


@pytest.fixture
def bench() -> Bench:
    return Bench(settings(window=20))


def test_a_window_closes_at_its_deadline_and_silence_is_the_default(bench):
    bench.at(0, SEEN).at(5, click("r", "b", value=2.0)).tick(19.999)
    assert bench.rewards() == []
    assert bench.fates("impression") == {"consumed": 1, "pending": 1}
    assert bench.fates("feedback") == {"consumed": 1, "pending": 1}
    bench.tick(20)
    assert bench.rewards() == [("a", 0.0), ("b", 2.0)]
    assert bench.fates("impression") == bench.fates("feedback") == {"consumed": 1, "applied": 1}
    outcome = bench.outcomes[0]
    assert (outcome.offset, outcome.time_ms) == (3, START + 20_000)


def test_the_outcome_carries_features_weight_and_policy():
    bench = Bench(settings(HOUR, DEVICE))
    bench.at(0, impression("r", weight=4.0, context={"hour": 15, "device": "web"})).tick(50)
    (outcome,) = bench.outcomes
    assert outcome.x.tolist() == [1.0, 0.5, 0.0, 1.0]
    assert (outcome.weight, outcome.policy, outcome.time_ms) == (4.0, "main", START + 20_000)


def test_kinds_are_weighted_and_others_filtered(bench):
    bench.at(0, SEEN).at(1, click("r", "a", "e1", kind="view"))
    bench.at(2, click("r", "a", "e2", kind="buy")).at(3, click("r", "a", "e3")).tick(30)
    assert bench.rewards() == [("a", 5.0), ("b", 0.0)]
    assert bench.fates("feedback") == {"consumed": 3, "applied": 1, "filtered": 2}


def test_the_same_event_id_is_a_duplicate(bench):
    bench.at(0, SEEN).at(1, click("r")).at(2, click("r")).at(3, click("r", "b", "e"))
    assert bench.fates("feedback") == {"consumed": 3, "pending": 1, "duplicate": 2}


def test_a_repeated_impression_is_a_duplicate_open_or_closed(bench):
    bench.at(0, SEEN).at(1, SEEN).tick(30).at(31, SEEN)
    assert bench.fates("impression") == {"consumed": 3, "applied": 1, "duplicate": 2}
    assert len(bench.rewards()) == 2


def test_feedback_at_the_deadline_is_late(bench):
    bench.at(0, SEEN).at(20, click("r"))
    assert bench.fates("feedback") == {"consumed": 1, "late": 1}
    assert bench.rewards() == [("a", 0.0), ("b", 0.0)]


def test_a_request_is_remembered_for_a_minute_after_its_window(bench):
    bench.at(0, SEEN).at(79, click("r")).at(150, click("r", "a", "e2"))
    assert bench.fates("feedback") == {"consumed": 2, "late": 2}
    bench.at(1000, click("r", "a", "e3"))  # forgotten: as if it never was
    assert bench.fates("feedback") == {"consumed": 3, "late": 2, "pending": 1}
    assert bench.joiner.closed.to_dict() == {}


@pytest.mark.parametrize(
    "feedback",
    [click("r", "c"), click("r", "a", slot=1), click("r", "a", slot=2), click("r", "b", slot=0)],
)
def test_an_item_not_shown_there_is_told_apart(bench, feedback):
    bench.at(0, SEEN).at(1, feedback).tick(30)
    assert bench.fates("feedback") == {"consumed": 1, "not_shown": 1}
    assert bench.rewards() == [("a", 0.0), ("b", 0.0)]


def test_early_feedback_waits_for_its_impression(bench):
    bench.at(0, click("r")).at(1, click("r")).at(10, SEEN)
    assert bench.fates("feedback") == {"consumed": 2, "pending": 1, "duplicate": 1}
    assert bench.joiner.join_point().offset == 0
    bench.tick(31)
    assert bench.rewards() == [("a", 1.0), ("b", 0.0)]


def test_early_feedback_is_an_orphan_after_a_window(bench):
    bench.at(0, click("r")).at(20, SEEN)
    assert bench.fates("feedback") == {"consumed": 1, "orphan": 1}
    assert bench.joiner.join_point().offset == 1


def test_an_unknown_recommender_is_filtered_with_its_feedback(bench):
    bench.at(0, impression("r", recommender="none")).at(1, click("r")).tick(30)
    assert bench.fates("impression") == {"consumed": 1, "filtered": 1}
    assert bench.fates("feedback") == {"consumed": 1, "filtered": 1}
    assert bench.rewards() == []


def test_a_fallback_slate_is_learned_from_too(bench):
    bench.at(0, impression("r", fallback="timeout")).tick(30)
    assert len(bench.rewards()) == 2


def test_first_learns_feedback_at_once_and_silence_at_the_close():
    bench = Bench(settings(window=20, learn="first"))
    bench.at(0, SEEN).at(1, click("r", "b"))
    assert bench.rewards() == [("b", 1.0)]
    assert bench.outcomes[0].time_ms == START + 1000
    assert bench.fates("feedback") == {"consumed": 1, "applied": 1}
    assert bench.fates("impression") == {"consumed": 1, "pending": 1}
    bench.at(2, click("r", "b", "e2")).tick(20)
    assert bench.rewards() == [("b", 1.0), ("a", 0.0)]
    assert bench.fates("feedback") == {"consumed": 2, "applied": 1, "filtered": 1}
    assert bench.fates("impression") == {"consumed": 1, "applied": 1}


def test_first_applies_an_impression_when_its_last_slot_is_learned():
    bench = Bench(settings(window=20, learn="first"))
    bench.at(0, SEEN).at(1, click("r", "b")).at(2, click("r", "a", "e2"))
    assert bench.fates("impression") == {"consumed": 1, "applied": 1}
    assert bench.tick(30).rewards() == [("b", 1.0), ("a", 1.0)]


def test_a_deferred_slate_starts_at_its_activation(bench):
    bench.at(0, impression("r", deferred=True)).at(15, Activation(ts=0, request_id="r"))
    bench.at(30, click("r")).tick(34).tick(35)
    assert bench.rewards() == [("a", 1.0), ("b", 0.0)]
    bench.at(36, Activation(ts=0, request_id="r"))
    assert bench.fates("activation") == {"consumed": 2, "applied": 1, "late": 1}


def test_a_deferred_slate_never_seen_is_filtered(bench):
    bench.at(0, impression("r", deferred=True)).at(1, click("r")).tick(20)
    assert bench.fates("impression") == {"consumed": 1, "filtered": 1}
    assert bench.fates("feedback") == {"consumed": 1, "filtered": 1}
    assert bench.rewards() == []


@pytest.mark.parametrize("learn", ["close", "first"])
def test_only_activated_slots_are_learned(learn):
    bench = Bench(settings(window=20, learn=learn))
    bench.at(0, impression("r", "abc", deferred=True))
    bench.at(1, click("r", "a", "e1")).at(2, click("r", "c", "e2"))
    bench.at(3, Activation(ts=0, request_id="r", slots=(1, 2, 7)))
    bench.at(4, click("r", "a", "e3")).tick(30)
    assert sorted(bench.rewards()) == [("b", 0.0), ("c", 1.0)]
    assert bench.fates("feedback") == {"consumed": 3, "applied": 1, "not_shown": 2}


def test_other_activations(bench):
    seen = Activation(ts=0, request_id="r")
    bench.at(0, seen).at(1, impression("r", deferred=True)).at(2, seen)  # the first came early
    bench.at(3, impression("s")).at(4, Activation(ts=0, request_id="s"))  # not deferred
    bench.at(5, impression("t", deferred=True))
    bench.at(6, Activation(ts=0, request_id="t", slots=(5,))).at(
        7, Activation(ts=0, request_id="u")
    )
    assert bench.tick(60).fates("activation") == {
        "consumed": 5,
        "applied": 1,
        "duplicate": 1,
        "filtered": 1,
        "not_shown": 1,
        "orphan": 1,
    }


def test_windows_close_by_deadline_then_offset():
    bench = Bench(settings(window=20))
    for second, name in ((0, "x"), (0, "y"), (5, "z")):
        bench.at(second, impression(name, name))
    bench.at(1, Tick(ts=0)).tick(100)  # a stamp that goes back does not move the clock
    assert bench.rewards() == [("x", 0.0), ("y", 0.0), ("z", 0.0)]
    assert [outcome.time_ms - START for outcome in bench.outcomes] == [
        20_000,
        20_000,
        25_000,
    ]


def test_dead_records_keep_reason_and_value(bench):
    config = settings().to_control(0)
    bad = {**config.settings, "recommenders": {"default": {"policy": "nobody"}}}
    bench.at(0, b"{").at(0, Item(ts=0, id="a"))
    bench.at(0, type(config)(ts=0, change="configure", settings=bad))
    bench = bench.at(1, impression("r", context={}))
    letters = bench.joiner.dead
    assert [(letter.offset, letter.reason) for letter in letters] == [
        (0, "json"),
        (1, "type"),
        (2, "config"),
    ]
    assert letters[0].value == b"{"
    assert "'nobody'" in letters[2].detail
    assert bench.fates("unknown") == bench.fates("item") == {"consumed": 1, "dead": 1}


def test_a_context_that_does_not_fit_the_schema_is_dead():
    bench = Bench(settings(HOUR))
    bench.at(0, impression("r", context={"hour": "noon"})).at(1, click("r")).tick(60)
    assert bench.fates("impression") == {"consumed": 1, "dead": 1}
    assert bench.fates("feedback") == {"consumed": 1, "orphan": 1}
    assert (bench.joiner.dead[0].reason, bench.joiner.dead[0].pointer) == ("schema", "/context")


def test_a_control_record_reaches_open_windows():
    bench = Bench(settings(HOUR))
    bench.at(0, impression("r", context={"hour": 15, "device": "ios"}))
    bench.at(0, impression("s", context={"hour": 15, "device": 3})).at(1, click("s"))
    bench.at(2, settings(HOUR, DEVICE).to_control(0)).tick(30)
    assert [outcome.x.tolist() for outcome in bench.outcomes] == [[1.0, 0.5, 1.0, 0.0]]
    assert bench.fates("impression") == {"consumed": 2, "applied": 1, "dead": 1}
    assert bench.fates("feedback") == {"consumed": 1, "filtered": 1}
    assert [letter.offset for letter in bench.joiner.dead] == [1]


def test_windows_of_a_policy_that_is_gone_are_filtered():
    bench = Bench(settings(HOUR))
    bench.at(0, SEEN).at(1, click("r")).at(2, type(settings())().to_control(0)).tick(90)
    assert bench.rewards() == []
    assert bench.fates("impression") == bench.fates("feedback") == {"consumed": 1, "filtered": 1}


def test_a_fixed_joiner_passes_control_records_over():
    bench = Bench(settings(HOUR), fixed=True)
    bench.at(0, settings(DEVICE).to_control(0)).at(1, SEEN).tick(30)
    assert bench.outcomes[0].x.tolist() == [1.0, -1.5]
    assert bench.fates("control") == {"consumed": 1, "applied": 1}


def test_many_early_records_of_one_request_expire_at_once():
    bench = Bench(settings(window=2))
    values = [encode_event(click("never", event_id=str(number))) for number in range(20_000)]
    take_in(bench.joiner, [Record(at, START, "", value) for at, value in enumerate(values)])
    bench.tick(5)
    assert bench.fates("feedback") == {"consumed": 20_000, "orphan": 20_000}


PRICE = {"type": "numeric", "name": "price", "of": "item", "center": 5, "scale": 2}
TOPIC = {"type": "clusters", "name": "topic", "of": "item", "count": 2}


def priced(request_id, *features, **fields):
    seen = impression(request_id, "abcd"[: len(features)], **fields)
    slate = [
        structs.replace(shown, features=given)
        for shown, given in zip(seen.slate, features, strict=True)
    ]
    return structs.replace(seen, slate=tuple(slate))


def test_the_outcome_carries_the_items_features_from_the_impression():
    bench = Bench(settings(HOUR, PRICE, TOPIC))
    bench.at(0, priced("r", {"price": 9, "other": "x"}, None, {"topic": {"1": 0.5}})).tick(50)
    (outcome,) = bench.outcomes
    assert outcome.z.tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 0.5]]
    assert outcome.x.tolist() == [1.0, -1.5]


def test_slots_learned_apart_carry_their_own_items_features():
    bench = Bench(settings(PRICE, learn="first"))
    bench.at(0, priced("r", {"price": 5}, {"price": 7}, {"price": 9})).at(1, click("r", "b"))
    first, rest = bench.tick(50).outcomes
    assert (first.slots, first.z.tolist()) == ((1,), [[1.0]])
    assert (rest.slots, rest.z.tolist()) == ((0, 2), [[0.0], [2.0]])


def test_without_item_features_in_the_schema_none_are_carried():
    bench = Bench(settings(HOUR))
    bench.at(0, priced("r", {"price": "dear"})).tick(50)
    assert bench.outcomes[0].z is None


@pytest.mark.parametrize(
    ("features", "pointer"),
    [
        ({"other": [1], "price": "dear"}, "/slate/2/features/price"),
        ({"topic": {"2": 1.0}}, "/slate/2/features/topic"),
    ],
)
def test_item_features_that_do_not_fit_are_pointed_at(features, pointer):
    bench = Bench(settings(PRICE, TOPIC))
    features.pop("other", None)
    bench.at(0, priced("r", {"price": 1}, None, features)).at(1, click("r", "c")).tick(500)
    (letter,) = bench.joiner.dead
    assert (letter.reason, letter.pointer) == ("schema", pointer)
    assert bench.fates("impression") == {"consumed": 1, "dead": 1}
    assert bench.fates("feedback") == {"consumed": 1, "orphan": 1}


def test_an_open_slate_is_encoded_anew_when_the_schema_changes():
    bench = Bench(settings(HOUR))
    bench.at(0, priced("r", {"price": 9}, {"price": 5})).at(1, priced("s", {"price": "dear"}))
    bench.at(2, settings(PRICE).to_control(0)).tick(60)
    (outcome,) = bench.outcomes
    assert (outcome.x.tolist(), outcome.z.tolist()) == ([1.0], [[2.0], [0.0]])
    (letter,) = bench.joiner.dead
    assert (letter.offset, letter.pointer) == (1, "/slate/0/features/price")
    assert bench.fates("impression") == {"consumed": 2, "applied": 1, "dead": 1}


def test_the_outcome_carries_the_propensity_of_each_slot_and_the_last_reaction(bench):
    slate = (
        ShownItem(item_id="a", propensity=0.25, method="exact"),
        ShownItem(item_id="b", propensity=0.5, method="monte_carlo", error=0.1, recurrence=5),
        ShownItem(item_id="c", propensity=1.0, method="pinned"),
    )
    bench.at(0, structs.replace(SEEN, slate=slate)).at(1, click("r", "b", "e1"))
    bench.at(2, click("r", "a", "e2")).at(2, click("r", "c", "e3", kind="view")).tick(30)
    (outcome,) = bench.outcomes
    assert outcome.propensity == (0.25, 1 / 5, 1.0)
    assert (outcome.slots, outcome.last) == ((0, 1, 2), 1)


def test_without_a_reaction_the_last_is_none(bench):
    bench.at(0, SEEN).tick(30)
    assert bench.outcomes[0].last == -1


def test_a_slot_learned_at_its_first_feedback_is_not_after_the_last_reaction():
    bench = Bench(settings(learn="first"))
    bench.at(0, impression("r", "abcd")).at(1, click("r", "b", "e1")).at(2, click("r", "d", "e2"))
    bench.at(3, click("r", "a", "e3")).tick(30)
    found = [(outcome.slots, outcome.last) for outcome in bench.outcomes]
    assert found == [((1,), 1), ((3,), 3), ((0,), 3), ((2,), 3)]


@pytest.mark.parametrize("learn", ["close", "first"])
def test_the_last_reaction_of_a_deferred_slate_counts_activated_slots_alone(learn):
    bench = Bench(settings(learn=learn))
    bench.at(0, impression("r", "abcd", deferred=True))
    bench.at(1, click("r", "d", "e1")).at(1, click("r", "a", "e2"))
    bench.at(2, Activation(ts=0, request_id="r", slots=(0, 1)))
    bench.at(3, click("r", "c", "e3")).tick(30)
    assert {outcome.last for outcome in bench.outcomes} == {0}
    assert sorted(slot for o in bench.outcomes for slot in o.slots) == [0, 1]


@pytest.mark.parametrize(
    ("aggregation", "reward"), [("earliest", 1.0), ("last", 2.5), ("max", 5.0), ("sum", 8.5)]
)
def test_several_feedbacks_make_one_reward(aggregation, reward):
    config = settings(HOUR)
    told = replace(config.recommenders["default"], aggregation=aggregation)
    bench = Bench(replace(config, recommenders={"default": told})).at(0, impression("r"))
    bench.at(1, click("r", "a", "e1")).at(2, click("r", "a", "e2", kind="buy"))
    bench.at(3, click("r", "a", "e3", kind="buy", value=0.5)).at(4, click("r", "a", "e3"))
    bench.tick(30)
    assert bench.rewards() == [("a", reward), ("b", 0.0)]
    taken = {"earliest": {"applied": 1, "filtered": 2}}.get(aggregation, {"applied": 3})
    assert bench.fates("feedback") == {"consumed": 4, "duplicate": 1, **taken}


def test_all_feedback_on_a_slot_nobody_saw_is_not_shown():
    config = settings(HOUR)
    told = replace(config.recommenders["default"], aggregation="sum")
    bench = Bench(replace(config, recommenders={"default": told}))
    bench.at(0, impression("r", deferred=True))
    bench.at(1, click("r", "a", "e1")).at(2, click("r", "a", "e2")).at(3, click("r", "b", "e3"))
    bench.at(4, Activation(ts=0, request_id="r", slots=(1,)))
    assert bench.fates("feedback") == {"consumed": 3, "not_shown": 2, "pending": 1}
    bench.tick(30)
    assert bench.rewards() == [("b", 1.0)]


def test_a_slot_learned_at_its_first_feedback_cannot_add_up_more():
    with pytest.raises(ConfigError, match="earliest"):
        RecommenderConfig(policy="main", learn="first", aggregation="sum")
