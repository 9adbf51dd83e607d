"""What can happen to a world: its items swap places, or its rewards come late."""

from __future__ import annotations

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from simulator.worlds.base import Visit, World
from simulator.worlds.drawn import BLOCK, Drawn, DrawnWorld

__all__ = ["Delayed", "Drifting"]

SWAP, WAIT = 104, 105


class Drifting(DrawnWorld):
    """From visit ``swap_at`` on, every item has the rewards that another had before.

    Parameters
    ----------
    world
        The world that drifts.
    swap_at
        First visit after the swap; the items pass their rewards around one seeded circle, so
        that none keeps its own.
    """

    def __init__(self, world: DrawnWorld, *, swap_at: int = 5000) -> None:
        if swap_at < 1:
            raise ConfigError(f"swap_at is {swap_at}; give the number of a visit, 1 or more")
        if world.slots != 1 or world.schema.item_columns:
            raise ConfigError("only a world of one slot, without item features, can drift")
        super().__init__(world.schema, len(world.item_ids), seed=world.seed)
        self._world, self.swap_at = world, swap_at
        circle = np.random.default_rng([world.seed, SWAP]).permutation(len(self.item_ids))
        self.source = np.empty_like(circle)
        self.source[circle] = np.roll(circle, 1)

    def draw(self, first: int, rng: np.random.Generator) -> Drawn:
        """Draw the world's visits; columns of items are exchanged from the swap on."""
        x, truth, reward = self._world.draw(first, rng)
        at = min(max(self.swap_at - first, 0), BLOCK)
        for array in (truth, reward):
            array[at:] = array[at:, self.source]
        return Drawn(x, truth, reward)


class Delayed:
    """The rewards of a visit are told only a number of visits later.

    Parameters
    ----------
    world
        The world whose rewards come late.
    mean_delay
        Visits that come between on average; each wait is geometric, so outcomes overtake each
        other. 0: none.
    seed
        Of the waits.
    """

    def __init__(self, world: World, *, mean_delay: float = 200.0, seed: int = 0) -> None:
        if not 0 <= mean_delay < np.inf:
            raise ConfigError(f"mean_delay is {mean_delay}; give a number of visits, 0 or more")
        self.schema, self.item_ids = world.schema, world.item_ids
        self.slots, self.first_pass = world.slots, world.first_pass
        self._world, self.mean_delay, self.seed = world, mean_delay, seed
        self._waits, self._number = np.empty(0, dtype=np.int64), -1

    def delay(self, t: int) -> int:
        """Visits that come between visit ``t`` and the telling of its rewards."""
        number = t // BLOCK
        if number != self._number:
            rng = np.random.default_rng([self.seed, WAIT, number])
            self._waits = rng.geometric(1.0 / (1.0 + self.mean_delay), size=BLOCK) - 1
            self._number = number
        return int(self._waits[t % BLOCK])

    def visit(self, t: int) -> Visit:
        """Return the world's visit number ``t``."""
        return self._world.visit(t)

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:
        """Rewards of a slate, whenever they are told."""
        return self._world.rewards(t, visit, picks)

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Sum of the slate's expected rewards."""
        return self._world.expected(visit, picks)
