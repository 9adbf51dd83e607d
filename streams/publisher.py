"""From committed states to views: a host's publisher reads what learners commit, wherever they run.

It follows the store by shard and sequence number, adds shards up in partition order, derives what
ranking reads and publishes it. Nothing uncommitted is served, and a fenced learner's work never
comes here.
"""

from __future__ import annotations

import logging
import operator
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import SnapshotError
from engine.policy import Policy, Posterior
from engine.state import State
from streams.config import EngineConfig
from streams.counts import add_counts
from streams.errors import StoreError
from streams.log.base import EVENTS, OUTCOMES
from streams.merging import gather_states
from streams.positions import Bodies, Position, Tail
from streams.states import build_policies
from streams.store import Store
from streams.views import ViewWriter

__all__ = ["Published", "Publisher"]

logger = logging.getLogger(__name__)

Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A view that was published: what it includes, and how long it took to make."""

    version: int
    offsets: Mapping[int, int]
    clocks: Mapping[int, int]
    seconds: float


@dataclass
class _Shard:
    """A shard as committed, and what changed in it since the last view."""

    position: Position
    states: dict[str, State]
    policies: dict[str, Policy]

    @classmethod
    def of(cls, position: Position, base: Bodies, deltas: Sequence[Bodies]) -> _Shard:
        policies = build_policies(position.config)
        states = {
            name: policy.load(base[name]) if name in base else policy.init()
            for name, policy in policies.items()
        }
        shard = cls(position, states, policies)
        shard.put(position, deltas)
        return shard

    def put(self, position: Position, deltas: Sequence[Bodies]) -> dict[str, dict[str, None]]:
        """Write deltas that lead to ``position`` over the states; returns items touched by policy.

        Where settings changed and no base came with them, no policy's state did.
        """
        if position.config == self.position.config:
            position = replace(position, config=self.position.config)  # its hash is known
        else:
            self.policies = build_policies(position.config)
        self.position = position
        touched: dict[str, dict[str, None]] = {}
        for bodies in deltas:
            for name, body in bodies.items():
                if name in self.states:
                    items = self.states[name].put_bytes(body)
                    touched.setdefault(name, {}).update(dict.fromkeys(items))
        for name, policy in self.policies.items():
            policy.decay(self.states[name], position.clock)  # of those without a delta too
        return touched


@dataclass
class _Made:
    """A posterior, the whole it was derived from, and the shards' states that add up to it."""

    posterior: Posterior
    whole: State
    landmark: int
    states: list[State]

    def follows(self, states: list[State], items: list[str], *, pooled: bool) -> bool:
        """Bring the whole up to the shards' states; False when that takes more than some rows.

        A ``pooled`` model adds up over items in the order of their rows, which for an item that
        is new to the whole is not that of shards added up.
        """
        same = len(states) == len(self.states) and all(map(operator.is_, states, self.states))
        if not same or any(state.landmark != self.landmark for state in states):
            return False
        if len(states) == 1:
            return True
        if self.whole.parts or (pooled and np.any(self.whole.rows(items) < 0)):
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
    watch
        Told of every view.
    """

    def __init__(
        self,
        store: Store,
        views: ViewWriter,
        config: EngineConfig,
        *,
        watch: Callable[[Published], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._views = views
        self._config = config
        self._watch = watch
        self._shards: dict[Key, _Shard] = {}
        self._made: dict[str, _Made] = {}
        self._touched: dict[str, dict[str, None]] = {}
        self._shown: EngineConfig | None = None
        self._policies: dict[str, Policy] = {}
        self._pending = False

    def refresh(self) -> int | None:
        """Publish a view when anything was committed since the last; returns its version.

        Raises
        ------
        StoreError
            When the store cannot be read or the view not be written; calling again tries again.
        """
        start = time.monotonic()
        seen = {key: shard.position.seq for key, shard in self._shards.items()}
        for tail in self._store.tail(seen):
            self._take(tail)
        if not self._pending or not self._of(EVENTS):
            return None
        config = self._choose_config()
        if config is not self._shown:
            self._made, self._shown = {}, config
            self._policies = build_policies(config)
        posteriors = {name: self._derive(name, policy) for name, policy in self._policies.items()}
        self._touched = {}
        events = self._of(EVENTS)
        offsets = {shard.position.partition: shard.position.next_offset for shard in events}
        clocks = {shard.position.partition: shard.position.clock for shard in events}
        version = self._views.publish(
            offsets=offsets,
            clocks=clocks,
            policies=posteriors,
            config=config,
            counts=add_counts(shard.position.counts for shard in self._shards.values()),
        )
        seconds = time.monotonic() - start
        self._watch(Published(version=version, offsets=offsets, clocks=clocks, seconds=seconds))
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
        told = sum(len(body) for bodies in tail.deltas for body in bodies.values())
        self._views.tables.check_room(told)
        try:
            self._put(key, tail)
        except (SnapshotError, StoreError) as error:
            self._shards.pop(key, None)  # half of it may be there: it is read from a base next
            raise StoreError(f"what was committed of {key[0]}-{key[1]}: {error}") from error

    def _put(self, key: Key, tail: Tail) -> None:
        shard = self._shards.get(key)
        self._pending = True
        if tail.base is not None or shard is None:
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

    def _derive(self, name: str, policy: Policy) -> Posterior:
        states = self._states(name, policy)
        made, items = self._made.get(name), list(self._touched.get(name, {}))
        pooled = policy.model.traits.pooled
        if made is not None and made.follows(states, items, pooled=pooled):
            made.posterior = policy.refresh(made.posterior, made.whole, items)
            return made.posterior
        whole = states[0] if len(states) == 1 else policy.merge(states)
        self._made[name] = _Made(policy.derive(whole), whole, whole.landmark, states)
        return self._made[name].posterior

    def _states(self, name: str, policy: Policy) -> list[State]:
        """States of the shards that hold a policy, in partition order."""
        events = self._of(EVENTS)
        apart = any(shard.position.partitions > 1 for shard in events)
        return gather_states(name, policy, events, self._of(OUTCOMES), apart=apart)


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
