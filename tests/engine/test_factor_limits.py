"""What must not break a table of factors: steps that run away, wrong stamps, ids that are none."""

import numpy as np
import pytest

from engine.batches import Outcomes
from engine.embeddings.config import VectorConfig
from engine.embeddings.factors import FactorTable
from engine.embeddings.pairs import PairTable
from engine.embeddings.ring import Ring
from engine.embeddings.saving import restore_table, save_changes
from engine.embeddings.table import EmbeddingTable
from engine.errors import ConfigError, SnapshotError
from engine.features import Id, Schema
from engine.kernels.popularity import fade_counts
from engine.registry import make_policy


def test_heavy_weights_do_not_drive_vectors_to_infinity():
    policy = make_policy(
        "mf-greedy:optimizer=sgd,weighting=propensity", schema=Schema(features=(Id(name="user"),))
    )
    rng = np.random.default_rng(0)
    n = 20_000
    users, items = rng.integers(0, 20, n), rng.integers(0, 40, n)
    outcomes = Outcomes(
        item_ids=[f"i{item}" for item in items],
        x=policy.schema.encode([{"user": f"u{user}"} for user in users]),
        z=policy.schema.encode_items([{}] * n),
        reward=(rng.random(n) < 0.05) * 1.0,
        weight=np.ones(n),
        time_ms=np.arange(n) * 1000,
        propensity=rng.uniform(0.03, 0.5, n),
    )
    state = policy.init()
    policy.update(state, outcomes)
    table = state.parts["table"].table
    assert np.isfinite(table.table.floats[table.live_rows(), 8:]).all()


def test_an_item_without_a_key_teaches_nothing_and_is_no_negative():
    for negatives in ("ring", "shown"):
        pairs = PairTable(
            ["u", "i"], VectorConfig(name=""), negatives=negatives, max_rows=100, ring_size=8
        )
        follower = EmbeddingTable(pairs.table.config)
        keys = np.array([[1, 0], [1, 6], [1, 7], [1, 0]], dtype=np.uint64)
        chosen = np.array([True, False, True, False])
        seconds, slates = np.ones(4, dtype=np.int64), np.zeros(4, dtype=np.int64)
        pairs.update(keys, seconds, chosen=chosen, slates=slates)
        assert pairs.table.table.rows[: pairs.table.table.head[30]].min() >= 0
        restore_table(follower, save_changes(pairs.table))
        assert len(follower) == len(pairs.table)
        assert 0 not in pairs.ring.keys[: pairs.ring.head[0]]


def test_one_stamp_from_the_future_does_not_keep_ids_from_being_kept():
    factors = FactorTable(["a", "a"], VectorConfig(name="", ttl_seconds=100), max_rows=1000)
    rng = np.random.default_rng(1)
    keys = rng.integers(1, 50, (500, 2)).astype(np.uint64)
    seconds = np.full(500, 1_700_000_000)
    seconds[0] = 1 << 52
    keys[1] = 7  # one id twice in one event: the record it holds is not given back
    factors.update(keys, rng.random(500), seconds)
    table = factors.table.table
    assert len(factors.table) == 49
    free = table.words[:, 5] >> 31 == 1
    assert not table.floats[free, 8:].any()


def test_one_stamp_from_the_future_does_not_fade_all_popularity():
    recent, clock = np.zeros((3, 2)), np.zeros(1)
    rows, weight = np.array([0, 0, 0, 1, 2, 0]), np.ones(6)
    seconds = np.array([1000, 1001, 1002, 1003, 1003 + 366 * 86_400, 1004])
    fade_counts(recent, clock, rows, weight, seconds, 604_800.0)
    assert clock[0] == 1003 + 3600
    assert recent[0, 0] > 3.9
    np.testing.assert_array_equal(recent[2], [1.0, 1003 + 3600])


def test_ftrl_begins_without_shrinking_to_zero():
    assert VectorConfig(name="a", optimizer="ftrl").betas == (1.0, 0.0)
    assert VectorConfig(name="a", optimizer="adam").betas == (0.9, 0.999)
    with pytest.raises(ConfigError, match="at least 0"):
        VectorConfig(name="a", optimizer="ftrl", beta1=-5.0)
    with pytest.raises(ConfigError, match="at least 0"):
        VectorConfig(name="a", optimizer="ftrl", beta2=float("nan"))


def test_weights_of_any_size_leave_the_spread_a_number():
    rng = np.random.default_rng(2)
    for _ in range(200):
        factors = FactorTable(["u", "i"], VectorConfig(name=""), max_rows=100)
        keys = np.array([[1, 2]] * 3, dtype=np.uint64)
        weight = np.array([1e-18, 1.0, 1.0])
        told = factors.update(keys, rng.normal(size=3), np.ones(3, dtype=np.int64), weight)
        assert np.isfinite(told).all()
        assert np.isfinite(factors.predict(keys)).all()


def test_matrix_factorisation_is_of_an_id_of_the_context():
    with pytest.raises(ConfigError, match="of the context"):
        make_policy("mf-greedy", schema=Schema(features=(Id(name="brand", of="item"),)))


def test_a_ring_is_what_was_saved_and_never_turns_back():
    fuller, other = Ring(8), Ring(8)
    fuller.keys[:], fuller.head[0] = 9, 6
    other.keys[:3], other.head[0] = [1, 2, 3], 3
    fuller.put_bytes(other.to_bytes(None))
    assert fuller.digest() == other.digest()
    small, later = Ring(2), Ring(2)
    small.head[0], later.head[0] = 5, 9
    small.mark_saved()
    small.head[0] = 6
    with pytest.raises(SnapshotError, match="before the 9"):
        later.put_bytes(small.to_bytes([]))
