"""factor: matrix factorisation of ten million ids, sixteen numbers each, one core.

Every event is a user, an item and whether she clicked; learning it moves both vectors and both
biases by row-wise Adagrad. The table is full before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from benchmarks.contest import Contender, Contest
from benchmarks.peers.factors import DIMENSION, biased_mf, rank_driver, rank_parsed
from engine.batches import Floats, Ints, Keys
from engine.embeddings.config import VectorConfig
from engine.embeddings.factors import FactorTable
from engine.kernels.random import mix_keys

__all__ = ["Filled", "contests"]

BATCH = 100_000
ZIPF = 1.1
SPREAD = 7_919  # makes neighbours in popularity no neighbours in the table


def contests(quick: bool) -> Iterator[Contest]:
    """Users and items drawn uniformly, so nearly every one is a cache miss; and by Zipf's law."""
    each, n = (50, 200) if quick else (5_000_000, 2_000_000)
    filled = Filled(each)
    for law in ("uniform", "Zipf"):
        user, item, click = draw_events(law, each, n)
        some = slice(0, n // 40)
        few = user[some], item[some], click[some]
        with ExitStack() as stack:
            driver = stack.enter_context(rank_driver(*few))
            yield Contest(
                mode="batched",
                unit="events",
                params=f"D={DIMENSION}, {2 * each:,} ids, {law}",
                ours=filled.contender(user, item, click),
                peers=(driver, rank_parsed(*few), biased_mf(*few)),
            )


def draw_events(law: str, each: int, n: int) -> tuple[Ints, Ints, Floats]:
    """Users and items, numbers below ``each``, and clicks ``(n,)``: always the same."""
    rng = np.random.default_rng(6)
    if law == "uniform":
        user, item = rng.integers(0, each, (2, n))
    else:
        # By its density: ranks to the power of -1.1, as far as there are ids.
        u = rng.random((2, n))
        power = 1.0 - ZIPF
        rank = (1.0 + u * ((each + 1.0) ** power - 1.0)) ** (1.0 / power) - 1.0
        user, item = (np.minimum(rank.astype(np.int64), each - 1) * SPREAD) % each
    return user, item, (rng.random(n) < 0.3).astype(float)


class Filled:
    """A table that holds every id, and learns batches of events."""

    def __init__(self, each: int) -> None:
        vector = VectorConfig(
            name="", dimension=DIMENSION, accumulator=0.1, bias_accumulator=1.0, scale=0.02
        )
        rows = max(2 * each, 100)
        self.table = FactorTable(("user", "item"), vector, "logistic", max_rows=rows)
        self.user = mix_keys(np.arange(1, each + 1, dtype=np.uint64))
        self.item = mix_keys(np.arange(each + 1, 2 * each + 1, dtype=np.uint64))
        self._learn(np.stack([self.user, self.item], axis=1), np.zeros(each))

    def contender(self, user: Ints, item: Ints, click: Floats) -> Contender:
        """Learn events, a batch at a time; keys are looked up before."""
        keys = np.stack([self.user[user], self.item[item]], axis=1)
        parts = [slice(at, at + BATCH) for at in range(0, len(keys), BATCH)]

        def call(_: object) -> None:
            for part in parts:
                self._learn(keys[part], click[part])

        return Contender(name="slatestream", units=len(keys), call=call)

    def _learn(self, keys: Keys, click: Floats) -> None:
        self.table.update(keys, click, np.zeros(len(keys), dtype=np.int64))
