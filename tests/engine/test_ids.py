"""Ids as features: their keys, how they travel in rows, and who may read them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.embeddings.keys import hash_ids, keys_of
from engine.errors import ConfigError, SchemaError
from engine.features import Id, Schema
from engine.registry import MODELS, make_policy
from tests.engine.schemas import DEVICE, GENRE, HOUR, PRICE, crossed, schema
from tests.naive import scan as naive

USER = {"type": "id", "name": "user_id"}
AUTHOR = {"type": "id", "name": "author", "of": "item"}
BOTH = schema(HOUR, USER, PRICE, AUTHOR)


@given(st.text(max_size=5), st.lists(st.text(st.characters(codec="utf-8"), max_size=40)))
def test_keys_and_checks_are_those_of_their_twin(salt, ids):
    keys, checks = hash_ids(salt, ids)
    assert (keys.dtype, checks.dtype) == (np.uint64, np.uint32)
    told = list(zip(keys.tolist(), checks.tolist(), strict=True))
    assert told == [naive.hash_id(salt, each) for each in ids]
    assert [key == 0 for key in keys] == [each == "" for each in ids]


def test_keys_are_the_same_for_ever():
    """Stored tables hold keys."""
    keys, checks = hash_ids("user_id", ["alice", "東京"])
    assert keys.tolist() == [0x94A21C70682A0C8, 0xDE9619D806D91B9]
    assert checks.tolist() == [0x7D77A876, 0x6941C059]


def test_one_id_has_another_key_under_every_name_and_checks_are_their_own():
    ids = [str(number) for number in range(20_000)]
    found = [hash_ids(name, ids) for name in ("user_id", "item_id", "author", "")]
    keys = np.concatenate([each.keys for each in found])
    assert len(np.unique(keys)) == len(keys)
    for keys, checks in found:
        assert len(ids) - len(np.unique(checks)) <= 3  # by chance 0.05 pairs
        for half in (keys >> np.uint64(32), keys & np.uint64(2**32 - 1)):
            # Bits of the check and of the key agree half of the time: deviations of 0.0035.
            same = ~(half.astype(np.uint32) ^ checks)
            share = np.unpackbits(same.astype("<u4").view(np.uint8)).reshape(-1, 32).mean(axis=0)
            assert np.abs(share - 0.5).max() < 0.02


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=9), min_size=1, max_size=5))
def test_rows_hold_keys_exactly(ids):
    rows = BOTH.encode([{"user_id": each, "hour": 3} for each in ids])
    place, *more = BOTH.places("user_id")
    assert more == [place + 1, place + 2]
    for one, other in zip(keys_of(rows, place), hash_ids("user_id", ids), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    items = BOTH.encode_items([{"author": each} for each in ids])
    np.testing.assert_array_equal(
        keys_of(items, BOTH.places("author")[0]).keys, hash_ids("author", ids).keys
    )


def test_columns_are_named_and_nobody_is_all_zeros():
    assert BOTH.columns == ("intercept", "hour", "user_id#high", "user_id#low", "user_id#check")
    assert BOTH.item_columns == ("price", "author#high", "author#low", "author#check")
    assert [(each.name, each.of) for each in BOTH.ids] == [
        ("user_id", "context"),
        ("author", "item"),
    ]
    assert Schema().ids == ()
    rows = BOTH.encode([{}, {"user_id": None}, {"user_id": ""}])
    assert not rows[:, 2:].any()
    assert Schema.from_list(BOTH.to_list()) == BOTH


@pytest.mark.parametrize("value", [7, 7.0, True, {"a": 1.0}, ["a"], b"a", "\ud800", "a\udfff"])
def test_what_is_no_text_is_no_id(value):
    with pytest.raises(SchemaError, match=r"user_id.*must be a string"):
        BOTH.encode([{"user_id": value}])
    with pytest.raises(SchemaError, match=r"x.*must be a string"):
        hash_ids("x", ["a", value])


@pytest.mark.parametrize(
    "product",
    [
        crossed("user_id", "hour"),
        crossed("price", "author"),
        crossed("user_id", "author"),
        {"type": "quadratic", "names": ["hour", "user_id"]},
    ],
)
def test_ids_are_not_multiplied(product):
    with pytest.raises(ConfigError, match="is an id"):
        schema(HOUR, USER, PRICE, AUTHOR, product)


def test_all_numeric_features_leave_ids_out():
    made = schema(HOUR, USER, {"type": "quadratic"})
    assert made.columns[5:] == ("hour*hour",)


READ_NO_COLUMNS = {"beta", "poisson", "normal", "importance"}


@pytest.mark.parametrize("model", sorted(MODELS))
def test_models_that_read_numbers_refuse_ids(model):
    if MODELS[model]().traits.reads_ids:
        return
    assert model not in READ_NO_COLUMNS
    exploration = "bagging" if model == "bagged" else "greedy"
    for given_id in (USER, AUTHOR):
        with pytest.raises(ConfigError, match=rf"{given_id['name']}.*{MODELS[model].__name__}"):
            make_policy(
                f"{model}-{exploration}", schema=schema(HOUR, DEVICE, GENRE, PRICE, given_id)
            )


@pytest.mark.parametrize("spec", ["uniform", "beta-thompson:group=genre", "importance-exp3"])
def test_models_that_read_no_columns_take_no_notice(spec):
    make_policy(spec, schema=schema(USER, AUTHOR, GENRE))


@pytest.mark.parametrize("rule", ["diversity=0.3", "boost=author#low:1"])
def test_slate_rules_do_not_reckon_with_ids(rule, monkeypatch):
    spec = f"normal-greedy:slate=ruled,{rule}"
    with pytest.raises(ConfigError, match=r"author.*is an id"):
        make_policy(spec, schema=schema(PRICE, AUTHOR))


def test_a_feature_is_an_id_only_when_it_says_so():
    assert isinstance(BOTH.ids[0], Id)
    meanings = {
        schema(kind).meanings("x")[1]
        for kind in (USER, {**USER, "name": "other"}, {"type": "numeric", "name": "user_id#high"})
    }
    assert len(meanings) == 3
