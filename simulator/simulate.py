"""Run a policy in a seeded world: decide, be rewarded, learn, one visit at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.batches import Candidates, Floats, Ints, Keys, Outcomes, Requests, hash_key
from engine.errors import ConfigError
from engine.policy import Policy
from engine.registry import make_policy
from simulator.logs import Progress
from simulator.worlds.base import Visit, World
from simulator.worlds.multiclass import Multiclass, read_table
from simulator.worlds.shop import Shop

__all__ = ["Simulation", "make_world", "simulate", "world_names"]

STEP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """How a policy did. Accuracies say how often the first slot held the best item.

    ``first_pass`` is the second half of the first pass over a table, where every row is new;
    None in a world without passes, or when the run ended before. ``greedy`` figures are those of
    the pick with the highest mean, whatever was served. ``regret`` is the sum over visits of what
    the best slate was expected to earn more than the one served.
    """

    policy: str
    rounds: int
    mean_reward: float
    regret: float
    accuracy_last_tenth: float
    accuracy_first_pass: float | None
    greedy_accuracy_last_tenth: float
    greedy_accuracy_first_pass: float | None
    rounds_per_second: float


def world_names() -> list[str]:
    """Every name `make_world` knows."""
    return ["multiclass", "shop"]


def make_world(
    name: str, *, seed: int, data: str | Path | None = None, label: str | None = None
) -> World:
    """Build a world by name; ``multiclass`` needs ``data``, a CSV, and its ``label`` column."""
    if name not in world_names():
        raise ConfigError(f"world {name!r} is unknown; give one of {', '.join(world_names())}")
    if name == "multiclass":
        if data is None or label is None:
            raise ConfigError("world 'multiclass' needs --data FILE and --label COLUMN")
        return Multiclass(*read_table(Path(data), label), seed=seed)
    if data is not None or label is not None:
        raise ConfigError("--data and --label are of world 'multiclass'; leave them out")
    return Shop(seed=seed)


def simulate(
    world: World, spec: str, *, rounds: int, seed: int = 0, progress: Progress | None = None
) -> Simulation:
    """Run a policy in a world it has not visited yet.

    Raises
    ------
    ConfigError
        When the policy is unknown or ``rounds`` is below 1.
    """
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; give 1 or more")
    run = _Run(world, make_policy(spec, schema=world.schema, seed=seed))
    reward, regret = np.zeros(rounds), np.zeros(rounds)
    right, greedy = np.zeros(rounds), np.zeros(rounds)
    started = time.perf_counter()
    for t in range(rounds):
        visit = world.visit(t)
        picks, propensity, favourite = run.decide(t, visit)
        earned = world.rewards(t, visit, picks)
        run.learn(visit, picks, propensity, earned)
        best = _best(visit, len(picks))
        reward[t] = earned.sum()
        regret[t] = world.expected(visit, best) - world.expected(visit, picks)
        right[t] = visit.truth[picks[0]] >= visit.truth[best[0]]
        greedy[t] = visit.truth[favourite] >= visit.truth[best[0]]
        if progress is not None and t % STEP == 0:
            progress(t, rounds)
    elapsed = time.perf_counter() - started
    if progress is not None:
        progress(rounds, rounds)
    last = slice(rounds - max(rounds // 10, 1), rounds)
    full = world.first_pass is not None and rounds >= world.first_pass
    first = slice((world.first_pass or 0) // 2, world.first_pass)
    return Simulation(
        policy=spec,
        rounds=rounds,
        mean_reward=float(reward.mean()),
        regret=float(regret.sum()),
        accuracy_last_tenth=float(right[last].mean()),
        accuracy_first_pass=float(right[first].mean()) if full else None,
        greedy_accuracy_last_tenth=float(greedy[last].mean()),
        greedy_accuracy_first_pass=float(greedy[first].mean()) if full else None,
        rounds_per_second=rounds / elapsed,
    )


def _best(visit: Visit, k: int) -> Ints:
    return np.argsort(-visit.truth, kind="stable")[:k]


class _Run:
    """A policy, its state and its posterior, in one world."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world, self._policy = world, policy
        self._state = policy.init()
        self._posterior = policy.derive(self._state)
        self._keys = np.array([hash_key(item_id) for item_id in world.item_ids], dtype=np.uint64)
        self._items: Ints | None = None
        self._candidates = Candidates(item_ids=(), keys=self._keys[:0], rows=np.empty(0, np.int64))
        self._known = -1
        self._weight = np.ones(world.slots)

    def decide(self, t: int, visit: Visit) -> tuple[Ints, Floats, int]:
        """Picks of a slate, their propensities, and the candidate with the highest mean."""
        if visit.candidates is not self._items or len(self._posterior.item_ids) != self._known:
            self._look_up(visit.candidates)
        requests = Requests(
            x=visit.x,
            keys=_visit_key(t),
            offsets=np.array([0, len(visit.candidates)]),
            item_keys=self._candidates.keys,
            rows=self._candidates.rows,
            z=_item_rows(visit),
        )
        slates = self._policy.rank(self._posterior, requests, self._world.slots)
        favourite = int(slates.picks[0, 0])
        if not slates.greedy[0, 0]:
            means = self._policy.believe(self._posterior, requests).mean
            favourite = int(np.argmax(means))
        # As in a log: the draws until a sampled pick came again, whose mean is 1 / probability.
        sampled = slates.recurrence[0] > 0
        drawn = np.maximum(slates.recurrence[0], 1)
        return slates.picks[0], np.where(sampled, 1.0 / drawn, slates.propensity[0]), favourite

    def learn(self, visit: Visit, picks: Ints, propensity: Floats, reward: Floats) -> None:
        """Learn every slot at once: in these worlds nothing is late."""
        item_ids = [self._candidates.item_ids[pick] for pick in picks]
        outcomes = Outcomes(
            item_ids=item_ids,
            x=np.repeat(visit.x, len(picks), axis=0),
            reward=reward,
            weight=self._weight[: len(picks)],
            time_ms=np.full(len(picks), visit.time_ms, dtype=np.int64),
            z=_item_rows(visit)[picks],
            propensity=propensity,
            slot=np.arange(len(picks)),
            last=np.full(len(picks), np.flatnonzero(reward).max(initial=-1)),
        )
        self._posterior = self._policy.learn(self._state, self._posterior, outcomes)

    def _look_up(self, items: Ints) -> None:
        self._items, self._known = items, len(self._posterior.item_ids)
        item_ids = [self._world.item_ids[item] for item in items]
        self._candidates = Candidates.of(self._posterior, item_ids, self._keys[items])


def _item_rows(visit: Visit) -> Floats:
    return np.empty((len(visit.candidates), 0)) if visit.z is None else visit.z


def _visit_key(t: int) -> Keys:
    return np.array([hash_key(f"visit-{t}")], dtype=np.uint64)
