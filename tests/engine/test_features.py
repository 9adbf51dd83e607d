import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, SchemaError
from engine.features import Schema

DECLARED = [
    {"type": "numeric", "name": "hour", "center": 12, "scale": 6, "clip": 1.5},
    {"type": "categorical", "name": "device", "values": ["ios", "web"]},
]
SCHEMA = Schema.from_list(DECLARED)


def test_columns_start_with_the_intercept():
    assert SCHEMA.columns == ("intercept", "hour", "device=ios", "device=web")


def test_encode_shifts_scales_clips_and_one_hots():
    x = SCHEMA.encode([{"hour": 9, "device": "web"}, {"hour": 100}, {"device": "tv", "else": 3}])
    assert x.tolist() == [[1, -0.5, 0, 1], [1, 1.5, 0, 0], [1, 0, 0, 0]]
    assert x.dtype == np.float64


def test_booleans_are_numbers():
    assert SCHEMA.encode([{"hour": True}])[0, 1] == -1.5


@pytest.mark.parametrize(
    "context", [{"hour": "9"}, {"hour": math.nan}, {"hour": math.inf}, {"device": 1}]
)
def test_wrong_values_are_refused_by_name(context):
    with pytest.raises(SchemaError, match=next(iter(context))):
        SCHEMA.encode([context])


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "number", "name": "a"},
        {"name": "a"},
        {"type": "numeric", "name": "a", "scale": 0},
        {"type": "numeric", "name": "a", "center": math.nan},
        {"type": "numeric", "name": "a", "centre": 1},
        {"type": "numeric"},
        {"type": "categorical", "name": "a", "values": []},
        {"type": "categorical", "name": "a", "values": ["x", "x"]},
    ],
)
def test_wrong_declarations_are_refused(declared):
    with pytest.raises(ConfigError):
        Schema.from_list([declared])


def test_names_must_differ():
    with pytest.raises(ConfigError, match="twice"):
        Schema.from_list([DECLARED[0], DECLARED[0]])
    with pytest.raises(ConfigError, match="intercept"):
        Schema.from_list([{"type": "numeric", "name": "intercept"}])


def test_version_changes_with_any_feature_and_survives_a_round_trip():
    again = Schema.from_list(SCHEMA.to_list())
    assert again == SCHEMA
    assert again.version == SCHEMA.version
    assert Schema.from_list([DECLARED[0]]).version != SCHEMA.version


@given(
    st.dictionaries(
        st.sampled_from(["hour", "device", "x"]),
        st.none() | st.booleans() | st.floats() | st.text(),
    )
)
def test_encode_gives_finite_rows_or_refuses(context):
    try:
        x = SCHEMA.encode([context])
    except SchemaError:
        return
    assert np.all(np.isfinite(x))
    assert np.all(np.abs(x) <= 1.5)


def test_columns_must_differ_too():
    clash = {"type": "numeric", "name": "device=ios"}
    with pytest.raises(ConfigError, match="device=ios"):
        Schema.from_list([clash, DECLARED[1]])


def test_numbers_too_large_for_a_float_are_refused():
    with pytest.raises(SchemaError, match="finite"):
        SCHEMA.encode([{"hour": 10**400}])
