import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, SchemaError
from engine.features import MAX_COLUMNS, Schema
from tests.engine.schemas import (
    DEVICE,
    GENRE,
    HOUR,
    MOOD,
    PRICE,
    TASTE,
    TOPIC,
    crossed,
    random_rows,
    schema,
    schemas,
)

DECLARED = [HOUR, DEVICE]
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
        {"type": "numeric", "name": "a", "of": "user"},
        {"type": "numeric"},
        {"type": "categorical", "name": "a", "values": []},
        {"type": "categorical", "name": "a", "values": ["x", "x"]},
        {"type": "clusters", "name": "a"},
        {"type": "clusters", "name": "a", "count": 0},
        {"type": "clusters", "name": "a", "count": 1.5},
        {"type": "clusters", "name": "a", "count": MAX_COLUMNS + 1},
        {"type": "clusters", "name": "a", "count": MAX_COLUMNS},  # and the intercept
        {"type": "vector", "name": "a", "count": 2},
        {"type": "vector", "name": "a", "count": 2, "version": ""},
        {"type": "vector", "name": "a", "count": 2, "version": "../b"},
        {"type": "vector", "name": "a", "count": 2, "version": ".b"},
        {"type": "vector", "name": "a", "count": 2, "version": "b" * 65},
        {"type": "vector", "name": "a/b", "count": 2, "version": "b"},
        {"type": "vector", "name": "a", "count": 0, "version": "b"},
        {"type": "vector", "name": "a", "count": 1000, "version": "b"},
        {"type": "vector", "name": "a", "count": 2, "version": "b", "scale": 0},
        {"type": "vector", "name": "a", "count": 2, "version": "b", "clip": math.inf},
        {"type": "interaction", "left": "a"},
        {"type": "interaction", "left": "a", "right": "b"},
        {"type": "quadratic", "names": ["a"]},
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
    with pytest.raises(ConfigError, match="hour"):
        schema(HOUR, {**PRICE, "name": "hour"})  # interactions name features, of either source


def test_version_changes_with_any_feature_and_survives_a_round_trip():
    every = schema(HOUR, TASTE, PRICE, crossed("taste", "price"), {"type": "quadratic"})
    for made in (SCHEMA, every):
        again = Schema.from_list(made.to_list())
        assert again == made
        assert again.version == made.version
    versions = {
        schema(HOUR).version,
        schema(HOUR, {"type": "quadratic"}).version,
        schema(HOUR, TASTE).version,
        schema(HOUR, {**TASTE, "of": "item"}).version,
        schema(HOUR, TASTE, crossed("hour", "taste")).version,
    }
    assert len(versions) == 5


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
    made = {"type": "numeric", "name": "hour*hour"}
    with pytest.raises(ConfigError, match=r"hour\*hour"):
        Schema.from_list([HOUR, made, {"type": "quadratic", "names": ["hour"]}])


def test_numbers_too_large_for_a_float_are_refused():
    with pytest.raises(SchemaError, match="finite"):
        SCHEMA.encode([{"hour": 10**400}])


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (None, [0, 0, 0]),
        ({}, [0, 0, 0]),
        ({"2": 0.6, "0": -0.4}, [-0.4, 0, 0.6]),
        ({"1": True}, [0, 1, 0]),
        (2, [0, 0, 1]),
        ("0", [1, 0, 0]),
    ],
)
def test_clusters_are_weights_by_number(value, row):
    assert schema(TASTE).encode([{"taste": value}])[0].tolist() == [1, *row]


