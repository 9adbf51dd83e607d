"""Vectors that a policy learned become a set, as of its last commit."""

import numpy as np
import pytest

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.freezing import freeze
from engine.embeddings.keys import hash_ids
from engine.embeddings.table import EmbeddingTable
from engine.errors import ConfigError, ShapeError
from streams.freezing import freeze_policy, source_of
from tests.streams.cases import HOUR, settings
from tests.streams.test_tables import Run
from tests.streams.test_tables import table_of as committed_table
from tests.table_model import register


def table_of(bias=True):
    features = tuple(
        VectorConfig(name=name, dimension=dimension, bias=bias, threshold=threshold, rate=0.1)
        for name, dimension, threshold in (("user_id", 3, 1), ("item_id", 5, 2))
    )
    return EmbeddingTable(TableConfig(features=features, max_rows=100, sketch_bytes=4096))


def teach(table, name, ids, gradient):
    keys, checks = hash_ids(name, ids)
    given = np.full((len(ids), table.width), gradient, dtype=np.float32)
    seconds = np.arange(len(ids)) + 1
    table.learn(keys, table.number(name), seconds, given, checks)
    return keys


@pytest.mark.parametrize("bias", [True, False])
def test_a_set_has_the_vectors_of_one_feature_that_are_the_ids_own(bias):
    table = table_of(bias)
    users = teach(table, "user_id", ["u0", "u1", "u2"], 1.0)
    items = teach(table, "item_id", ["i0", "i1", "i0"], -1.0)  # i1 was met once: not admitted
    frozen = freeze(table, "user_id", "first")
    assert (frozen.version, frozen.count, len(frozen)) == ("first", 3, 3)
    own, _ = table.lookup(users, table.number("user_id"))
    found, known = frozen.lookup(users)
    assert known.all()
    np.testing.assert_array_equal(found, own[:, int(bias) : int(bias) + 3])
    assert not frozen.lookup(items)[1].any()
    named = freeze(table, "item_id")
    assert named.lookup(items)[1].tolist() == [True, False, True]
    assert named.count == 5
    assert named.version == freeze(table, "item_id").version


def test_ids_whose_time_has_passed_are_not_in_a_set():
    feature = VectorConfig(name="user_id", dimension=3, ttl_seconds=100)
    table = EmbeddingTable(TableConfig(features=(feature,), max_rows=5000, sketch_bytes=4096))
    old, _ = hash_ids("user_id", [f"u{number}" for number in range(2000)])
    new, _ = hash_ids("user_id", ["late"])
    table.claim(old, 0, np.full(2000, 1000))
    table.claim(new, 0, np.array([2000]))
    assert len(table) > 1000  # most are not swept yet
    frozen = freeze(table, "user_id")
    assert frozen.lookup(new)[1].all()
    assert not frozen.lookup(old)[1].any()


def test_a_set_stays_when_the_table_learns_on():
    table = table_of()
    users = teach(table, "user_id", ["u0"], 1.0)
    frozen = freeze(table, "user_id")
    before = frozen.lookup(users)[0].copy()
    teach(table, "user_id", ["u0"], 1.0)
    np.testing.assert_array_equal(frozen.lookup(users)[0], before)
    after = freeze(table, "user_id")
    assert np.all(after.lookup(users)[0] != before)
    assert after.version != frozen.version


def test_an_id_that_the_table_does_not_know_is_refused():
    with pytest.raises(ConfigError, match=r"no ids 'usr_id'; did you mean 'user_id'"):
        freeze(table_of(), "usr_id")
    assert len(freeze(table_of(), "user_id")) == 0


def test_a_table_that_ran_away_is_not_frozen():
    table = table_of()
    teach(table, "user_id", ["u0"], -1.0)
    table.table.floats[len(table.config.features), 8:12] = np.inf
    with pytest.raises(ShapeError, match="beyond"):
        freeze(table, "user_id")


@pytest.fixture
def run(tmp_path, monkeypatch):
    register(monkeypatch)
    run = Run(str(tmp_path / "state.db"))
    yield run
    run.store.close()


def test_what_was_committed_is_frozen_and_nothing_after(run):
    run.on(4)
    run.until_base()
    run.on(2)
    table = committed_table(run.recovered())
    keys = table.keys_of(table.live_rows())
    vectors, _ = table.lookup(keys)
    run.learn()
    frozen = freeze_policy(run.store, "main", "item", "now")
    assert len(frozen) == len(keys) > 100
    np.testing.assert_array_equal(frozen.lookup(keys)[0], vectors)


def test_what_has_no_vectors_is_refused(run):
    run.on(1)
    with pytest.raises(ConfigError, match=r"of policy 'mian'; did you mean 'main'"):
        freeze_policy(run.store, "mian", "item")
    with pytest.raises(ConfigError, match="known are item"):
        freeze_policy(run.store, "main", "user")


def test_a_model_without_vectors_has_none_to_freeze(tmp_path):
    run = Run(str(tmp_path / "state.db"), settings(HOUR, window=2.0))
    run.on(1)
    with pytest.raises(ConfigError, match="model without vectors"):
        freeze_policy(run.store, "main", "item")
    run.store.close()


def test_whose_ids_they_are_is_told_by_the_schema():
    author = {"type": "id", "name": "author", "of": "item"}
    config = settings(author, {**author, "name": "page", "of": "context"}, spec="uniform")
    found = {name: source_of(config, "main", name) for name in ("author", "page")}
    found |= {name: source_of(config, "main", name) for name in ("user_id", "item_id")}
    assert found == {"author": "item", "page": "context", "user_id": "context", "item_id": "item"}
    assert source_of(config, "gone", "item_id") == "item"
