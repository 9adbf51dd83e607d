"""Scanning events into columns: always what the full decoder says, and mostly without it."""

import json
import math
import random
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from numba.core.sigutils import normalize_signature

from engine.embeddings.keys import hash_ids, keys_of
from engine.kernels.hashing import hash_spans
from engine.kernels.record_batch import walk_records
from engine.kernels.scan_events import scan_events
from streams.column_plan import ColumnPlan
from streams.columns import CONTROL, FEEDBACK, IMPRESSION, RecordSpans
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Activation, Feedback, Impression, ShownItem, Tick, encode_event
from streams.log.base import Record
from streams.scan import decode_columns, decode_columns_plainly, warm_up_columns
from tests.streams.cases import settings
from tests.streams.described import describe

PLAIN = (
    {"type": "numeric", "name": "hour", "center": 12.5, "scale": 6.7},
    {"type": "numeric", "name": "a feature of a rather long name", "clip": 1.5},
    {"type": "categorical", "name": "device", "values": ["ios", "web", "a long value of a device"]},
    {"type": "clusters", "name": "taste", "count": 12},
)
RICH = (
    *PLAIN,
    {"type": "clusters", "name": "other", "count": 3},
    {"type": "quadratic", "names": ["hour", "taste"]},
    {"type": "interaction", "left": "device", "right": "hour"},
    {"type": "numeric", "name": "price", "of": "item", "center": 3.0},
    {"type": "categorical", "name": "brand", "of": "item", "values": ["x", "", "y"]},
    {"type": "interaction", "left": "price", "right": "brand"},
    {"type": "interaction", "left": "price", "right": "hour"},
)
NAMED = (
    {"type": "numeric", "name": "hour"},
    {"type": "id", "name": "user_id"},
    {"type": "id", "name": "page"},
    {"type": "id", "name": "author", "of": "item"},
    {"type": "numeric", "name": "price", "of": "item"},
    {"type": "vector", "name": "mood", "count": 12, "version": "2026", "scale": 1.3, "clip": 2},
    {"type": "vector", "name": "style", "of": "item", "count": 3, "version": "a.b", "id": "brand"},
    {"type": "interaction", "left": "price", "right": "style"},
)
CONFIG = EngineConfig(
    policies={
        "bare": PolicyConfig(spec="beta-thompson"),
        "plain": PolicyConfig(spec="linear-ucb", features=PLAIN),
        "rich": PolicyConfig(spec="linear-ucb", features=RICH),
        "named": PolicyConfig(spec="uniform", features=NAMED),
    },
    recommenders={
        "home": RecommenderConfig(policy="plain", kinds={"click": 1.0, "buy": 5.0}),
        "shop": RecommenderConfig(policy="rich", kinds={"view": 0.1}),
        "feed": RecommenderConfig(policy="named"),
        "a recommender of a long name": RecommenderConfig(policy="bare"),
    },
)
PLAN = ColumnPlan.of(CONFIG)


def spans(values):
    return RecordSpans.of([Record(3 * i, 1000 + i, "", value) for i, value in enumerate(values)])


def decode_all(plan, values, decode):
    """Decode to the end, going on after control records; returns what is told, and the unsure."""
    records, told, unsure = spans(values), [], 0
    while records.n:
        columns = decode(plan, records)
        assert columns.n > 0
        assert CONTROL not in columns.kind[:-1]
        told += describe(plan, columns)
        unsure += columns.unsure
        records = records.cut(columns.n, records.n)
    return told, unsure


def check(values, plan=PLAN):
    """Scanner and full decoder must say the same; returns how many the scanner left."""
    told, unsure = decode_all(plan, values, decode_columns)
    expected, left = decode_all(plan, values, decode_columns_plainly)
    for value, one, other in zip(values, told, expected, strict=True):
        assert one == other, value
    assert left == len(values)
    return unsure


# ---- ordinary events -----------------------------------------------------------------------

