"""What a world is: visits with contexts and candidates, and the truth about every reward."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from engine.batches import Floats, Ints
from engine.features import Schema

__all__ = ["LateWorld", "Visit", "World"]


class Visit(NamedTuple):
    """One request in a world. Items are numbered by their place in ``World.item_ids``."""

    x: Floats  # (1, d), encoded by the world's schema
    candidates: Ints  # (m,) item numbers; the same object as long as the set is the same
    truth: Floats  # (m,) chance of a reward when shown first
    time_ms: int
    z: Floats | None = None  # (m, e) item rows of the candidates; None without item features


class World(Protocol):
    """A seeded world."""

    schema: Schema
    item_ids: tuple[str, ...]
    slots: int
    first_pass: int | None  # visits until the first repeats, None when none does

    def visit(self, t: int) -> Visit:
        """Visit number t; called once for each t, in order."""
        ...

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:
        """Rewards of a slate, ``(k,)``; picks are places in ``visit.candidates``."""
        ...

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Sum of the slate's expected rewards."""
        ...


@runtime_checkable
class LateWorld(World, Protocol):
    """A world whose rewards are told some visits later."""

    def delay(self, t: int) -> int:
        """Visits that come between visit t and the telling of its rewards; called once for each."""
        ...
