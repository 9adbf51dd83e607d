"""A shop: visitors with tastes, clicks that depend on position, new items that arrive.

A visitor looks at slot l with probability ``(1 + l) ** -bias`` and then clicks an item with
probability ``sigmoid(appeal + taste · style)``. Policies see the visitor's device, hour and the
mood that tastes follow, never the taste itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.batches import Floats, Ints
from engine.features import Categorical, FeatureValue, Numeric, Schema
from simulator.worlds.base import Visit

__all__ = ["Shop", "Visitor"]

DEVICES = ("android", "ios", "web")
MOODS = 4
SCHEMA = Schema(
    features=(
        *(Numeric(name=f"mood_{i}", scale=1.0, clip=3.0) for i in range(MOODS)),
        Numeric(name="hour", center=12.0, scale=6.0),
        Categorical(name="device", values=DEVICES),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Someone who visits: what the policy may know of them, and what it may not."""

    user_id: str
    context: dict[str, FeatureValue]
    taste: Floats  # (MOODS,)


class Shop:
    """The seeded shop.

    Parameters
    ----------
    seed
        Everything follows from it.
    items
        How many there are at the start.
    arrivals
        How many more come, one every ``arrival_seconds``.
    slots
        Length of a slate.
    visitors
        How many different people come.
    bias
        How quickly attention falls with position.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        items: int = 24,
        arrivals: int = 40,
        arrival_seconds: float = 4.0,
        slots: int = 4,
        visitors: int = 2000,
        bias: float = 0.5,
    ) -> None:
        rng = np.random.default_rng([seed, 77])
        total = items + arrivals
        self.schema = SCHEMA
        self.slots = slots
        self.first_pass: int | None = None
        self.item_ids = tuple(f"item-{i:03d}" for i in range(total))
        self._number = {item_id: i for i, item_id in enumerate(self.item_ids)}
        self._style = rng.normal(size=(total, MOODS))
        self._appeal = rng.normal(-2.6, 0.5, size=total)
        late = arrival_seconds * np.arange(1, arrivals + 1)
        self._arrival = np.concatenate([np.zeros(items), late])
        self._mood = rng.normal(size=(visitors, MOODS))
        self._quirk = 0.3 * rng.normal(size=(visitors, MOODS))
        self._device = rng.integers(0, len(DEVICES), size=visitors)
        self._look = (1.0 + np.arange(slots)) ** -bias
        self._rng = np.random.default_rng([seed, 78])
        self._present = np.arange(items)
        self._visitor: Visitor | None = None

    def visitor(self, number: int, hour: float) -> Visitor:
        """Visitor ``number`` (any whole number) at an hour of the day."""
        who = number % len(self._mood)
        mood = self._mood[who]
        context: dict[str, FeatureValue] = {
            f"mood_{i}": round(float(value), 3) for i, value in enumerate(mood)
        }
        context |= {"hour": hour, "device": DEVICES[self._device[who]]}
        return Visitor(
            user_id=f"visitor-{who}", context=context, taste=0.8 * mood + self._quirk[who]
        )

    def items_at(self, seconds: float) -> tuple[str, ...]:
        """Items in the shop at a time since its opening."""
        return self.item_ids[: int(np.searchsorted(self._arrival, seconds, side="right"))]

    def chances(self, visitor: Visitor, slate: Sequence[str]) -> Floats:
        """Chance of a click on each slot of a slate, ``(k,)``, attention included."""
        items = np.array([self._number[item_id] for item_id in slate])
        return np.asarray(self._attraction(visitor, items) * self._look[: len(items)])

    def clicks(self, visitor: Visitor, slate: Sequence[str], rng: np.random.Generator) -> list[int]:
        """Slots the visitor clicks."""
        return np.flatnonzero(rng.random(len(slate)) < self.chances(visitor, slate)).tolist()

    def visit(self, t: int) -> Visit:
        """Someone comes; a hundred visits are a second of the shop's time."""
        number = int(self._rng.integers(len(self._mood)))
        self._visitor = self.visitor(number, hour=float(t // 360_000 % 24))
        count = len(self.items_at(t / 100))
        if count != len(self._present):
            self._present = np.arange(count)
        truth = self._attraction(self._visitor, self._present) * self._look[0]
        x = self.schema.encode([self._visitor.context])
        return Visit(x, self._present, truth, t * 10)

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:  # noqa: ARG002
        """1 for every click."""
        return (self._rng.random(len(picks)) < self._expected(visit, picks)).astype(np.float64)

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Expected clicks of a slate."""
        return float(self._expected(visit, picks).sum())

    def _expected(self, visit: Visit, picks: Ints) -> Floats:
        return np.asarray(visit.truth[picks] / self._look[0] * self._look[: len(picks)])

    def _attraction(self, visitor: Visitor, items: Ints) -> Floats:
        logit = self._appeal[items] + self._style[items] @ visitor.taste
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))
