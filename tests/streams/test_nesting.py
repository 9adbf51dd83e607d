"""How deep JSON may nest: counted outside strings, alike for every reader."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.catalogue import Catalogue
from streams.errors import BadEventError
from streams.events import decode_event
from streams.log.base import CATALOGUE, Record
from streams.log.memory import MemoryLog
from streams.nesting import DEEPEST, is_too_deep
from streams.shard import Shard

DEEP = b'{"q":' + b"[" * 5000 + b"]" * 5000 + b',"type":"tick","ts":1}'


def depth(value):
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(
    st.recursive(
        st.none() | st.integers() | st.text('[]{}\\"a'),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('[{}]"a'), inner),
        max_leaves=200,
    ),
    st.integers(0, DEEPEST + 3),
)
def test_depth_is_counted_outside_strings(value, wrapped):
    for _ in range(wrapped):
        value = [value, "]]]]{{"]
    assert is_too_deep(json.dumps(value).encode()) == (depth(value) > DEEPEST)


def test_a_deep_record_is_a_dead_letter_and_stops_nothing():
    with pytest.raises(BadEventError) as caught:
        decode_event(DEEP)
    assert caught.value.reason == "json"
    shard = Shard()
    shard.fold([Record(0, 0, "", DEEP)])
    assert shard.counts.to_dict()["unknown"]["dead"] == 1
    log = MemoryLog()
    log.append(CATALOGUE, [("x", DEEP)])
    assert Catalogue(log).refresh() == 1


def test_a_flat_record_of_many_objects_is_not_deep():
    assert not is_too_deep(b"[" + b",".join([b'{"a":[1]}'] * 5000) + b"]")
