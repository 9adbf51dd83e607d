"""A policy of ours that decides and learns through the public classes."""

from __future__ import annotations

import numpy as np

from benchmarks.contest import Contender
from benchmarks.workloads.learned import schema_of
from benchmarks.worlds import World
from engine.batches import Candidates, Ints, Outcomes, Requests
from engine.registry import make_policy

__all__ = ["Deciding", "batches"]


class Deciding:
    """A policy in a world: one event, or a batch, decided and then learned."""

    name = "slatestream"

    def __init__(self, spec: str, world: World) -> None:
        self.world = world
        self.policy = make_policy(spec, schema=schema_of(world.x.shape[1]))
        self.ids = [f"i{i}" for i in range(world.items)]
        self.state = self.policy.init()
        self.state.ensure_rows(self.ids)
        self.posterior = self.policy.derive(self.state)
        self.found = Candidates.of(self.posterior, self.ids)

    def decide(self, i: int) -> int:
        """Return the item shown in event i."""
        return int(self.decide_many(i, i + 1)[0])

    def learn(self, i: int, item: int) -> None:
        """Learn what an item earned in event i."""
        self.learn_many(i, i + 1, np.array([item]))

    def decide_many(self, start: int, stop: int) -> Ints:
        """Return the items shown in some events ``(stop - start,)``."""
        ids = [f"r{i}" for i in range(start, stop)]
        requests = Requests.of(self.world.x[start:stop], ids, [self.found] * len(ids))
        return self.policy.rank(self.posterior, requests, 1).picks[:, 0]

    def learn_many(self, start: int, stop: int, items: Ints) -> None:
        """Learn what items earned in some events."""
        outcomes = Outcomes(
            item_ids=[self.ids[item] for item in items],
            x=self.world.x[start:stop],
            reward=self.world.rewards[np.arange(start, stop), items],
            weight=np.ones(stop - start),
            time_ms=np.zeros(stop - start, dtype=np.int64),
        )
        self.posterior = self.policy.learn(self.state, self.posterior, outcomes)


def batches(deciding: Deciding, size: int) -> Contender:
    """Decide a batch, then learn it; the next call goes on with the world's events."""
    at = 0

    def call(_: object) -> None:
        nonlocal at
        stop = at + size
        deciding.learn_many(at, stop, deciding.decide_many(at, stop))
        at = stop if stop + size <= len(deciding.world.x) else 0

    return Contender(name="slatestream", units=size, call=call)