ids = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=40)
names = ids | st.text(st.characters(codec="utf-8", exclude_characters='\\"', min_codepoint=32))
numbers = (
    st.floats(-1e6, 1e6) | st.integers(-1000, 1000) | st.floats(-1, 1).map(lambda x: round(x, 4))
)
shares = st.dictionaries(st.integers(0, 11).map(str), st.floats(-1e5, 1e5), max_size=5)
vectors = st.tuples(
    st.dictionaries(st.integers(0, 11).map(str), st.floats(-1e6, 1e6), max_size=12),
    st.sampled_from(["v:2026", "v:2025", "v:a.b"]),
).map(lambda drawn: {**drawn[0], drawn[1]: 1})
contexts = st.fixed_dictionaries(
    {},
    optional={
        "hour": numbers | st.booleans() | st.none(),
        "a feature of a rather long name": numbers,
        "device": st.sampled_from(["ios", "web", "a long value of a device", "tv"]) | st.none(),
        "taste": shares | st.integers(0, 11) | st.integers(0, 11).map(str) | st.none(),
        "other": st.dictionaries(st.sampled_from("012"), st.floats(-1, 1)),
        "unknown": numbers | ids | st.none() | st.booleans() | shares,
        "user_id": names | st.none(),
        "page": names,
        "mood": vectors | st.none(),
    },
)
item_features = st.fixed_dictionaries(
    {},
    optional={
        "price": numbers,
        "brand": st.sampled_from(["x", "", "y", "z"]),
        "size": ids,
        "author": names,
        "style": st.dictionaries(st.sampled_from("012"), st.floats(-9, 9)).map(
            lambda numbers: {"v:a.b": 1, **numbers}
        ),
    },
)
shown = st.builds(
    ShownItem,
    item_id=ids,
    propensity=st.floats(1e-9, 1),
    method=st.sampled_from(["exact", "monte_carlo"]),
    error=st.just(0.0) | st.floats(0, 1),
    score=st.none() | st.floats(-1e9, 1e9),
    features=st.none() | item_features,
    recurrence=st.none() | st.integers(1, 10**6),
)
recommenders = st.sampled_from([*CONFIG.recommenders, "nobody"])
impressions = st.builds(
    Impression,
    ts=st.integers(0, 2**53),
    request_id=ids,
    recommender=recommenders,
    slate=st.lists(shown, min_size=1, max_size=5, unique_by=lambda item: item.item_id).map(tuple),
    user_id=st.none() | ids,
    context=contexts,
    pool=st.none() | ids,
    pool_version=st.none() | st.integers(0, 10**17),
    candidates=st.none() | st.lists(ids, max_size=3).map(tuple),
    exclude=st.lists(ids, max_size=3).map(tuple),
    schema=st.just("") | ids,
    policy=st.just("") | ids,
    view=st.integers(0, 10**6),
    weight=st.just(1.0) | st.floats(1e-6, 1e6),
    fallback=st.none() | ids,
    shadow=st.none() | st.dictionaries(ids, st.lists(st.floats(0, 1), max_size=3).map(tuple)),
    deferred=st.booleans(),
)
feedbacks = st.builds(
    Feedback,
    ts=st.integers(0, 2**53),
    event_id=ids,
    request_id=ids,
    item_id=ids,
    kind=st.sampled_from(["click", "buy", "view", "like"]),
    value=st.just(1.0) | st.floats(-1e9, 1e9) | st.integers(-5, 5).map(float),
    slot=st.none() | st.integers(0, 999),
)
activations = st.builds(
    Activation,
    ts=st.integers(0, 2**53),
    request_id=ids,
    slots=st.none() | st.lists(st.integers(0, 999), min_size=1, max_size=4).map(tuple),
)
ticks = st.builds(Tick, ts=st.integers(0, 2**53))
events = st.lists(impressions | feedbacks | activations | ticks, min_size=1, max_size=20)


def tiny(value):
    """Whether some number is subnormal: the scanner leaves those."""
    if isinstance(value, dict):
        return any(map(tiny, value.values()))
    if isinstance(value, list):
        return any(map(tiny, value))
    return isinstance(value, float) and 0 < abs(value) < sys.float_info.min


@budget(max_examples=150, deadline=None, derandomize=True)
@given(events)
def test_ordinary_events_never_need_the_full_decoder(drawn):
    values = [encode_event(event) for event in drawn]
    assert check(values) == sum(tiny(json.loads(value)) for value in values)


@budget(max_examples=60, deadline=None, derandomize=True)
@given(events, st.randoms(use_true_random=False))
def test_order_of_members_and_white_space_do_not_matter(drawn, rng):
    def turn(value):
        if isinstance(value, dict):
            return {key: turn(value[key]) for key in rng.sample(list(value), len(value))}
        return [turn(entry) for entry in value] if isinstance(value, list) else value

    plain = [msgspec.json.decode(encode_event(event)) for event in drawn]
    values = [
        rng.choice(["", " ", "\n"]).encode()
        + json.dumps(turn(event), indent=rng.choice([None, 1]), ensure_ascii=False).encode()
        + rng.choice(["", " \t\r\n"]).encode()
        for event in plain
    ]
    assert check(values) == sum(map(tiny, plain))


