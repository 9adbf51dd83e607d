"""Sets of vectors: looked up, saved, mapped, refused when damaged, and put among features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.embeddings.keys import hash_ids
from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.features import Schema
from streams.vector_features import VectorFeatures, open_vectors
from streams.vector_files import load_vectors, save_vectors

TASTE = {"type": "vector", "name": "taste", "count": 3, "version": "a"}
STYLE = {"type": "vector", "name": "style", "of": "item", "count": 3, "version": "a"}


def made(ids, salt="user_id", version="a", count=3, seed=1):
    vectors = np.random.default_rng(seed).normal(size=(len(ids), count)).astype(np.float32)
    return VectorSet.of(hash_ids(salt, ids).keys, vectors, version)


@given(
    st.dictionaries(st.integers(1, 2**64 - 1), st.floats(-1e6, 1e6, width=32), max_size=30),
    st.lists(st.integers(0, 2**64 - 1), max_size=9),
)
def test_a_set_answers_as_a_dict(held, others):
    keys = np.array(list(held), dtype=np.uint64)
    vectors = np.array([[value, -value] for value in held.values()], np.float32).reshape(-1, 2)
    built = VectorSet.of(keys, vectors, "v")
    asked = np.array([*others, *held, 0], dtype=np.uint64)
    found, known = built.lookup(asked)
    assert known.tolist() == [int(key) in held for key in asked]
    expected = [[held.get(int(key), 0.0), -held.get(int(key), 0.0)] for key in asked]
    assert found.tolist() == expected
    assert (found.dtype, found.shape) == (np.float32, (len(asked), 2))


def test_a_set_is_named_after_its_content():
    one, same, moved = (made("abc", seed=seed, version="") for seed in (1, 1, 2))
    assert one.version == same.version != moved.version
    keys, vectors = one.keys[::-1], one.vectors[::-1]
    assert VectorSet.of(keys, vectors).version == one.version
    assert made("abd", version="").version != one.version
    assert made("abc", version="mine").version == "mine"


@pytest.mark.parametrize(
    "damage",
    [
        {"keys": np.array([2, 1, 3], np.uint64)},
        {"keys": np.array([1, 1, 3], np.uint64)},
        {"keys": np.array([0, 1, 3], np.uint64)},
        {"keys": np.array([1, 2, 3], np.int64)},
        {"keys": np.array([1, 2], np.uint64)},
        {"vectors": np.ones((3, 2))},
        {"vectors": np.ones((3, 0), np.float32)},
        {"vectors": np.ones(3, np.float32)},
        {"vectors": np.full((3, 2), np.nan, np.float32)},
        {"vectors": np.full((3, 2), -np.inf, np.float32)},
        {"vectors": np.full((3, 2), 2e6, np.float32)},  # no feature may be sent so large
    ],
)
def test_what_is_no_set_is_refused(damage):
    fine = {"keys": np.array([1, 2, 3], np.uint64), "vectors": np.ones((3, 2), np.float32)}
    VectorSet(version="v", **fine)
    with pytest.raises(ShapeError):
        VectorSet(version="v", **(fine | damage))


def test_a_set_comes_back_as_it_was_saved(tmp_path):
    saved = made([f"u{number}" for number in range(100)])
    folder = save_vectors(tmp_path, "taste", saved)
    assert folder == tmp_path / "vectors" / "taste" / "a"
    loaded = load_vectors(tmp_path, "taste", "a")
    assert loaded.version == "a"
    np.testing.assert_array_equal(loaded.keys, saved.keys)
    np.testing.assert_array_equal(loaded.vectors, saved.vectors)
    assert not loaded.vectors.flags.writeable
    nobody = made([])
    save_vectors(tmp_path, "none", nobody)
    assert not load_vectors(tmp_path, "none", "a").lookup(saved.keys)[1].any()


def test_a_set_never_changes(tmp_path):
    save_vectors(tmp_path, "taste", made("abc"))
    before = load_vectors(tmp_path, "taste", "a").vectors.copy()
    save_vectors(tmp_path, "taste", made("abc"))  # the same may be written again
    with pytest.raises(SnapshotError, match="another version"):
        save_vectors(tmp_path, "taste", made("abc", seed=2))
    np.testing.assert_array_equal(load_vectors(tmp_path, "taste", "a").vectors, before)
    assert [path.name for path in (tmp_path / "vectors" / "taste").iterdir()] == ["a"]


@pytest.mark.parametrize(("name", "version"), [("../taste", "a"), ("taste", "../a"), ("", "a")])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name, version):
    with pytest.raises(ConfigError, match="is named"):
        save_vectors(tmp_path, name, made("a", version=version))


def test_where_nothing_can_be_written_nothing_is(tmp_path):
    (tmp_path / "vectors").write_text("a file")
    with pytest.raises(SnapshotError, match="cannot be written"):
        save_vectors(tmp_path, "taste", made("a"))


def test_every_damaged_byte_is_found(tmp_path):
    folder = save_vectors(tmp_path, "taste", made("abc"))
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for at in range(0, len(whole), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(SnapshotError):
                load_vectors(tmp_path, "taste", "a")
        path.write_bytes(whole[:-1])
        with pytest.raises(SnapshotError):
            load_vectors(tmp_path, "taste", "a")
        path.unlink()
        with pytest.raises(SnapshotError, match="not there"):
            load_vectors(tmp_path, "taste", "a")
        path.write_bytes(whole)
    assert len(load_vectors(tmp_path, "taste", "a")) == 3


def test_a_set_of_another_version_is_not_taken_for_this_one(tmp_path):
    folder = save_vectors(tmp_path, "taste", made("abc"))
    folder.rename(folder.with_name("b"))
    with pytest.raises(SnapshotError, match="say of themselves"):
        load_vectors(tmp_path, "taste", "b")


def test_sets_that_do_not_fit_the_features_are_refused_when_opened(tmp_path):
    schema = Schema.from_list([TASTE])
    with pytest.raises(ConfigError, match=r"'taste' reads vectors of version 'a'.*not there"):
        open_vectors([schema], tmp_path)
    save_vectors(tmp_path, "taste", made("abc"))
    found = open_vectors([schema, Schema(), schema], tmp_path)
    assert [feature.name for feature in found] == ["taste"]
    with pytest.raises(ConfigError, match="of 4 numbers; they have 3"):
        open_vectors([Schema.from_list([{**TASTE, "count": 4}])], tmp_path)
    with pytest.raises(ConfigError, match="version 'b'"):
        open_vectors([schema, Schema.from_list([{**TASTE, "version": "b"}])], tmp_path)


def features_of(tmp_path, *declared):
    save_vectors(tmp_path, "taste", made("ab", salt="user_id"))
    save_vectors(tmp_path, "style", made("xy", salt="item_id"))
    schema = Schema.from_list(declared)
    return schema, VectorFeatures(schema, open_vectors([schema], tmp_path))


def test_what_is_looked_up_is_read_as_the_numbers_of_the_set(tmp_path):
    schema, vectors = features_of(tmp_path, {**TASTE, "scale": 2}, STYLE)
    held = made("ab").lookup(hash_ids("user_id", ["b"]).keys)[0][0]
    filled = vectors.of_context({"hour": 1}, "b")
    assert filled["hour"] == 1
    assert filled["taste"]["v:a"] == 1
    np.testing.assert_allclose(schema.encode([filled])[0, 1:], held / 2, rtol=1e-6)
    item = vectors.of_item({}, "x")
    held = made("xy", salt="item_id").lookup(hash_ids("item_id", ["x"]).keys)[0][0]
    np.testing.assert_allclose(schema.encode_items([item])[0], held, rtol=1e-6)
    for nobody in (None, "nobody", ""):
        assert vectors.of_context({"hour": 1}, nobody) == {"hour": 1}
    assert vectors.of_item({}, "a") == {}  # a user's id is none of an item


def test_a_vector_may_be_of_a_text_among_the_features(tmp_path):
    save_vectors(tmp_path, "by", made(["ann"], salt="author"))
    by = {**STYLE, "name": "by", "id": "author"}
    _, vectors = features_of(tmp_path, TASTE, by)
    assert "by" in vectors.of_item({"author": "ann"}, "x")
    for features in ({"author": "bob"}, {"author": 7}, {}):
        assert vectors.of_item(features, "ann") == features
    household = vectors.of_context({"user_id": "a"}, "b")
    assert household["taste"] == vectors.of_context({}, "a")["taste"]


def test_what_is_sent_stays(tmp_path):
    _, vectors = features_of(tmp_path, TASTE)
    sent = {"taste": {"v:old": 1, "0": 1.0}}
    assert vectors.of_context(sent, "a") is sent
    assert "v:a" in vectors.of_context({"taste": None}, "a")["taste"]
