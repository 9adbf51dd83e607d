"""Run a policy in a seeded world: decide, be rewarded, learn, one visit at a time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.batches import (
    Candidates,
    Flags,
    Floats,
    Ints,
    Keys,
    Outcomes,
    Requests,
    Slates,
    hash_key,
)
from engine.errors import ConfigError
from engine.policy import Policy
from engine.registry import make_policy
from simulator.logs import Progress
from simulator.worlds.base import LateWorld, Visit, World
from simulator.worlds.changes import Delayed, Drifting
from simulator.worlds.clicks import Cascade, PositionBiased
from simulator.worlds.cold_start import ColdStart
from simulator.worlds.linear import Gaussian, OneHot
from simulator.worlds.logistic import Logistic
from simulator.worlds.multiclass import Multiclass, read_table
from simulator.worlds.shop import Shop

__all__ = ["Run", "Simulation", "make_world", "play", "simulate", "world_names"]

STEP = 500
WORLDS: dict[str, Callable[[int], World]] = {
    "gaussian": lambda seed: Gaussian(seed=seed),
    "one-hot": lambda seed: OneHot(seed=seed),
    "logistic": lambda seed: Logistic(seed=seed),
    "drifting": lambda seed: Drifting(Logistic(seed=seed)),
    "delayed": lambda seed: Delayed(Logistic(seed=seed), seed=seed),
    "cold-start": lambda seed: ColdStart(seed=seed),
    "position-biased": lambda seed: PositionBiased(seed=seed),
    "cascade": lambda seed: Cascade(seed=seed),
    "shop": lambda seed: Shop(seed=seed),
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened in every round, each ``(rounds,)``; see `Simulation`."""

    reward: Floats  # earned by the slate
    expected: Floats  # what it was expected to earn
    regret: Floats  # what the best slate was expected to earn more
    right: Flags  # whether the first slot held the best item
    greedy: Flags  # whether the highest mean did


def world_names() -> list[str]:
    """Every name `make_world` knows."""
    return ["multiclass", *WORLDS]


def make_world(
    name: str,
    *,
    seed: int,
    data: str | Path | None = None,
    label: str | None = None,
    quadratic: bool = False,
) -> World:
    """Build a world by name.

    ``multiclass`` needs ``data``, a CSV, and its ``label`` column; ``quadratic`` adds squares and
    products of its features.
    """
    if name not in world_names():
        raise ConfigError(f"world {name!r} is unknown; give one of {', '.join(world_names())}")
    if name == "multiclass":
        if data is None or label is None:
            raise ConfigError("world 'multiclass' needs --data FILE and --label COLUMN")
        return Multiclass(*read_table(Path(data), label), seed=seed, quadratic=quadratic)
    if data is not None or label is not None or quadratic:
        raise ConfigError(
            "--data, --label and --quadratic are of world 'multiclass'; leave them out"
        )
    return WORLDS[name](seed)


