"""Bayesian personalised ranking: the kernel beside its twin, its ring, and what it learns."""

from itertools import pairwise

import numpy as np
import pytest

from engine.embeddings.config import VectorConfig
from engine.embeddings.pairs import PairTable
from engine.embeddings.ring import Ring
from engine.errors import ConfigError, ShapeError, SnapshotError
from tests.engine.test_factors import WIDE, keys_by, starts
from tests.naive import mix as mix_slowly
from tests.naive.factors import Pairs


def made(fields=("user", "item"), values=None, **settings):
    named = ("negatives", "ring_size", "pairs", "max_rows", "seed")
    given = {name: settings.pop(name) for name in named if name in settings}
    settings.setdefault("dimension", 6)
    vector = VectorConfig(name="any", accumulator=0.1, bias_accumulator=0.5, **settings)
    return PairTable(fields, vector, values, **(WIDE | given))


@pytest.mark.parametrize("case", [{}, {"optimizer": "sgd"}, {"dimension": 16, "seed": 5}], ids=str)
def test_learning_is_that_of_the_twin(case):
    fields = ("last", "last", "user", "item")
    values = (0.7, 0.3, 0.5, 1.0)
    table = made(fields, values, pairs=3, ring_size=20, **case)
    twin = Pairs(
        table.table.config.features[0], starts(table, fields), biased=False, values=[*values]
    )
    rng = np.random.default_rng(0)
    keys = keys_by(rng.integers(1, 8, (90, 4)))
    keys[rng.random(90) < 0.3, 2] = 0
    w = rng.choice([1.0, 2.0], 90)
    told = table.update(keys, np.arange(90), weight=w)
    ring, expected, drawn = [], [], 0
    start = mix_slowly(mix_slowly(case.get("seed", 0)) ^ 0xD12A)
    for key, v in zip(keys.tolist(), w, strict=True):
        negatives = []
        for _ in range(3 if ring else 0):
            place = mix_slowly(mix_slowly(start) ^ drawn) % min(len(ring), 20)
            drawn += 1
            kept = ring[-20:] if len(ring) <= 20 else _as_placed(ring)
            negatives += [kept[place]] if kept[place] != key[-1] else []
        won = twin.learn(key, negatives, v)
        expected.append(np.mean(won) if won else np.nan)
        ring.append(key[-1])
    np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-5)
    assert table.ring.head.tolist() == [90, drawn]


def _as_placed(ring):
    placed = [0] * 20
    for n, key in enumerate(ring):
        placed[n % 20] = key
    return placed


def test_what_was_shown_beside_a_choice_is_its_negative():
    table = made(negatives="shown", pairs=9)
    twin = Pairs(table.table.config.features[0], starts(table, ("user", "item")), biased=True)
    rng = np.random.default_rng(1)
    slates = np.repeat(np.arange(40), 4)
    items = np.concatenate([rng.permutation(7)[:4] + 1 for _ in range(40)])
    users = np.repeat(rng.integers(1, 5, 40), 4)
    chosen = rng.random(160) < 0.3
    keys = keys_by(np.stack([users, items], axis=1))
    told = table.update(keys, np.arange(160), chosen=chosen, slates=slates)
    start = mix_slowly(mix_slowly(0) ^ 0xD12A)
    expected = np.full(160, np.nan)
    for drawn, i in enumerate(np.flatnonzero(chosen)):
        first = i // 4 * 4
        turn = mix_slowly(mix_slowly(start) ^ drawn) % 4
        places = [first + (turn + k) % 4 for k in range(4)]
        negatives = [int(keys[at, 1]) for at in places if not chosen[at]]
        won = twin.learn([int(k) for k in keys[i]], negatives, 1.0)
        expected[i] = np.mean(won) if won else np.nan
    np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-5)
    assert np.isnan(told[~chosen]).all()


def test_cuts_leave_no_trace():
    rng = np.random.default_rng(2)
    keys = keys_by(rng.zipf(1.3, (3_000, 3)) % 500 + 1)
    chosen = rng.random(3_000) < 0.6
    seconds = np.sort(rng.integers(0, 5_000, 3_000))
    tables = [
        made(("user", "place", "item"), ttl_seconds=900, threshold=2, max_rows=150, ring_size=64)
        for _ in range(2)
    ]
    told = tables[0].update(keys, seconds, chosen=chosen)
    ends = [0, *np.sort(rng.choice(np.arange(1, 3_000), 30, replace=False)), 3_000]
    parts = [
        tables[1].update(keys[a:b], seconds[a:b], chosen=chosen[a:b]) for a, b in pairwise(ends)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), told)
    assert tables[0].ring.digest() == tables[1].ring.digest()
    assert tables[0].table.statistics().evicted > 100


@pytest.mark.parametrize("negatives", ["ring", "shown"])
def test_a_held_out_choice_stands_above_one_at_random(negatives):
    """Users like the items of their own half: above 0.9 of pairs, where chance is a half."""
    rng = np.random.default_rng(3)
    n, users, items = 6_000, 60, 40
    user = rng.integers(1, users + 1, n)
    item = 2 * rng.integers(0, items // 2, n) + user % 2 + 1
    table = made(negatives=negatives, dimension=8, rate=0.1, pairs=4)
    if negatives == "ring":
        table.update(keys_by(np.stack([user, item], axis=1)), np.arange(n))
    else:
        other = 2 * rng.integers(0, items // 2, n) + (user + 1) % 2 + 1
        pairs = np.stack([np.repeat(user, 2), np.stack([item, other], axis=1).ravel()], axis=1)
        slates = np.repeat(np.arange(n), 2)
        table.update(keys_by(pairs), slates, chosen=np.tile([True, False], n), slates=slates)
    ids = np.arange(1, items + 1)
    above = []
    for each in range(1, users + 1):
        keys = keys_by(np.stack([np.full(items, each), ids], axis=1))
        scores = table.score(keys[0, :1], keys[:, 1])
        own = ids % 2 != each % 2
        above.append(np.mean(scores[own][:, None] > scores[~own][None, :]))
    assert np.mean(above) > 0.9


def test_a_ring_is_saved_by_what_was_put_in_since():
    ring, other = Ring(8), Ring(8)
    for turn in range(6):
        for key in range(3 * turn, 3 * turn + 3):
            ring.keys[ring.head[0] % 8] = key
            ring.head[:] += (1, 2)
        saved = ring.to_bytes([])
        other.put_bytes(saved)
        ring.mark_saved()
        assert other.digest() == ring.digest()
    assert len(saved) < len(ring.to_bytes(None))
    late = Ring(8)
    with pytest.raises(SnapshotError, match="load what lies between"):
        late.put_bytes(saved)
    late.put_bytes(ring.to_bytes(None))
    assert late.digest() == ring.copy().digest() == ring.digest()
    with pytest.raises(SnapshotError, match="another size"):
        Ring(4).put_bytes(ring.to_bytes(None))
    with pytest.raises(ConfigError, match="do not add"):
        ring.add(other)


def test_what_cannot_be_learned_is_refused():
    table = made()
    keys = keys_by(np.ones((1, 2), dtype=np.int64))
    with pytest.raises(ShapeError, match="above 0"):
        table.update(keys, np.zeros(1, dtype=np.int64), weight=np.zeros(1))
    with pytest.raises(ShapeError, match="twice"):
        table.update(keys, np.zeros(2, dtype=np.int64))
    with pytest.raises(ConfigError, match="pairs"):
        made(pairs=0)
    with pytest.raises(ConfigError, match="ring"):
        made(ring_size=0)
