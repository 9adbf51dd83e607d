"""Starting from a log: how much of yesterday's outcomes to believe.

A linear model that starts from a log has A₀ = λI + ρ XᵀX and b₀ = ρ Xᵀr. Sums are linear in the
outcomes' weights, so this is to learn the log with ρ times its weights: state stays a function of
a log, and the prior stays out of the sums. It holds for every model that takes weights.

A log was selected by another policy and may speak of another world, so a warm start can hurt. ρ is
chosen by prequential loss: how well live outcomes are predicted, each before it is learned. Source
of the choice: the hybrid reinforcement learning of Song et al. 2023 mixes logged and live data in
a fixed ratio; choosing the ratio by prequential loss (Dawid 1984) is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.batches import Candidates, Floats, Outcomes, Posterior, Requests
from engine.errors import ConfigError, ShapeError
from engine.policy import Policy
from engine.state import State

__all__ = ["WarmStart", "choose_weight", "warm_state"]

GRID = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
BLOCK = 100  # outcomes predicted from the same beliefs: fixed, so nothing else decides the result


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What each weight of the log would have lost on live outcomes.

    Attributes
    ----------
    rho
        The weight that lost least, the smallest of those that tie.
    grid
        Weights tried, ascending.
    losses
        Mean squared error of the predicted reward for each, weighted like the outcomes.
    """

    rho: float
    grid: tuple[float, ...]
    losses: tuple[float, ...]


def warm_state(policy: Policy, logged: Outcomes, rho: float) -> State:
    """Return a new state that has learned logged outcomes with ``rho`` times their weight.

    Raises ``ConfigError`` when rho is negative or not finite, or the model takes no weights.
    """
    _check(policy, (rho,))
    state = policy.init()
    if rho > 0 and len(logged.item_ids):
        policy.update(state, replace(logged, weight=rho * logged.weight))
    return state


def choose_weight(
    policy: Policy, logged: Outcomes, live: Outcomes, grid: Sequence[float] = GRID
) -> WarmStart:
    """Choose the weight of logged outcomes that predicts live ones best.

    Live outcomes are taken in order, in blocks of a fixed number: a block is predicted from the
    beliefs before it, then learned. The cost is that of learning both logs once for each weight.

    Raises
    ------
    ConfigError
        When the grid is empty or holds a weight that is negative or not finite, or the model
        takes no weights.
    ShapeError
        When there is no live outcome to choose by.
    """
    weights = tuple(sorted(set(grid)))
    _check(policy, weights)
    if not policy.examination.apply(live).item_ids:
        raise ShapeError("there are no live outcomes to choose a weight by; give some, in order")
    losses = tuple(_prequential_loss(policy, warm_state(policy, logged, w), live) for w in weights)
    return WarmStart(rho=weights[int(np.argmin(losses))], grid=weights, losses=losses)


def _prequential_loss(policy: Policy, state: State, live: Outcomes) -> float:
    posterior, lost, total = policy.derive(state), 0.0, 0.0
    for start in range(0, len(live.item_ids), BLOCK):
        block = live.take(slice(start, start + BLOCK))
        seen = policy.examination.apply(block)
        if seen.item_ids:
            error = seen.reward - seen.examination * _predict(policy, posterior, seen)
            lost += float(np.sum(seen.weight * error * error))
            total += float(np.sum(seen.weight))
        posterior = policy.learn(state, posterior, block)
    return lost / total


def _predict(policy: Policy, posterior: Posterior, outcomes: Outcomes) -> Floats:
    """Expected reward of every outcome's item in its own context, if looked at, ``(n,)``."""
    found = Candidates.of(posterior, outcomes.item_ids, z=outcomes.z)
    n = len(outcomes.item_ids)
    requests = Requests(
        x=np.ascontiguousarray(outcomes.x),
        keys=np.zeros(n, dtype=np.uint64),
        offsets=np.arange(n + 1),
        item_keys=found.keys,
        rows=found.rows,
        z=np.ascontiguousarray(found.z),
    )
    return policy.believe(posterior, requests).mean


def _check(policy: Policy, weights: tuple[float, ...]) -> None:
    if not policy.model.traits.weighs:
        raise ConfigError(
            f"policy {policy.name!r}: its model gives every outcome the same weight, so a log "
            "cannot count for a part; start it cold, or replay the log whole"
        )
    if not weights or not all(0 <= weight < np.inf for weight in weights):
        raise ConfigError(f"weights of the log are {weights}; give finite numbers, 0 or more")