def simulate(
    world: World, spec: str, *, rounds: int, seed: int = 0, progress: Progress | None = None
) -> Simulation:
    """Run a policy in a world it has not visited yet, and tell how it did.

    Raises
    ------
    ConfigError
        When the policy is unknown or ``rounds`` is below 1.
    """
    started = time.perf_counter()
    run = play(world, spec, rounds=rounds, seed=seed, progress=progress)
    elapsed = time.perf_counter() - started
    last = slice(rounds - max(rounds // 10, 1), rounds)
    full = world.first_pass is not None and rounds >= world.first_pass
    first = slice((world.first_pass or 0) // 2, world.first_pass)
    return Simulation(
        policy=spec,
        rounds=rounds,
        mean_reward=float(run.reward.mean()),
        regret=float(run.regret.sum()),
        accuracy_last_tenth=float(run.right[last].mean()),
        accuracy_first_pass=float(run.right[first].mean()) if full else None,
        greedy_accuracy_last_tenth=float(run.greedy[last].mean()),
        greedy_accuracy_first_pass=float(run.greedy[first].mean()) if full else None,
        rounds_per_second=rounds / elapsed,
    )


def play(
    world: World, spec: str, *, rounds: int, seed: int = 0, progress: Progress | None = None
) -> Run:
    """Run a policy in a world it has not visited yet; raises as `simulate` does."""
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; give 1 or more")
    learner = _Learner(world, make_policy(spec, schema=world.schema, seed=seed))
    delay = world.delay if isinstance(world, LateWorld) else None
    reward, expected, regret = np.zeros(rounds), np.zeros(rounds), np.zeros(rounds)
    right, greedy = np.zeros(rounds, dtype=np.bool_), np.zeros(rounds, dtype=np.bool_)
    waiting: list[tuple[int, int, Outcomes]] = []  # (visit before which it is told, its visit, …)
    for t in range(rounds):
        while waiting and waiting[0][0] <= t:
            learner.learn(heapq.heappop(waiting)[2])
        visit = world.visit(t)
        slates, favourite = learner.decide(t, visit)
        picks = slates.picks[0]
        earned = world.rewards(t, visit, picks)
        told = t + 1 + (delay(t) if delay else 0)
        heapq.heappush(waiting, (told, t, learner.outcomes(visit, slates, earned)))
        best = _best(visit, len(picks))
        reward[t] = earned.sum()
        expected[t] = world.expected(visit, picks)
        regret[t] = world.expected(visit, best) - expected[t]
        right[t] = visit.truth[picks[0]] >= visit.truth[best[0]]
        greedy[t] = visit.truth[favourite] >= visit.truth[best[0]]
        if progress is not None and t % STEP == 0:
            progress(t, rounds)
    if progress is not None:
        progress(rounds, rounds)
    return Run(reward=reward, expected=expected, regret=regret, right=right, greedy=greedy)


def _best(visit: Visit, k: int) -> Ints:
    return np.argsort(-visit.truth, kind="stable")[:k]


class _Learner:
    """A policy, its state and its posterior, in one world."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world, self._policy = world, policy
        self._state = policy.init()
        self._posterior = policy.derive(self._state)
        self._keys = np.array([hash_key(item_id) for item_id in world.item_ids], dtype=np.uint64)
        self._items: Ints | None = None
        self._candidates = Candidates(item_ids=(), keys=self._keys[:0], rows=np.empty(0, np.int64))
        self._known = -1

    def decide(self, t: int, visit: Visit) -> tuple[Slates, int]:
        """One slate, and the candidate with the highest mean."""
        if visit.candidates is not self._items or len(self._posterior.item_ids) != self._known:
            self._look_up(visit)
        requests = Requests(
            x=visit.x,
            keys=_visit_key(t),
            offsets=np.array([0, len(visit.candidates)]),
            item_keys=self._candidates.keys,
            rows=self._candidates.rows,
            z=self._candidates.z,
        )
        slates = self._policy.rank(self._posterior, requests, self._world.slots)
        favourite = int(slates.picks[0, 0])
        if not slates.greedy[0, 0]:
            means = self._policy.believe(self._posterior, requests).mean
            favourite = int(np.argmax(means))
        return slates, favourite

    def outcomes(self, visit: Visit, slates: Slates, reward: Floats) -> Outcomes:
        """What is learned of a visit once its rewards are told: every slot."""
        picks, k = slates.picks[0], len(reward)
        return Outcomes(
            item_ids=[self._candidates.item_ids[pick] for pick in picks],
            x=np.repeat(visit.x, k, axis=0),
            reward=reward,
            weight=np.ones(k),
            time_ms=np.full(k, visit.time_ms, dtype=np.int64),
            z=self._candidates.z[picks],
            propensity=slates.unbiased[0],
            slot=np.arange(k),
            last=np.full(k, np.flatnonzero(reward).max(initial=-1)),
            slate=np.zeros(k, dtype=np.int64),
        )

    def learn(self, outcomes: Outcomes) -> None:
        """Learn what was told."""
        self._posterior = self._policy.learn(self._state, self._posterior, outcomes)

    def _look_up(self, visit: Visit) -> None:
        self._items, self._known = visit.candidates, len(self._posterior.item_ids)
        item_ids = [self._world.item_ids[item] for item in visit.candidates]
        self._candidates = Candidates.of(
            self._posterior, item_ids, self._keys[visit.candidates], visit.z
        )


def _visit_key(t: int) -> Keys:
    return np.array([hash_key(f"visit-{t}")], dtype=np.uint64)