@pytest.mark.parametrize(
    "value",
    [
        {"3": 1.0},
        {"-1": 1.0},
        {"01": 1.0},  # beside "1" it would count twice
        {"": 1.0},
        {"²": 1.0},
        {"٣": 1.0},
        {"9" * 5000: 1.0},
        {"1": math.nan},
        {"1": math.inf},
        {"1": 2e6},
        {"1": "much"},
        {"1": None},
        3,
        -1,
        0.5,
        True,
        "x",
    ],
)
def test_what_is_no_weight_of_a_cluster_is_refused(value):
    with pytest.raises(SchemaError, match="taste"):
        schema(TASTE).encode([{"taste": value}])


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (None, [0, 0]),
        ({"v:a": 1, "0": 1, "1": -3.0}, [0.5, -1.5]),
        ({"1": 0.5, "v:a": 1.0}, [0, 0.25]),
        ({"v:a": 1}, [0, 0]),
        ({"v:a": 1, "0": 1e6, "1": -1e6}, [5, -5]),
        ({"v:b": 1, "0": 1, "1": 1}, [0, 0]),
        ({"v:b": 1, "0": 1, "500": 1}, [0, 0]),  # that version had more places
        ({"v:": 1, "0": 1}, [0, 0]),
    ],
)
def test_a_vector_is_read_under_its_own_version_alone(value, row):
    made = schema(MOOD)
    assert made.columns == ("intercept", "mood#0", "mood#1")
    assert made.encode([{"mood": value}])[0].tolist() == [1, *row]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"0": 1.0},
        {"v:a": 1, "v:b": 1, "0": 1.0},
        {"v:a": 2, "0": 1.0},
        {"v:a": None},
        {"v:a": "1"},
        {"v:a": 1, "2": 1.0},
        {"v:a": 1, "00": 1.0},
        {"v:a": 1, "x": 1.0},
        {"v:a": 1, "0": math.nan},
        {"v:a": 1, "0": 2e6},
        {"v:a": 1, "0": "x"},
        {"v:b": 1, "999": 1.0},
        {"v:b": 1, "0": 2e6},
        0.5,
        7,
        True,
        "v:a",
    ],
)
def test_what_is_no_vector_is_refused(value):
    with pytest.raises(SchemaError, match="mood"):
        schema(MOOD).encode([{"mood": value}])


def test_a_vector_of_another_version_means_something_else():
    kept = schema(MOOD).meanings("x")
    again = schema(HOUR, {**MOOD, "count": 3}).meanings("x")
    assert again[2:4] == kept[1:]
    for change in (
        {"version": "b"},
        {"scale": 3},
        {"clip": 1},
        {"id": "household"},
        {"of": "item"},
        {"name": "other"},
    ):
        made = schema({**MOOD, **change})
        assert not {*made.meanings("x")[1:], *made.meanings("z")} & set(kept)
    default = schema({**MOOD, "id": "user_id"})
    assert default.meanings("x") == kept


def test_maps_are_for_clusters_alone():
    for feature in (HOUR, DEVICE):
        with pytest.raises(SchemaError, match=feature["name"]):
            schema(feature).encode([{feature["name"]: {"1": 1.0}}])


@given(st.dictionaries(st.text(max_size=3) | st.sampled_from(["0", "1", "2"]), st.floats()))
def test_clusters_and_their_products_are_finite_or_refused(weights):
    every = schema(TASTE, {"type": "quadratic", "names": ["taste"]})
    try:
        x = every.encode([{"taste": weights}])[0]
    except SchemaError:
        return
    named = [weights.get(str(number), 0.0) for number in range(3)]
    assert x[1:4].tolist() == named
    assert np.all(np.isfinite(np.outer(x, x)))


def test_item_features_have_rows_of_their_own_without_an_intercept():
    both = schema(HOUR, PRICE, DEVICE, GENRE, TOPIC)
    assert both.columns == ("intercept", "hour", "device=ios", "device=web")
    assert both.item_columns == ("price", "genre=pop", "genre=jazz", "topic=0", "topic=1")
    assert both.item_features == ("price", "genre", "topic")
    assert schema(HOUR).item_features == schema(HOUR).item_columns == ()
    items = [{"price": 9, "genre": "jazz", "topic": {"1": 0.5}}, {"hour": "ignored"}]
    assert both.encode_items(items).tolist() == [[2, 0, 1, 0, 0.5], [0, 0, 0, 0, 0]]
    assert both.encode([{"price": "ignored"}]).shape == (1, 4)
    with pytest.raises(SchemaError, match="price"):
        both.encode_items([{"price": "dear"}])
    assert schema(HOUR).encode_items([{}, {}]).shape == (2, 0)
    assert both.encode_items([]).shape == (0, 5)


