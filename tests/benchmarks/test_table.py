"""bench table: peers give the vectors that were asked for, and its figures are there."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.contest import Contest, Figure
from benchmarks.peers.vector_tables import DictVectors, TypedVectors
from benchmarks.workloads.table import contests, fill, make_keys, make_table


@pytest.mark.parametrize("kind", [TypedVectors, DictVectors])
def test_peers_copy_the_vectors_of_keys(kind: type) -> None:
    keys = make_keys(500)
    vectors = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    asked = np.array([7, 0, 499, 7])
    out = np.empty((4, 16), np.float32)
    kind(keys, vectors).lookup(keys[asked], out)
    assert np.array_equal(out, vectors[asked])


def test_ours_holds_every_key() -> None:
    keys, table = make_keys(3000), make_table(3000)
    assert len(fill(table, keys)) == 12
    assert table.lookup(keys)[1].all()


def test_quick_mode_tells_all() -> None:
    told = list(contests(quick=True))
    settings = [each for each in told if isinstance(each, Contest)]
    figures = {each.what: each for each in told if isinstance(each, Figure)}
    assert [len(each.peers) for each in settings] == [2, 2]
    assert set(figures) == {
        "insert, worst call", "insert, 99.9 % of calls", "insert", "index", "miss",
    }  # fmt: skip
    assert figures["index"].value < 24  # few buckets: the stash counts
    for setting in settings:
        for each in (setting.ours, *setting.peers):
            each.call(None)