# ---- what is not ordinary --------------------------------------------------------------------

SHOWN = {"item_id": "a", "propensity": 0.5, "method": "exact"}
SEEN = {"type": "impression", "ts": 1, "request_id": "r", "recommender": "shop", "slate": [SHOWN]}
FED = {**SEEN, "recommender": "feed"}
CLICK = {"type": "feedback", "ts": 1, "event_id": "e", "request_id": "r", "item_id": "a"}
CLICK |= {"kind": "click"}
ACTIVE = {"type": "activation", "ts": 1, "request_id": "r"}
ODD = [
    *(
        math.pi,
        1,
        0,
        -1,
        True,
        None,
        "",
        "a",
        "0",
        "12",
        "é",
        "\0",
        "\n",
        'q"',
        "x" * 256,
        "x" * 257,
    ),
    *("x" * 1025, [], {}, [1], ["a"], [""], {"a": 1}, {"": 1}, {"1": 1}, {"01": 1}, {"12": 1}),
    *({"v:2026": 1}, {"v:2026": 1, "1": 0.5}, {"1": 2.5, "v:2026": 1.0}, {"v:2026": 2, "1": 0.5}),
    *({"v:2026": True}, {"v:2026": 1, "v:b": 1, "1": 2}, {"v:b": 1, "1": 0.5}, {"v:b": 1, "12": 1}),
    *({"v:2026": 1, "1": 1e7}, {"v:2026": 1, "01": 1}, {"v:b": 1, "x": 1}, {"v:": 1, "1": 1}),
    *({"v": 1}, {"v:20": 1, "2": 1}, {"v:" + "x" * 254: 1, "2": 1}, {"v:a.b": 1, "2": -0.0}),
    *({"1": True}, {"1": "x"}, {"1": 1e7}, {"1": 1e10}, {"1": -0.0}, {"1": {}}, {"x" * 257: 1}),
    *(2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 10**17, 10**18, 2**62, 2**63, 10**30, -0.0),
    *(1e6, 1e7, 1e9, 1.1e9, 1e300, 1.1e300, 1e308, 5e-324, 1e-100, 1e-101, 999, 1000, 1.0, 0.0),
    *(["a", 1], ["a"] * 3, [0.5, 2], {"p": [0.5, 1, 0]}, {"p": [2]}, {"p": 1}, {"p": []}),
]


def test_every_field_may_be_anything():
    values = []
    for event in (SEEN, CLICK, ACTIVE, {"type": "tick", "ts": 1}):
        names = {*Impression.__struct_fields__, *Feedback.__struct_fields__, "slots", "type", "x"}
        for name in sorted(names):
            values += [{**event, name: odd} for odd in ODD]
            values.append({key: value for key, value in event.items() if key != name})
    for name in [*ShownItem.__struct_fields__, "x"]:
        slots = [{**SHOWN, name: odd} for odd in ODD]
        slots.append({key: value for key, value in SHOWN.items() if key != name})
        values += [{**SEEN, "slate": [slot, {**SHOWN, "item_id": "b"}]} for slot in slots]
    for recommender in (*CONFIG.recommenders, "nobody"):
        known = ("hour", "device", "taste", "price", "brand", "user_id", "author", "mood", "style")
        for name in (*known, "unknown", "", "x" * 257):
            told = {**SEEN, "recommender": recommender}
            values += [{**told, "context": {name: odd}} for odd in ODD]
            values += [{**told, "slate": [{**SHOWN, "features": {name: odd}}]} for odd in ODD]
    check([json.dumps(value).encode() for value in values])


NUMBERS = [
    "1e5",
    "1E+2",
    "-0",
    "-0.0",
    "00",
    "01",
    "1.",
    ".5",
    "+1",
    "1e",
    "1e400",
    "1e-400",
    "- 1",
]
NUMBERS += ["NaN", "Infinity", "12345678901234567890.5", "0.10000000000000000000001", "1e00001"]
NUMBERS += [
    "0x1",
    "1_0",
    "1 ",
    "1 1",
    "true",
    "tru",
    "nulll",
    "falsey",
    "TRUE",
    "'a'",
    "[1",
    "{",
    "",
]
MEMBERS = [
    '"context":{"hour":%s}',
    '"weight":%s',
    '"view":%s',
    '"deferred":%s',
    '"shadow":{"p":[%s]}',
]
MEMBERS += ['"context":{"taste":{"3":%s}}', '"context":{"taste":%s}', '"context":{"unknown":%s}']


