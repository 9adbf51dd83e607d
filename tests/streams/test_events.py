"""The event contract: what is decoded, and what is refused with which reason."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import BadEventError
from streams.events import Control, Impression, Item, ShownItem, decode_event, encode_event
from tests.streams.cases import click, impression, settings

SHOWN = {"item_id": "a", "propensity": 0.5, "method": "exact"}
SEEN = {"type": "impression", "ts": 1, "request_id": "r", "recommender": "d", "slate": [SHOWN]}
CLICK = {
    "type": "feedback",
    "ts": 1,
    "event_id": "e",
    "request_id": "r",
    "item_id": "a",
    "kind": "click",
}
ITEM = {"type": "item", "ts": 1, "id": "a"}
FEATURE, SLOT_FEATURE = "/features/c", "/slate/0/features/c/7"


SHOWN_IN_FULL = ShownItem(
    item_id="a",
    propensity=0.5,
    method="monte_carlo",
    error=0.1,
    score=0.2,
    features={"c": {"1": 1.0}},
    recurrence=7,
)


def refused(value: object) -> BadEventError:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(BadEventError) as caught:
        decode_event(raw)
    return caught.value


@pytest.mark.parametrize(
    ("value", "reason", "pointer"),
    [
        (b"\xff\xfe", "encoding", ""),
        (json.dumps(ITEM).encode().replace(b'"a"', b'"\xff"'), "encoding", ""),
        (b"", "json", ""),
        (b"{", "json", ""),
        (b'{"type":"tick","ts":1} {}', "json", ""),
        ({**CLICK, "value": float("nan")}, "json", ""),
        ({**SEEN, "context": {"x": float("inf")}}, "json", ""),
        ({"ts": 1}, "type", "/type"),
        ({"type": "like", "ts": 1}, "type", "/type"),
        ({"type": 3, "ts": 1}, "type", "/type"),
        (None, "schema", ""),
        ([SEEN], "schema", ""),
        ({**SEEN, "slat": 1}, "schema", "/slat"),
        ({"type": "tick"}, "schema", "/ts"),
        ({**SEEN, "ts": "now"}, "schema", "/ts"),
        ({**SEEN, "ts": 1.5}, "schema", "/ts"),
        ({**SEEN, "slate": [{**SHOWN, "rank": 1}]}, "schema", "/slate/0/rank"),
        ({**SEEN, "context": {"y": 1, "x": [1]}}, "schema", "/context/x"),
        ({**SEEN, "shadow": {"p": [0.5], "q~/": [0.5, 2]}}, "value", "/shadow/q~0~1/1"),
        ({**SEEN, "sl/at": 1}, "schema", "/sl~1at"),
        ({**SEEN, "a`b": 1}, "schema", "/a`b"),
        ({**ITEM, "features": {"ok": 1, "": 1}}, "value", "/features/"),
        ({**CLICK, "item_id": "a\0"}, "value", ""),
        (b'{"type":"item","ts":1,"id":"a","features":{"x":[],"x":1}}', "schema", "/features"),
        ({"type": "control", "ts": 1, "change": "stop", "settings": {}}, "schema", "/change"),
        ({**SEEN, "ts": -1}, "value", "/ts"),
        ({**SEEN, "slate": []}, "value", "/slate"),
        ({**SEEN, "slate": [SHOWN, SHOWN]}, "value", "/slate/1/item_id"),
        ({**SEEN, "slate": [{**SHOWN, "propensity": 0}]}, "value", "/slate/0/propensity"),
        ({**SEEN, "slate": [{**SHOWN, "propensity": 1.1}]}, "value", "/slate/0/propensity"),
        ({**SEEN, "slate": [{**SHOWN, "propensity": -0.1}]}, "value", "/slate/0/propensity"),
        ({**SEEN, "slate": [{**SHOWN, "error": -1}]}, "value", "/slate/0/error"),
        ({**SEEN, "weight": 0}, "value", "/weight"),
        ({**SEEN, "weight": 1e10}, "value", "/weight"),
        ({**SEEN, "request_id": ""}, "value", "/request_id"),
        ({**SEEN, "request_id": "x" * 257}, "value", "/request_id"),
        ({**CLICK, "value": 1e10}, "value", "/value"),
        ({**CLICK, "slot": -1}, "value", "/slot"),
        ({**CLICK, "item_id": ""}, "value", "/item_id"),
        (b'{"type":"item","ts":1,"id":"a","features":{"x":1e999}}', "value", "/features/x"),
        ({**ITEM, "features": {"x": 10**30}}, "value", "/features/x"),
        ({"type": "activation", "ts": 1, "request_id": "r", "slots": []}, "value", "/slots"),
        ({**ITEM, "features": {"ok": {"1": 1}, "c/": {"7": "x"}}}, "schema", "/features/c~1/7"),
        ({**ITEM, "features": {"c": {"3": 1, "7": True}}}, "schema", "/features/c/7"),
        ({**ITEM, "features": {"c": {"7": None}}}, "schema", "/features/c/7"),
        ({**ITEM, "features": {"c": {"7": {}}}}, "schema", "/features/c/7"),
        ({**ITEM, "features": {"c": {"7": 2e9}}}, "value", "/features/c/7"),
        ({**ITEM, "features": {"c": {"": 1}}}, "value", "/features/c/"),
        ({**ITEM, "features": {"c": dict.fromkeys(map(str, range(1001)), 1)}}, "value", FEATURE),
        (b'{"type":"item","ts":1,"id":"a","features":{"c":{"7":1e999}}}', "value", f"{FEATURE}/7"),
        ({**SEEN, "slate": [{**SHOWN, "features": {"c": {"7": []}}}]}, "schema", SLOT_FEATURE),
        ({**SEEN, "slate": [{**SHOWN, "recurrence": 0}]}, "value", "/slate/0/recurrence"),
        ({**SEEN, "slate": [{**SHOWN, "recurrence": 1.5}]}, "schema", "/slate/0/recurrence"),
    ],
)
def test_what_is_refused_and_why(value, reason, pointer):
    error = refused(value)
    assert (error.reason, error.pointer) == (reason, pointer)
    assert error.detail


def test_what_was_encoded_decodes_to_itself():
    for event in (
        impression("r", "abc", user_id="u", candidates=("a", "b"), shadow={"p": (0.5, 0.0)}),
        impression("r", deferred=True, fallback="timeout", pool="home", pool_version=3),
        click("r", value=-2.5, slot=1),
        impression("r", context={"c": {"17": 0.6, "3": 0.4}, "b": True, "n": None}),
        Impression(ts=1, request_id="r", recommender="d", slate=(SHOWN_IN_FULL,)),
        Item(ts=1, id="a", features={"c": {"17": 0.6}, "price": 3}),
        settings({"type": "numeric", "name": "x"}).to_control(5),
        Control(ts=1, change="decay", settings={"policy": "main", "halvings": 2}),
    ):
        assert decode_event(encode_event(event)) == event


def test_fields_left_out_take_their_defaults():
    event = decode_event(json.dumps(SEEN).encode())
    assert isinstance(event, Impression)
    assert (event.weight, event.context, event.deferred) == (1.0, {}, False)
    assert json.loads(encode_event(event)) == SEEN


def test_a_slate_cannot_be_built_with_an_item_twice():
    with pytest.raises(BadEventError, match="show an item once"):
        impression("r", "aba")


def verdict(value: bytes) -> str:
    try:
        decode_event(value)
    except BadEventError as error:
        return error.reason
    return "event"


VERDICTS = {"event", "encoding", "json", "type", "schema", "value"}


@given(st.binary(max_size=60) | st.from_regex(rb'\{"type":"(tick|item)",.{0,40}', fullmatch=True))
def test_any_bytes_decode_or_are_refused(value):
    assert verdict(value) in VERDICTS


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_field_value_decodes_or_is_refused(value):
    for field in SEEN:
        assert verdict(msgspec.json.encode({**SEEN, field: value})) in VERDICTS


def test_the_one_bad_entry_of_many_is_named_and_details_do_not_repeat_where():
    features = {f"f{number}": number for number in range(999)} | {"f777": []}
    error = refused({**ITEM, "features": features})
    assert error.pointer == "/features/f777"
    assert " - at " not in error.detail


def test_an_escaped_backslash_before_u0000_is_no_nul():
    event = decode_event(b'{"type":"item","ts":1,"id":"a\\\\u0000"}')
    assert event.id == "a\\u0000"


def test_the_reciprocal_of_a_sampled_propensity_is_the_draws_until_it_came_again():
    assert SHOWN_IN_FULL.unbiased == 1 / 7
    assert ShownItem(item_id="a", propensity=0.5, method="exact").unbiased == 0.5


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.dictionaries(st.text(max_size=3), st.floats(-1e9, 1e9) | st.integers(-9, 9)),
        max_size=4,
    )
)
def test_features_with_maps_come_back_as_they_were_or_are_refused(features):
    value = msgspec.json.encode({**ITEM, "features": features})
    if verdict(value) == "event":
        assert decode_event(value).features == features
        return
    names = [*features, *(k for v in features.values() if isinstance(v, dict) for k in v)]
    assert "" in names or any("\0" in text for text in [*names, *map(str, features.values())])
    assert verdict(value) == "value"
