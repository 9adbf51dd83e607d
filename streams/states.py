"""What a shard has learned: a state for every policy, and how outcomes and settings move it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from engine.batches import Outcomes
from engine.drift import RewardWatch
from engine.pieces import Pieces
from engine.policy import Policy
from streams.agenda import JoinPoint, Remembered
from streams.align import align_state
from streams.config import EngineConfig, Forgetting
from streams.counts import Counts
from streams.log.base import Record
from streams.requests import DeadLetter

__all__ = ["ShardStates", "build_policies", "learns_in_order"]


def build_policies(config: EngineConfig) -> dict[str, Policy]:
    """Make every policy; raises ``ConfigError`` when one cannot be made."""
    return {name: policy.build(name) for name, policy in config.policies.items()}


def learns_in_order(policy: Policy) -> bool:
    """Whether one owner must learn all of a policy: states of shards would mean nothing added."""
    return policy.model.traits.merging == "refused"


class ShardStates(ABC):
    """A shard as its owner sees it: it folds records, and is saved.

    Attributes
    ----------
    outcomes
        How many slots this object learned, by policy.
    touched
        Items learned from since `mark_committed`, by policy.
    rebuilt
        Policies whose state a control record replaced since then.
    watches
        What is told the rewards learned, by policy: no part of the state.
    point
        Called with the name of each point between two steps of a fold.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.policies = build_policies(config)
        self.states = {name: policy.init() for name, policy in self.policies.items()}
        self.outcomes: dict[str, int] = {}
        self.touched: dict[str, dict[str, None]] = {}
        self.rebuilt: set[str] = set()
        self.watches: dict[str, RewardWatch] = {}
        self.point: Callable[[str], None] = _nothing

    @property
    @abstractmethod
    def next_offset(self) -> int:
        """Offset of the first record not folded in."""

    @property
    @abstractmethod
    def clock(self) -> int:
        """The latest stamp so far, ms."""

    @property
    @abstractmethod
    def counts(self) -> Counts:
        """Fates of the records folded in."""

    @property
    @abstractmethod
    def dead(self) -> Sequence[DeadLetter]:
        """Records that could not be used, since `mark_committed`."""

    @property
    @abstractmethod
    def remembered(self) -> Remembered:
        """Requests closed since `mark_committed`."""

    @property
    @abstractmethod
    def next_deadline(self) -> int | None:
        """When (ms) something waits for the clock, None when nothing does."""

    @abstractmethod
    def join_point(self) -> JoinPoint:
        """Where to fold again from to find what is open now."""

    @abstractmethod
    def fold(self, records: Sequence[Record]) -> None:
        """Take in records, in order. How they are cut into calls leaves no trace in state."""

    def mark_committed(self) -> None:
        """Forget what only the next commit needed."""
        for state in self.states.values():
            state.mark_saved()
        self.touched, self.rebuilt = {}, set()

    def bodies(self, *, base: bool) -> dict[str, bytes]:
        """Save every policy's whole state (``base``), or only the rows touched."""
        if base:
            return {name: policy.save(self.states[name]) for name, policy in self.policies.items()}
        return {
            name: self.states[name].to_bytes(list(items)) for name, items in self.touched.items()
        }

    @property
    def largest(self) -> int:
        """Bytes of the largest part that `snapshot` leaves for later."""
        return max((state.largest for state in self.states.values()), default=0)

    def snapshot(self) -> dict[str, Pieces]:
        """Begin what `bodies` of a base are now; one at a time, after `mark_committed`."""
        policies = self.policies.items()
        return {name: policy.snapshot(self.states[name]) for name, policy in policies}

    def settle(self) -> None:
        """Move every landmark to the clock, so that states are canonical to save or derive."""
        for name, policy in self.policies.items():
            policy.decay(self.states[name], self.clock)

    def hash(self) -> str:
        """Sha-256 over every policy's name, settings and state: equal for equal log prefixes."""
        self.settle()
        digest = hashlib.sha256()
        for name in sorted(self.policies):
            parts = (name, self.policies[name].state_hash, self.states[name].hash())
            digest.update("\0".join((*parts, "")).encode())
        return digest.hexdigest()

    def _update(self, name: str, batch: Outcomes) -> None:
        self.policies[name].update(self.states[name], batch)
        self.outcomes[name] = self.outcomes.get(name, 0) + len(batch.item_ids)
        self.touched.setdefault(name, {}).update(dict.fromkeys(batch.item_ids))
        if name in self.watches:
            self.watches[name].update(batch.reward.tolist())

    def _reconfigure(self, config: EngineConfig) -> None:
        before, self.policies = self.policies, build_policies(config)
        self.config = config
        states = {}
        for name, policy in self.policies.items():
            states[name] = align_state(policy, before.get(name), self.states.get(name))
            if states[name] is not self.states.get(name):
                self.rebuilt.add(name)
                self.touched.pop(name, None)
        self.rebuilt.update(self.states.keys() - states.keys())
        self.states = states

    def _forget(self, told: Forgetting) -> None:
        if told.halvings:
            self.states[told.policy].halve(told.halvings)
        else:
            self.states[told.policy] = self.policies[told.policy].init()
        self.rebuilt.add(told.policy)
        self.touched.pop(told.policy, None)
        if told.policy in self.watches:
            self.watches[told.policy].restart()


def _nothing(_: str) -> None:
    return
