"""Bagged linear model: bootstrap replicas of ridge regression, one set an item.

Source: Oza and Russell 2001, "Online bagging and boosting"; for bandits Eckles and Kaptein 2014,
"Thompson sampling with the online bootstrap".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.bagged import (
    derive_replicas,
    draw_repeats,
    predict_replicas,
    update_replicas,
)
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.models.ridge import check_definite
from engine.state import State

__all__ = ["BaggedLinear", "bootstrap"]

MAX_REPLICAS = 1000


def bootstrap(outcomes: Outcomes, replicas: int, seed: int) -> Floats:
    """Return how often every replica learns every outcome, ``(n, R)``: Poisson(1) numbers.

    They are a hash of (seed, time, context row, replica): not of what was learned before, so
    replicas' sums add like any others, and not of the item, so renaming it changes nothing.
    Outcomes of one slate move together, as a bootstrap by request has it; so do requests with
    the same features in the same millisecond.
    """
    repeats = np.empty((len(outcomes.reward), replicas))
    bits = np.ascontiguousarray(outcomes.x + 0.0).view(np.uint64)  # -0 has the bits of 0 here
    draw_repeats(np.uint64(seed), np.ascontiguousarray(outcomes.time_ms), bits, repeats)
    return repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class BaggedLinear(Model):
    """Replica k of an item is ridge regression with weights w c, c its share of an outcome.

    Its weights are (ridge · d · I + Σ w c x xᵀ)⁻¹ Σ w c r x. The mean is that of the replicas and
    the spread their standard deviation, which is 0 for an item without outcomes: pair it with an
    exploration that tries the unseen, or with a floor.

    Parameters
    ----------
    replicas
        How many; each costs as much as a linear model.
    replica_seed
        Another seed draws other replicas; it is part of what the state depends on.
    """

    ridge: float = 0.01
    replicas: int = 10
    replica_seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ridge) and self.ridge > 0):
            raise ConfigError(f"ridge is {self.ridge}; give a number above 0")
        if not 2 <= self.replicas <= MAX_REPLICAS:
            raise ConfigError(f"replicas is {self.replicas}; give 2 to {MAX_REPLICAS}")
        if not 0 <= self.replica_seed < 2**63:
            raise ConfigError(f"replica_seed is {self.replica_seed}; give 0 to 2^63 - 1")

    @property
    def traits(self) -> Traits:
        """Replicas, from sums that add."""
        return Traits(family="mean", replicated=True)

    def axes(self) -> Axes:
        """Sums by item: outcomes, and by replica Σw c x xᵀ (packed) and Σw c r x."""
        r = self.replicas
        return Axes(items={"count": (), "gram": (r, "xx"), "moment": (r, "x")})

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums of every replica. Writes: state.

        With a chance q of being looked at, E[r] = q θᵀx: rows enter as q x.
        """
        sums = state.sums
        add_rows(sums["count"], rows, weight)
        update_replicas(
            sums["gram"],
            sums["moment"],
            rows,
            np.ascontiguousarray(outcomes.x * outcomes.examination[:, None]),
            np.ascontiguousarray(outcomes.reward),
            np.ascontiguousarray(weight),
            bootstrap(outcomes, self.replicas, self.replica_seed),
        )

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return θ of every replica ``(m, R, d)`` and count ``(m,)``."""
        theta = np.empty_like(sums["moment"])
        failed = derive_replicas(sums["gram"], sums["moment"], self.ridge * theta.shape[2], theta)
        check_definite(failed, "replicas")
        return {"theta": theta, "count": sums["count"].copy()}

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Predictions of every replica, their mean and their standard deviation."""
        replicas = np.empty((self.replicas, len(requests.rows)))
        predict_replicas(
            posterior.arrays["theta"], requests.x, requests.offsets, requests.rows, replicas
        )
        return self.belief(
            posterior,
            requests,
            mean=replicas.mean(axis=0),
            sd=replicas.std(axis=0),
            replicas=replicas,
        )