def test_numbers_and_names_in_every_spelling():
    start = json.dumps(SEEN)[:-1]
    values = [f"{start},{member % number}}}" for member in MEMBERS for number in NUMBERS]
    values += [json.dumps(CLICK)[:-1] + f',"value":{number}}}' for number in NUMBERS]
    check([value.encode() for value in values])


def test_texts_beyond_ascii_are_scanned_when_they_are_utf_8():
    told = {**SEEN, "request_id": "é-漢字-😀", "user_id": "ÿ" * 128}
    told |= {"recommender": "home", "context": {"device": "ios", "où": "là", "hour": 1}}
    values = [json.dumps(told, ensure_ascii=False).encode()]
    values.append(json.dumps({**CLICK, "kind": "\ud7ff\ue000\uffff"}, ensure_ascii=False).encode())
    assert check(values) == 0
    city = settings({"type": "categorical", "name": "ville", "values": ["Orléans", "東京"]})
    event = {**SEEN, "recommender": "default", "context": {"ville": "東京"}}
    plan, records = ColumnPlan.of(city), spans([json.dumps(event, ensure_ascii=False).encode()])
    columns = decode_columns(plan, records)
    assert (columns.unsure, columns.x.tolist()) == (0, [1.0, 0.0, 1.0])
    assert check([records.value(0)], plan) == 0


texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["", '"', "\\", "a/b", "\n", "\u2028", "é", "é", "😀", "\x7f", "x" * 1024, "x" * 1025]
)


@budget(max_examples=100, deadline=None, derandomize=True)
@given(texts, texts, st.booleans())
def test_ids_of_any_text_have_the_keys_that_schemas_give_them(user, author, plain):
    shown = {**SHOWN, "features": {"author": author}}
    event = {**SEEN, "recommender": "feed", "context": {"user_id": user}, "slate": [shown]}
    value = json.dumps(event, ensure_ascii=plain).encode()
    unsure = check([value])
    clean = all(text.isprintable() and not set('"\\') & set(text) for text in (user, author))
    if clean and (not plain or (user + author).isascii()) and len(user + author) < 1000:
        assert unsure == 0
    columns = decode_columns(PLAN, spans([value]))
    if columns.errors:
        assert max(len(user), len(author)) > 1024 or "\0" in user + author
        return
    row = columns.x[columns.x_start[0] :][: PLAN.x_width[3]]
    keys, checks = hash_ids("user_id", [user])
    schema = PLAN.schemas[3]
    assert keys_of(row[None, :], schema.places("user_id")[0]) == (keys, checks)
    row = columns.z[columns.z_start[0] :][: PLAN.z_width[3]]
    assert keys_of(row[None, :], schema.places("author")[0]) == hash_ids("author", [author])


def test_utf_8_is_checked_to_the_byte():
    edges = (
        b'\x00a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xec\xed\xef\xf0\xf3\xf4\xf5\xff"'
    )
    rng = random.Random(4)
    texts = [bytes(rng.choices(edges, k=rng.randint(1, 5))) for _ in range(4000)]
    texts += [
        bytes([first, second, 0xBF, 0xBF][:n])
        for n in (1, 2, 3, 4)
        for first in range(128, 256)
        for second in edges
    ]
    told = {name: value for name, value in CLICK.items() if name != "event_id"}
    start = json.dumps(told).encode()[:-1] + b',"event_id":"'
    # After seven letters a text goes on in the next word.
    values = [start + b"x" * rng.randrange(9) + text + b'"}' for text in texts]
    assert check(values) < len(values)


