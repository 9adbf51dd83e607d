"""Any sequence of operations leaves the table as it leaves its twin, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.embeddings.saving import digest_table, restore_table, save_changes, save_table
from engine.embeddings.snapshot import TableSnapshot
from engine.embeddings.table import EmbeddingTable
from tests.engine.embeddings.tables import check_equal, mixed_config
from tests.naive.table import NaiveTable

KEYS = [
    0,
    1,
    2,
    3,
    (1 << 64) - 1,
    1 << 63,
    (1 << 63) - 1,
    *range(100, 190),
    *range(0, 1 << 20, 1 << 14),
]
key = st.sampled_from(KEYS)
feature = st.integers(0, 2)
ahead = st.sampled_from([0, 0, 1, 7, 60, 500, 100_000, -30])
seeds = st.integers(0, 1 << 16)


class TableMachine(RuleBasedStateMachine):
    @initialize(rows=st.sampled_from([65, 80, 900]), seed=seeds)
    def begin(self, rows: int, seed: int) -> None:
        self.config = mixed_config(rows, seed=seed)
        self.table, self.naive = EmbeddingTable(self.config), NaiveTable(self.config)
        self.follower = EmbeddingTable(self.config)
        self.now = 1000

    def events(
        self, keys: list[int], features: list[int], step: int, check: int
    ) -> tuple[Any, ...]:
        n = len(keys)
        self.now = max(self.now, self.now + min(step, 3600))
        seconds = np.full(n, self.now + min(step, 0) + max(step - 3600, 0))
        return (
            np.array(keys, dtype=np.uint64),
            np.array(features),
            seconds,
            np.full(n, check, np.uint32),
        )

    @rule(
        of=st.lists(st.tuples(key, feature), min_size=1, max_size=40),
        step=ahead,
        check=st.integers(0, 1),
    )
    def claim(self, of: list[tuple[int, int]], step: int, check: int) -> None:
        keys, features, seconds, checks = self.events(
            [k for k, _ in of], [f for _, f in of], step, check
        )
        claimed = self.table.claim(keys, features, seconds, checks)
        told = [self.naive.claim(k, f, int(seconds[0]), check) for k, f in of]
        assert claimed.tolist() == told

    @rule(start=st.integers(1 << 30, (1 << 30) + 300), n=st.integers(1, 250), step=ahead)
    def insert_many(self, start: int, n: int, step: int) -> None:
        numbers = list(range(start, start + n))
        keys, features, seconds, checks = self.events(numbers, [1] * n, step, 0)
        self.table.claim(keys, features, seconds, checks)
        for k in numbers:
            self.naive.claim(k, 1, int(seconds[0]), 0)

    @rule(of=st.lists(st.tuples(key, feature), min_size=1, max_size=20), seed=seeds, step=ahead)
    def learn(self, of: list[tuple[int, int]], seed: int, step: int) -> None:
        # A key is of one feature, as hashes that features salt are.
        of = [(k, k % 3) for k, _ in of]
        keys, features, seconds, checks = self.events(
            [k for k, _ in of], [f for _, f in of], step, 0
        )
        drawn = np.random.default_rng(seed).normal(size=(len(of), self.table.width))
        gradients = drawn.astype(np.float32)
        known = [self.naive.of.get(k, -1) for k, _ in of]
        if any(
            row >= 0 and self.naive.rows[row].feature != f
            for row, (_, f) in zip(known, of, strict=True)
        ):
            return
        self.table.learn(keys, features, seconds, gradients, checks)
        for (k, f), gradient in zip(of, gradients, strict=True):
            self.naive.learn(k, f, int(seconds[0]), gradient)

    @rule(keys=st.lists(key, max_size=30))
    def erase(self, keys: list[int]) -> None:
        erased = self.table.erase(np.array(keys, dtype=np.uint64))
        assert erased == sum(self.naive.erase(k) for k in keys)

    @rule()
    def save_and_restore(self) -> None:
        other = EmbeddingTable(self.config)
        restore_table(other, save_table(self.table))
        assert digest_table(other) == digest_table(self.table)
        self.table = other
        restore_table(self.follower, save_table(self.table))

    @rule()
    def follow(self) -> None:
        restore_table(self.follower, save_changes(self.table))
        self.table.mark_saved()
        assert digest_table(self.follower) == digest_table(self.table)

    @rule(start=st.integers(0, 1 << 30), n=st.integers(1, 200))
    def snapshot(self, start: int, n: int) -> None:
        whole, taken = save_table(self.table), TableSnapshot(self.table)
        self.insert_many(start, n, 60)
        assert b"".join(taken.pieces()) == whole

    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.naive, self.now = NaiveTable(self.config), 1000
        self.follower = EmbeddingTable(self.config)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "table"):
            return
        check_equal(self.table, self.naive)
        asked = [(k, f) for k in (*KEYS[:12], 1 << 30) for f in range(3)]
        vectors, own = self.table.lookup(
            np.array([k for k, _ in asked], dtype=np.uint64), np.array([f for _, f in asked])
        )
        for i, (k, f) in enumerate(asked):
            vector, mine = self.naive.lookup(k, f)
            assert own[i] == mine
            assert vectors[i, : len(vector)].tolist() == [float(number) for number in vector]
            assert not vectors[i, len(vector) :].any()


TestTable = TableMachine.TestCase
TestTable.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=True
)
