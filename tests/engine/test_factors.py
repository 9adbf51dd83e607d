"""Matrix factorisation and factorisation machines: kernels beside twins, worlds, and laws."""

from itertools import pairwise

import numpy as np
import pytest

from engine.embeddings.config import VectorConfig
from engine.embeddings.factors import FactorTable
from engine.errors import ConfigError, ShapeError
from engine.kernels.random import mix_keys
from tests.naive.factors import Factors

WIDE = {"sketch_bytes": 1 << 12, "max_rows": 5_000}


def made(fields=("user", "item"), loss="squared", values=None, **settings):
    settings.setdefault("dimension", 6)
    given = {name: settings.pop(name) for name in ("max_rows", "seed") if name in settings}
    vector = VectorConfig(name="any", **settings)
    return FactorTable(fields, vector, loss=loss, values=values, **(WIDE | given))


def keys_by(ids):
    """Keys of whole numbers ``(n, fields)``; 0 stays no id."""
    found = mix_keys((ids + 1000 * np.arange(ids.shape[1])).ravel().astype(np.uint64))
    return np.where(ids == 0, np.uint64(0), found.reshape(ids.shape))


def starts(table, fields):
    """How vectors begin, by (field, key): as in a table beside it that learns nothing."""
    seed = table.table.config.seed
    beside = FactorTable(fields, table.table.config.features[0], **(WIDE | {"seed": seed}))

    def start(field, key):
        number = int(table.features[field])
        one = np.array([key], dtype=np.uint64)
        beside.table.claim(one, number, np.zeros(1, dtype=np.int64))
        return beside.table.lookup(one, number)[0][0, 1:]

    return start


def twin_of(table, fields):
    values = None if np.all(table.values == 1.0) else table.values.tolist()
    start = starts(table, fields)
    return Factors(table.table.config.features[0], start, table.loss, values)


CASES = [
    {},
    {"dimension": 16},
    {"dimension": 3, "l2": 0.01, "bias_l2": 0.02, "accumulator": 0.1, "bias_accumulator": 1.0},
    {"loss": "logistic", "accumulator": 0.2},
    {"optimizer": "sgd", "rate": 0.02, "l2": 0.01},
    {"fields": ("user", "place", "item"), "loss": "logistic", "dimension": 9},
    {"fields": ("user", "place", "item"), "values": (1.0, 0.5, 2.0), "optimizer": "sgd"},
    {"values": (0.5, 1.5), "l2": 0.05},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_learning_is_that_of_the_twin(case):
    fields = case.get("fields", ("user", "item"))
    table = made(**case)
    twin = twin_of(table, fields)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 8, (120, len(fields)))
    ids[:, -1] += ids[:, -1] == 0
    keys = keys_by(ids)
    y = rng.normal(3.0, 2.0, 120) if table.loss == "squared" else (rng.random(120) < 0.3) * 1.0
    w = rng.choice([1.0, 2.5], 120)
    told = table.update(keys, y, np.arange(120), w)
    expected = [twin.learn(k, t, v) for k, t, v in zip(keys.tolist(), y, w, strict=True)]
    np.testing.assert_allclose(told, expected, rtol=2e-4, atol=2e-4)
    asked = keys_by(rng.integers(1, 8, (50, len(fields))))
    known = [twin.predict(k) for k in asked.tolist()]
    np.testing.assert_allclose(table.predict(asked), known, rtol=2e-4, atol=2e-4)


def test_two_fields_and_the_general_way_agree():
    rng = np.random.default_rng(1)
    keys = keys_by(rng.integers(1, 9, (300, 2)))
    y = rng.normal(0.0, 1.0, 300)
    fast = made(dimension=12, accumulator=0.1, l2=0.01)
    slow = made(("user", "item", "none"), dimension=12, accumulator=0.1, l2=0.01)
    absent = np.concatenate([keys, np.zeros((300, 1), dtype=np.uint64)], axis=1)
    seconds = np.zeros(300, dtype=np.int64)
    np.testing.assert_allclose(
        fast.update(keys, y, seconds), slow.update(absent, y, seconds), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("fields", [("user", "item"), ("user", "place", "item")])
def test_cuts_leave_no_trace_also_while_the_table_grows_and_forgets(fields):
    rng = np.random.default_rng(2)
    n = 3_000
    keys = keys_by(rng.zipf(1.3, (n, len(fields))) % 900 + 1)
    y, seconds = rng.random(n), np.sort(rng.integers(0, 5_000, n))
    whole, cut = (made(fields, ttl_seconds=900, threshold=2, max_rows=150) for _ in range(2))
    told = whole.update(keys, y, seconds)
    ends = [0, *np.sort(rng.choice(np.arange(1, n), 40, replace=False)), n]
    parts = [cut.update(keys[a:b], y[a:b], seconds[a:b]) for a, b in pairwise(ends)]
    np.testing.assert_array_equal(np.concatenate(parts), told)
    counted = whole.table.statistics()
    assert counted.evicted > 100
    assert counted.expired > 50
    assert counted.rejected > 100
    asked = keys_by(rng.integers(1, 900, (200, len(fields))))
    np.testing.assert_array_equal(whole.predict(asked), cut.predict(asked))
    np.testing.assert_array_equal(whole.totals, cut.totals)


def test_what_cannot_be_learned_is_refused():
    table = made()
    keys, one = keys_by(np.ones((1, 2), dtype=np.int64)), np.zeros(1, dtype=np.int64)
    with pytest.raises(ShapeError, match="not finite"):
        table.update(keys, np.array([np.nan]), one)
    with pytest.raises(ShapeError, match="above 0"):
        table.update(keys, np.ones(1), one, np.zeros(1))
    with pytest.raises(ShapeError, match="twice"):
        table.update(keys[:, :1], np.ones(1), one)
    with pytest.raises(ConfigError, match="loss"):
        made(loss="hinge")
    with pytest.raises(ConfigError, match="values"):
        made(values=(1.0,))