TRICKY = [
    b"",
    b"{}",
    b"null",
    b"[]",
    b"{",
    b'{"type":"tick","ts":1}{"type":"tick","ts":1}',
    b'{"type":"tick","ts":1},',
    b'{"type":"tick","ts":1} x',
    b'{"type":"tick","ts":1,}',
    b'{"type":"tick","ts":1,"ts":2}',
    b'{"type":"tick","type":"tick","ts":1}',
    b'{"type":"tick","ts":1,"type":"feedback"}',
    b'{"ts":1}',
    b'{"ts":1,"type":"tick"}',
    b'{"ts":1,"type":tick}',
    b'{"\\u0074ype":"tick","ts":1}',
    b'{"type":"t\\u0069ck","ts":1}',
    b'{"type":"tick","ts":1\0}',
    b'{"type":"tick"\x0b,"ts":1}',
    b'{"type":"tick","ts":1}\0',
    b'\xef\xbb\xbf{"type":"tick","ts":1}',
    b'{"type":"feedback","ts":1,"event_id":"\xff","request_id":"r","item_id":"a","kind":"click"}',
    b'{"type":"feedback","ts":1,"event_id":"\x7f","request_id":"r","item_id":"a","kind":"click"}',
    b'{"type":"feedback","ts":1,"event_id":"\x1f","request_id":"r","item_id":"a","kind":"click"}',
    b'{"type":"item","ts":1,"id":"a"}',
    b'{"type":"user","ts":1,"id":"a","features":{"x":1}}',
    b'{"type":"pool","ts":1,"name":"a","item_ids":[]}',
    b'{"type":"item","ts":1}',
    b'{"type":"control","ts":1,"change":"decay","settings":{}}',
    b'{"ts":1,"settings":{},"change":"reset","type":"control"}',
    b'{"type":"control","ts":1,"change":"else","settings":{}}',
    encode_event(settings().to_control(7)),
    json.dumps({**SEEN, "slate": [SHOWN, SHOWN]}).encode(),
    json.dumps({**SEEN, "slate": [{**SHOWN, "item_id": str(i)} for i in range(1000)]}).encode(),
    json.dumps({**SEEN, "slate": [{**SHOWN, "item_id": str(i)} for i in range(1001)]}).encode(),
    json.dumps({**SEEN, "context": {str(i): 1 for i in range(1000)}}).encode(),
    json.dumps({**SEEN, "context": {str(i): 1 for i in range(1001)}}).encode(),
    json.dumps({**SEEN, "context": {"u": {str(i): 1 for i in range(1001)}}}).encode(),
    json.dumps(SEEN).encode()[:-1] + b',"context":{"hour":1,"hour":2}}',
    json.dumps(SEEN).encode()[:-1] + b',"context":{"hour":1,"hour":null}}',
    json.dumps(SEEN).encode()[:-1] + b',"context":{"device":"ios","device":"web"}}',
    json.dumps(SEEN).encode()[:-1] + b',"context":{"taste":{"1":1},"taste":{"2":2}}}',
    json.dumps(SEEN).encode()[:-1] + b',"context":{"unknown":1,"unknown":2}}',
    json.dumps(SEEN).encode()[:-1] + b',"context":{"taste":{"1":1,"1":2}}}',
    json.dumps(SEEN).encode()[:-1] + b',"context":{"taste":{"2":1},"other":{"2":2}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{"v:2026":1,"1":1,"1":2}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{"v:2026":1,"v:2026":1,"1":2}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{"v:2026":1,"v:2025":1,"1":2}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{"1":2,"v:\\u0032026":1}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{"1":2,"v:2026":-1}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{ }}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"mood":{"v:2026":1,}}}',
    json.dumps(FED).encode()[:-1] + b',"context":{"user_id":"a","user_id":"b"}}',
    json.dumps(SEEN).encode()[:-1] + b',"recommender":"home"}',
    json.dumps({"slate": [SHOWN], "recommender": "nobody"} | SEEN).encode(),
    json.dumps({**CLICK, "event_id": "ünïcode", "item_id": 'a"b\\c/d'}).encode(),
    json.dumps({**CLICK, "event_id": "ünïcode", "request_id": "😀"}, ensure_ascii=False).encode(),
    json.dumps({**SEEN, "request_id": "ü" * 256}, ensure_ascii=False).encode(),
    json.dumps({**SEEN, "context": {"device": "é", "hour": 1}}, ensure_ascii=False).encode(),
    b'{"type":"tick","ts":' + b"[" * 100 + b"]" * 100 + b"}",
]


def test_tricky_records():
    check(TRICKY)
    check(TRICKY[::-1])
    for value in TRICKY:
        check([value])


def test_a_record_ends_where_it_ends():
    """What follows in memory may look like its rest."""
    for event in base_records(random.Random(1)):
        value = json.dumps(event).encode()
        check([piece for at in range(len(value)) for piece in (value[:at], value[at:])])