def test_interactions_within_a_source_are_columns_and_across_are_of_the_joint_row():
    made = schema(HOUR, DEVICE, PRICE, GENRE, crossed("hour", "device"), crossed("genre", "price"))
    assert made.columns[4:] == ("hour*device=ios", "hour*device=web")
    assert made.item_columns[3:] == ("genre=pop*price", "genre=jazz*price")
    x = made.encode([{"hour": 15, "device": "web"}])
    assert x.tolist() == [[1, 0.5, 0, 1, 0, 0.5]]
    assert made.encode_items([{"price": 9, "genre": "pop"}]).tolist() == [[2, 1, 0, 2, 0]]
    assert made.sizes["f"] == made.sizes["x"] + made.sizes["z"]
    across = schema(HOUR, DEVICE, PRICE, crossed("price", "device"))
    assert across.item_columns == ("price",)
    x, z = across.encode([{"hour": 15, "device": "web"}]), across.encode_items([{"price": 9}])
    assert across.joint(x, z).tolist() == [[1, 0.5, 0, 1, 2, 0, 2]]


def test_quadratic_takes_the_named_features_or_all_numeric_ones_of_the_context():
    age = {"type": "numeric", "name": "age"}
    every = schema(HOUR, DEVICE, age, PRICE, {"type": "quadratic"})
    assert every.columns[5:] == ("hour*hour", "hour*age", "age*age")
    x = every.encode([{"hour": 15, "age": 3}])
    assert x.tolist() == [[1, 0.5, 0, 0, 3, 0.25, 1.5, 9]]
    named = schema(HOUR, DEVICE, age, {"type": "quadratic", "names": ["device"]})
    assert named.columns[5:] == (
        *("device=ios*device=ios", "device=ios*device=web", "device=web*device=web"),
    )


def test_names_in_interactions_may_come_later_and_unknown_ones_get_the_nearest():
    assert schema(crossed("hour", "price"), HOUR, PRICE).sizes["h"] == 2
    with pytest.raises(ConfigError, match="did you mean 'hour'"):
        schema(HOUR, crossed("huor", "hour"))


@given(schemas(), st.integers(0, 9))
def test_sizes_names_and_meanings_agree_with_the_rows(made, seed):
    x, z = random_rows(made, seed)
    f = made.joint(x, z)
    sizes = made.sizes
    widths = {"x": x.shape[1], "z": z.shape[1], "f": f.shape[1], "h": f.shape[1] - x.shape[1]}
    for axis, width in widths.items():
        assert sizes[axis] == len(made.meanings(axis)) == width
        assert len(set(made.meanings(axis))) == width
        assert sizes[2 * axis] == width * (width + 1) // 2
    assert len(made.columns) == x.shape[1]
    assert len(made.item_columns) == z.shape[1]
    assert (
        f[:, x.shape[1] :].tolist()
        == np.concatenate([z, f[:, len(x[0]) + len(z[0]) :]], 1).tolist()
    )


@given(schemas())
def test_places_find_each_feature_in_its_own_row(made):
    for feature in made.to_list():
        if "name" not in feature:
            continue
        columns = made.columns if feature["of"] == "context" else made.item_columns
        found = [columns[place] for place in made.places(feature["name"])]
        assert found
        assert all(
            re.split("[=#]", name)[0] == feature["name"] and "*" not in name for name in found
        )


def test_quadratic_terms_of_the_item_are_refused():
    with pytest.raises(ConfigError, match="'price' belongs to the item"):
        schema(HOUR, PRICE, {"type": "quadratic", "names": ["hour", "price"]})


def test_a_product_of_context_and_item_must_not_stand_twice():
    twice = ({"type": "interaction", "left": "hour", "right": "price"}, crossed("price", "hour"))
    with pytest.raises(ConfigError, match=r"\['hour\*price'\] are declared twice"):
        schema(HOUR, PRICE, *twice)
