"""LinUCB in the Python libraries, one event a call, over each one's own form of a context.

All start from one outcome of every item: they spare items without outcomes some of the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.worlds import World

__all__ = ["Contextualbandits", "Mabwiser", "River"]


def _first(world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    items = np.arange(world.items)
    events = items % len(world.x)
    return world.x[events], items, world.rewards[events, items]


class Mabwiser:
    """MABWiser's LinUCB."""

    name = "MABWiser LinUCB"
    module = "mabwiser"

    def __init__(self, world: World, alpha: float) -> None:
        from mabwiser.mab import MAB, LearningPolicy  # noqa: PLC0415  (an optional extra)

        policy = LearningPolicy.LinUCB(alpha=alpha, l2_lambda=1.0)
        self.world, self.mab = world, MAB(list(range(world.items)), policy)
        x, items, rewards = _first(world)
        self.mab.fit(items, rewards, x)

    def decide(self, i: int) -> int:
        """Return the item with the highest bound."""
        return int(self.mab.predict(self.world.x[i : i + 1]))

    def learn(self, i: int, item: int) -> None:
        """Learn one event."""
        reward = float(self.world.rewards[i, item])
        self.mab.partial_fit([item], [reward], self.world.x[i : i + 1])

    def learn_many(self, x: np.ndarray, items: np.ndarray, rewards: np.ndarray) -> None:
        """Learn a batch."""
        self.mab.partial_fit(items, rewards, x)


class Contextualbandits:
    """LinUCB of contextualbandits."""

    name = "contextualbandits LinUCB"
    module = "contextualbandits"

    def __init__(self, world: World, alpha: float) -> None:
        from contextualbandits.online import LinUCB  # noqa: PLC0415  (an optional extra)

        self.world = world
        self.policy = LinUCB(
            world.items, alpha=alpha, lambda_=1.0, fit_intercept=False, random_state=1
        )
        self.learn_many(*_first(world))

    def decide(self, i: int) -> int:
        """Return the item with the highest bound."""
        return int(self.policy.predict(self.world.x[i : i + 1])[0])

    def learn(self, i: int, item: int) -> None:
        """Learn one event."""
        reward = self.world.rewards[i : i + 1, item]
        self.policy.partial_fit(self.world.x[i : i + 1], np.array([item]), reward)

    def learn_many(self, x: np.ndarray, items: np.ndarray, rewards: np.ndarray) -> None:
        """Learn a batch."""
        self.policy.partial_fit(x, items, rewards)


class River:
    """River's LinUCBDisjoint; its width is one standard deviation, whatever alpha is."""

    name = "river LinUCBDisjoint"
    module = "river"
    events = 2000  # contexts as dicts are large

    def __init__(self, world: World, alpha: float) -> None:
        del alpha
        from river import bandit  # noqa: PLC0415  (an optional extra)

        self.rewards, self.items = world.rewards, list(range(world.items))
        self.contexts: list[Any] = [dict(enumerate(row)) for row in world.x[: self.events].tolist()]
        self.policy: Any = bandit.LinUCBDisjoint(seed=1)
        for item in self.items:
            self.learn(item, item)

    def decide(self, i: int) -> int:
        """Return the item with the highest bound."""
        context = self.contexts[i % len(self.contexts)]
        return int(self.policy.pull(self.items, context=context))

    def learn(self, i: int, item: int) -> None:
        """Learn one event."""
        i %= len(self.contexts)
        self.policy.update(item, self.contexts[i], float(self.rewards[i, item]))
