"""From committed states to views: a host's publisher reads what learners commit, wherever they run.

It follows the store by shard and sequence number, adds shards up in partition order, derives what
ranking reads and publishes it. Nothing uncommitted is served, and a fenced learner's work never
comes here.
"""

from __future__ import annotations

import logging
import operator
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.policy import Policy, Posterior
from engine.state import State
from streams.align import align_state
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import StoreError
from streams.log.base import EVENTS, OUTCOMES
from streams.positions import Bodies, Position, Tail
from streams.store import Store
from streams.views import ViewWriter

__all__ = ["Publisher"]

logger = logging.getLogger(__name__)

Key = tuple[str, int]


@dataclass
class _Shard:
    """A shard as committed, and what changed in it since the last view."""

    position: Position
    states: dict[str, State]
    policies: dict[str, Policy]

    @classmethod
    def of(cls, position: Position, base: Bodies, deltas: Sequence[Bodies]) -> _Shard:
        policies = {name: each.build(name) for name, each in position.config.policies.items()}
        states = {
            name: policy.load(base[name]) if name in base else policy.init()
            for name, policy in policies.items()
        }
        shard = cls(position, states, policies)
        shard.put(position, deltas)
        return shard

    def put(self, position: Position, deltas: Sequence[Bodies]) -> dict[str, dict[str, None]]:
        """Write deltas over the states, up to a position; returns the items touched by policy."""
        self.position = position
        touched: dict[str, dict[str, None]] = {}
        for bodies in deltas:
            for name, body in bodies.items():
                if name in self.states:
                    items = self.states[name].put_bytes(body)
                    touched.setdefault(name, {}).update(dict.fromkeys(items))
        for name, policy in self.policies.items():  # also of those that no delta touched
            policy.decay(self.states[name], position.clock)
        return touched


@dataclass
class _Made:
    """A posterior, the whole it was derived from, and the shards' states that add up to it."""

    posterior: Posterior
    whole: State
    landmark: int
    states: list[State]

    def follows(self, states: list[State], items: list[str]) -> bool:
        """Bring the whole up to the shards' states; False when that takes more than some rows."""
        same = len(states) == len(self.states) and all(map(operator.is_, states, self.states))
        if not same or any(state.landmark != self.landmark for state in states):
            return False
        if len(states) == 1:
            return True
        if self.whole.parts:
            return False
        _add_rows(self.whole, states, items)
        return True


class Publisher:
    """Publishes views of everything a store holds.

    Parameters
    ----------
    config
        Today's settings: where they agree with what shards were learned under in all that state
        depends on, views carry them, so that exploration changes at once.
    """

    def __init__(self, store: Store, views: ViewWriter, config: EngineConfig) -> None:
        self._store = store
        self._views = views
        self._config = config
        self._shards: dict[Key, _Shard] = {}
        self._made: dict[str, _Made] = {}
        self._touched: dict[str, dict[str, None]] = {}
        self._shown: EngineConfig | None = None
        self._pending = False

    def refresh(self) -> int | None:
        """Publish a view when anything was committed since the last; returns its version.

        Raises
        ------
        StoreError
            When the store cannot be read or the view not be written; calling again tries again.
        """
        seen = {key: shard.position.seq for key, shard in self._shards.items()}
        for tail in self._store.tail(seen):
            self._take(tail)
        if not self._pending:
            return None
        config = self._choose_config()
        if config is not self._shown:
            self._made, self._shown = {}, config
        posteriors = {name: self._derive(name, config) for name in config.policies}
        self._touched = {}
        events = self._of(EVENTS)
        version = self._views.publish(
            offsets={shard.position.partition: shard.position.next_offset for shard in events},
            clocks={shard.position.partition: shard.position.clock for shard in events},
            policies=posteriors,
            config=config,
            counts=_add_counts(shard.position.counts for shard in events),
        )
        self._pending = False
        return version

    def run(self, stop: threading.Event, interval: float = 0.05) -> None:
        """Publish until ``stop`` is set, looking for commits every ``interval`` seconds."""
        failing = False
        while not stop.is_set():
            try:
                self.refresh()
                failing = False
            except StoreError as error:
                if not failing:
                    logger.warning("views wait: %s", error)
                failing = True
            stop.wait(1.0 if failing else interval)

    def _take(self, tail: Tail) -> None:
        key = (tail.position.topic, tail.position.partition)
        shard = self._shards.get(key)
        self._pending = True
        if tail.base is not None or shard is None or shard.position.config != tail.position.config:
            self._shards[key] = _Shard.of(tail.position, tail.base or {}, tail.deltas)
            self._made = {}
            return
        for name, items in shard.put(tail.position, tail.deltas).items():
            self._touched.setdefault(name, {}).update(items)

    def _of(self, topic: str) -> list[_Shard]:
        return [shard for (of, _), shard in sorted(self._shards.items()) if of == topic]

    def _choose_config(self) -> EngineConfig:
        known = [shard.position.config for shard in self._of(EVENTS)]
        if any(config.state_hash == self._config.state_hash for config in known):
            return self._config  # the same state, with today's exploration settings
        if not any(config.policies for config in known):
            return self._config  # nothing is learned, or was reset: serve what is believed at first
        return max(self._of(EVENTS), key=lambda shard: shard.position.clock).position.config

    def _derive(self, name: str, config: EngineConfig) -> Posterior:
        policy = config.policies[name].build(name)
        states = self._states(name, policy)
        made, items = self._made.get(name), list(self._touched.get(name, {}))
        if made is not None and made.follows(states, items):
            made.posterior = policy.refresh(made.posterior, made.whole, items)
            return made.posterior
        whole = states[0] if len(states) == 1 else policy.merge(states)
        self._made[name] = _Made(policy.derive(whole), whole, whole.landmark, states)
        return self._made[name].posterior

    def _states(self, name: str, policy: Policy) -> list[State]:
        """States of the shards that hold a policy, in partition order."""
        ordered = policy.model.traits.merging == "refused"
        owners = [shard for shard in self._of(OUTCOMES) if name in shard.states] if ordered else []
        shards = owners or [shard for shard in self._of(EVENTS) if name in shard.states]
        states = [align_state(policy, s.policies[name], s.states[name]) for s in shards]
        return states or [policy.init()]


def _add_rows(whole: State, states: Sequence[State], items: list[str]) -> None:
    """Write the sums of the named items, and those of none, anew into ``whole``."""
    sums = {name: np.zeros((len(items), *shape)) for name, shape in whole.shapes.items()}
    shared = {name: np.zeros_like(kept) for name, kept in whole.shared.items()}
    for state in states:
        rows = state.rows(items)
        known = rows >= 0
        for name, total in sums.items():
            total[known] += state.sums[name][rows[known]]
        for name, total in shared.items():
            np.add(total, state.shared[name], out=total)
    whole.put(items, sums)
    whole.put_shared(shared)


def _add_counts(counts: Iterable[Counts]) -> Counts:
    total: dict[str, dict[str, int]] = {}
    for each in counts:
        for kind, fates in each.to_dict().items():
            into = total.setdefault(kind, dict.fromkeys(fates, 0))
            for fate, n in fates.items():
                into[fate] += n
    return Counts(total)
