"""Importance-weighted estimates of every item's reward: what Exp3 rests on.

Source: Auer, Cesa-Bianchi, Freund and Schapire 2002, "The nonstochastic multiarmed bandit
problem", algorithm Exp3: the reward seen is divided by the probability with which its item was
shown, and is 0 for every other item of that round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.features import Schema
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.state import State

__all__ = ["ImportanceWeighted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceWeighted(Model):
    """The mean reward of an item is Σ w r / p over the weight of all rounds, its own or not.

    Unbiased whatever policy chose, when it states its propensities: an item never shown is
    believed to earn 0, and with propensities not given (1) the mean is what an item added to a
    round, not what it earns when shown. ``mean · total`` of its `Belief` is the cumulated
    estimate.

    The paper shows one item a round. Here each slot of a slate is a round, among the items left
    to it; a slot looked at with chance q divides by q too, for its expected reward is q times
    the item's own.
    """

    @property
    def traits(self) -> Traits:
        """Means of rewards over propensities, without spread, from sums that add."""
        return Traits(family="mean", importance=True, reads_ids=True)

    def axes(self) -> Axes:
        """Sums by item: weight of its rounds, and of reward over propensity in them."""
        return Axes(items={"count": (), "estimate": ()})

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state."""
        chance = outcomes.propensity * outcomes.examination
        add_rows(state.sums["count"], rows, weight)
        add_rows(state.sums["estimate"], rows, weight * outcomes.reward / chance)

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return the cumulated estimate and count of every item, each ``(m,)``.

        What depends on the rounds of all items is left to `believe`.
        """
        return {name: values.copy() for name, values in sums.items()}

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean of every candidate, over the rounds of all items."""
        estimate = posterior.arrays["estimate"][requests.rows]
        rounds = posterior.total
        mean = estimate / rounds if rounds > 0.0 else np.zeros(len(estimate))
        return self.belief(posterior, requests, mean=mean)
