"""What a slate rule is: how a list is made of an exploration, slot by slot, pins included."""

from __future__ import annotations

import numpy as np

from engine.batches import Belief, Flags, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, Terms
from engine.features import Schema
from engine.models.base import Model
from engine.slates.pins import check_pins, draw_around, mark_places

__all__ = ["SlateRule", "check_floor", "draw_slotwise"]


class SlateRule:
    """How a list is made. Subclasses are frozen dataclasses of hyperparameters.

    ``floor`` is the probability mass of each slot shared evenly by the candidates left to it, so
    that none is impossible: with m left, each has probability ``floor / m`` or more.
    """

    floor: float

    def check(self, exploration: Exploration, model: Model, schema: Schema) -> None:
        """Raise ``ConfigError`` when the lists' propensities could not be stated."""
        exploration.check(model)
        if exploration.method(model) == "monte_carlo" and not self.floor:
            raise ConfigError(
                "sampled propensities may come out as 0 for what is shown; give a floor above 0"
            )

    def fill(
        self,
        exploration: Exploration,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        terms: Terms,
    ) -> Slates:
        """Fill columns of ``picks`` (-1: draw; else: taken as given), the first ``terms.slot``."""
        return exploration.draw(belief, requests, picks, terms)

    def narrow(
        self,
        belief: Belief,
        requests: Requests,
        free: Flags,
        shown: Ints,
        schema: Schema,
    ) -> tuple[Belief, Flags]:
        """Beliefs adjusted for the next slot, and which of the ``free`` candidates may fill it.

        ``shown`` ``(n, slot)`` holds the picks of the slots before. Called before each slot's
        draw, so propensities stay conditional probabilities.
        """
        return belief, free

    def draw(
        self,
        exploration: Exploration,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        seed: int,
        schema: Schema,
    ) -> Slates:
        """Fill ``picks`` (-1: draw; else: taken as given) and state each one's propensity."""
        if type(self).narrow is SlateRule.narrow:  # nothing comes between the slots
            terms = Terms(seed=seed, floor=self.floor)
            return self.fill(exploration, belief, requests, picks, terms)
        pins = np.full(picks.shape, -1, dtype=np.int64)
        return draw_slotwise(self, exploration, belief, requests, picks, pins, seed, schema)


def check_floor(floor: float) -> None:
    """Raise ``ConfigError`` when the floor is no probability."""
    if not 0 <= floor <= 1:
        raise ConfigError(f"floor is {floor}; give a probability, 0 to 1")


def draw_slotwise(
    rule: SlateRule,
    exploration: Exploration,
    belief: Belief,
    requests: Requests,
    picks: Ints,
    pins: Ints,
    seed: int,
    schema: Schema,
) -> Slates:
    """Fill a slate one slot after the other, each from the candidates the rule leaves to it.

    A pinned slot has one candidate, its pin, which no other slot has.
    """
    check_pins(requests, picks, pins)
    if not exploration.slotwise:

        def fill(belief: Belief, requests: Requests, picks: Ints) -> Slates:
            terms = Terms(seed=seed, floor=rule.floor)
            return rule.fill(exploration, belief, requests, picks, terms)

        return draw_around(fill, belief, requests, picks, pins)
    k = picks.shape[1]
    request = requests.of_candidate
    place = np.arange(len(request)) - requests.offsets[request]
    reserved = mark_places(requests, pins)
    free = ~reserved
    columns = []
    for slot in range(k):
        adjusted, eligible = rule.narrow(belief, requests, free, picks[:, :slot], schema)
        left = np.add.reduceat(eligible, requests.offsets[:-1], dtype=np.int64)
        # A rule that leaves nothing is lifted for that slot rather than shortening the slate.
        eligible = np.where(left[request] > 0, eligible, free)
        pinned = pins[:, slot] >= 0
        eligible = np.where(pinned[request], place == pins[request, slot], eligible)
        wanted = np.where(pinned, pins[:, slot], picks[:, slot])
        inside = np.cumsum(eligible) - 1
        sub = requests.only(eligible)
        at = requests.offsets[:-1] + np.maximum(wanted, 0)
        barred = (wanted >= 0) & ~eligible[at]
        column = np.where((wanted >= 0) & ~barred, inside[at] - sub.offsets[:-1], -1)[:, None]
        terms = Terms(seed=seed, floor=rule.floor, slot=slot)
        drawn = rule.fill(exploration, adjusted.only(eligible), sub, column, terms)
        original = np.flatnonzero(eligible)[sub.offsets[:-1] + drawn.picks[:, 0]]
        picks[:, slot] = np.where(barred, wanted, original - requests.offsets[:-1])
        # What the rule does not allow in this slot, the policy would never have shown there.
        for stated in (drawn.propensity, drawn.error, drawn.recurrence, drawn.greedy):
            stated[barred, 0] = 0
        free[requests.offsets[:-1] + picks[:, slot]] = False
        columns.append(drawn)
    return Slates(
        picks=picks,
        score=belief.mean[requests.offsets[:-1, None] + picks],
        propensity=np.concatenate([c.propensity for c in columns], axis=1),
        error=np.concatenate([c.error for c in columns], axis=1),
        method=columns[0].method,
        greedy=np.concatenate([c.greedy for c in columns], axis=1),
        pinned=pins >= 0,
        recurrence=np.concatenate([c.recurrence for c in columns], axis=1),
    )