def base_records(rng):
    config = {
        "hour": rng.gauss(0, 9),
        "device": rng.choice(["ios", "tv"]),
        "taste": {"3": 0.5, "7": 1},
    }
    slate = [
        {**SHOWN, "item_id": f"item-{i}", "features": {"price": 3.5, "brand": "x"}}
        for i in range(2)
    ]
    yield {**SEEN, "recommender": rng.choice(["home", "shop"]), "slate": slate, "context": config}
    yield {**CLICK, "value": rng.gauss(0, 1), "slot": 1}
    yield {**ACTIVE, "slots": [0, 1]}
    yield {"type": "tick", "ts": rng.randrange(2**40)}


def mutate(rng, value):
    value = bytearray(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(value))
        how = rng.randrange(6)
        if how == 0:
            value[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            value[at : at + rng.choice([1, 1, 4, 20])] = b""
        elif how == 2:
            value[at:at] = rng.choice(
                [b'"', b"}", b",", b"{", b"0", b"\\", b"e9", b" ", b"null", b":"]
            )
        elif how == 3:
            value[at:at] = value[at : at + rng.randint(1, 30)]
        elif how == 4:
            value[at] = rng.choice(b'0123456789.-eE"{}[],: \\\xc3\n')
        else:
            value = value[: max(at, 1)]
        value = value or bytearray(b"{")
    return bytes(value)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_records(seed):
    rng = random.Random(seed)
    values = [
        mutate(rng, json.dumps(event, separators=rng.choice([None, (",", ":")])).encode())
        for _ in range(700)
        for event in base_records(rng)
    ]
    assert 0 < check(values) < len(values)


# ---- plans and sizes -------------------------------------------------------------------------


def test_a_control_record_ends_a_stretch():
    tick = encode_event(Tick(ts=1))
    control = encode_event(settings().to_control(7))
    columns = decode_columns(PLAN, spans([tick, control, tick]))
    assert columns.n == 2
    assert columns.kind.tolist() == [4, CONTROL]
    assert list(columns.controls) == [1]
    late = b'{"ts":1,"settings":{},"change":"reset","type":"control"}'
    columns = decode_columns(PLAN, spans([tick, b"{", late, tick, b"{"]))
    assert columns.n == 3
    assert list(columns.errors) == [1]


def test_no_settings_no_records():
    nothing = ColumnPlan.of(EngineConfig())
    values = [json.dumps(event).encode() for event in base_records(random.Random(1))]
    assert check(values, nothing) == 0
    columns = decode_columns(nothing, spans(values))
    assert columns.recommender[columns.kind == IMPRESSION].tolist() == [-1]
    assert columns.reaction[columns.kind == FEEDBACK].tolist() == [-1]
    assert decode_columns(PLAN, spans([])).n == 0


def test_rows_too_wide_for_one_result_come_in_several():
    wide = settings({"type": "clusters", "name": "c", "count": 90_000})
    event = {**SEEN, "recommender": "default", "context": {"c": {"89999": 0.5}}}
    plan, values = ColumnPlan.of(wide), [json.dumps(event).encode()] * 30
    columns = decode_columns(plan, spans(values))
    assert columns.n == 11
    assert len(columns.x) == 11 * 90_001
    assert check(values, plan) == 0


def test_more_slots_than_expected_come_in_several():
    slots = [{**SHOWN, "item_id": f"i{i}"} for i in range(900)]
    values = [json.dumps({**SEEN, "recommender": "home", "slate": slots}).encode()] * 6
    assert decode_columns(PLAN, spans(values)).n == 1
    assert check(values) == 0
    active = [json.dumps({**ACTIVE, "slots": [7] * 2000}).encode()] * 2
    assert check([*values, *active]) == 2


def test_data_that_is_not_padded_is_scanned_as_well():
    records = spans([encode_event(Tick(ts=5))] * 3)
    bare = records._replace(data=records.data[:-16].copy())
    columns = decode_columns(PLAN, bare)
    assert columns.unsure == 0
    assert columns.kind.tolist() == [4, 4, 4]
    assert np.array_equal(columns.value_start, records.start)


def test_warming_up_compiles_all_that_is_called_later():
    warm_up_columns()
    for kernel in (scan_events, hash_spans, walk_records):
        stated, _ = normalize_signature(kernel.ahead)
        assert kernel.signatures == [stated]
    check([json.dumps(event).encode() for event in base_records(random.Random(1))] + TRICKY)
    assert all(len(kernel.signatures) == 1 for kernel in (scan_events, hash_spans, walk_records))
