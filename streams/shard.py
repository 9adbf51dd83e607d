"""A shard: what one partition's log has taught every policy. A pure fold, live and in replay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.drift import RewardWatch
from engine.policy import Policy
from engine.state import State
from streams.agenda import JoinPoint, Remembered
from streams.align import align_state
from streams.columns import RecordSpans
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import StoreError
from streams.join import Joiner
from streams.log.base import EVENTS, EventLog, Record
from streams.log.batches import RecordBatch
from streams.scan import decode_columns

__all__ = ["Replayed", "Shard", "Snapshot", "replay_log"]

BATCH = 10_000


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything a shard is restored from: what a store gives back."""

    join_point: JoinPoint
    next_offset: int
    clock: int
    config: EngineConfig
    counts: Counts
    closed: Remembered
    states: Mapping[str, State]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What folding a whole log gives."""

    config: EngineConfig
    policies: dict[str, Policy]
    states: dict[str, State]
    counts: Counts
    outcomes: dict[str, int]  # slots learned, by policy
    hash: str
    next_offset: int


class Shard:
    """Joiner and the states its outcomes move.

    Parameters
    ----------
    config
        What is in force before the first record; control records change it.
    fixed
        Keep to ``config`` and pass over control records: to learn a log anew.

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
    """

    def __init__(self, config: EngineConfig | None = None, *, fixed: bool = False) -> None:
        self.config = config or EngineConfig()
        self.joiner = Joiner(JoinPoint(0, 0, self.config), fixed=fixed)
        self.policies: dict[str, Policy] = _build(self.config)
        self.states = {name: policy.init() for name, policy in self.policies.items()}
        self.outcomes: dict[str, int] = {}
        self.touched: dict[str, dict[str, None]] = {}
        self.rebuilt: set[str] = set()
        self.watches: dict[str, RewardWatch] = {}

    @classmethod
    def restore(cls, snapshot: Snapshot, poll: Callable[[int, int], Sequence[Record]]) -> Shard:
        """Rebuild the shard of a commit, reading its open requests again from the log.

        Parameters
        ----------
        poll
            Gives records ``[offset, offset + n)`` of the partition.

        Raises
        ------
        StoreError
            When the log does not hold what the commit was made of.
        """
        shard = cls(snapshot.config)
        shard.states = dict(snapshot.states)
        shard.joiner = Joiner(snapshot.join_point)
        shard.joiner.skip(snapshot.closed)
        while shard.joiner.next_offset < snapshot.next_offset:
            start = shard.joiner.next_offset
            spans = _spans(poll(start, min(BATCH, snapshot.next_offset - start)))
            # Where offsets have gaps, so many records may reach further.
            spans = spans.cut(0, int(np.searchsorted(spans.offset, snapshot.next_offset)))
            if not spans.n:
                raise StoreError(
                    f"the log ends at offset {start}, the stored state at "
                    f"{snapshot.next_offset}: records were lost. Learn anew from the log by "
                    "moving the state file away"
                )
            for _ in shard._join(spans):
                pass
        shard.joiner.resume(snapshot.counts, snapshot.closed)
        shard._check_restored(snapshot)
        return shard

    @property
    def next_offset(self) -> int:
        """Offset of the first record not folded in."""
        return self.joiner.next_offset

    @property
    def counts(self) -> Counts:
        """Fates of the records folded in."""
        return self.joiner.counts

    def fold(self, records: Sequence[Record]) -> None:
        """Take in records, in order. How they are cut into calls leaves no trace in state."""
        for _ in self._join(_spans(records)):
            self._learn()  # what closed at a control record was joined under the old settings
            self._reconfigure()
            self._forget()

    def mark_committed(self) -> None:
        """Forget what only the next commit needed."""
        self.touched, self.rebuilt = {}, set()
        self.joiner.mark_committed()

    def bodies(self, *, base: bool) -> dict[str, bytes]:
        """Save every policy's whole state (``base``), or only the rows touched."""
        if base:
            return {name: policy.save(self.states[name]) for name, policy in self.policies.items()}
        return {
            name: self.states[name].to_bytes(list(items)) for name, items in self.touched.items()
        }

    def settle(self) -> None:
        """Move every landmark to the clock, so that states are canonical to save or derive."""
        for name, policy in self.policies.items():
            policy.decay(self.states[name], self.joiner.clock)

    def hash(self) -> str:
        """Sha-256 over every policy's name, settings and state: equal for equal log prefixes."""
        self.settle()
        digest = hashlib.sha256()
        for name in sorted(self.policies):
            parts = (name, self.policies[name].state_hash, self.states[name].hash())
            digest.update("\0".join((*parts, "")).encode())
        return digest.hexdigest()

    def _join(self, spans: RecordSpans) -> Iterator[None]:
        """Let the joiner take in records, up to a control record at a time."""
        while spans.n:
            columns = decode_columns(self.joiner.plan, spans)
            self.joiner.add(columns)
            yield
            spans = spans.cut(columns.n, spans.n)

    def _reconfigure(self) -> None:
        if self.joiner.config is self.config:
            return
        before, self.config = self.policies, self.joiner.config
        self.policies = _build(self.config)
        states = {}
        for name, policy in self.policies.items():
            states[name] = align_state(policy, before.get(name), self.states.get(name))
            if states[name] is not self.states.get(name):
                self.rebuilt.add(name)
                self.touched.pop(name, None)
        self.rebuilt.update(self.states.keys() - states.keys())
        self.states = states

    def _forget(self) -> None:
        told = self.joiner.forgetting
        if told is None:
            return
        if told.halvings:
            self.states[told.policy].halve(told.halvings)
        else:
            self.states[told.policy] = self.policies[told.policy].init()
        self.rebuilt.add(told.policy)
        self.touched.pop(told.policy, None)
        if told.policy in self.watches:
            self.watches[told.policy].restart()

    def _learn(self) -> None:
        joined, self.joiner.outcomes = self.joiner.outcomes, []
        for name, outcomes, *_ in joined:
            self.policies[name].update(self.states[name], outcomes)
            self.outcomes[name] = self.outcomes.get(name, 0) + len(outcomes.item_ids)
            self.touched.setdefault(name, {}).update(dict.fromkeys(outcomes.item_ids))
            if name in self.watches:
                self.watches[name].update(outcomes.reward.tolist())

    def _check_restored(self, snapshot: Snapshot) -> None:
        joiner = self.joiner
        found = (joiner.clock, joiner.pending(), joiner.config == snapshot.config)
        stored = (snapshot.clock, snapshot.counts.pending, True)
        if found != stored:
            raise StoreError(
                f"folding the log again gives (clock, pending, same settings) {found}; stored "
                f"are {stored}: this is not the log the state was learned from. Learn anew by "
                "moving the state file away"
            )


def replay_log(
    log: EventLog,
    config: EngineConfig | None = None,
    *,
    partition: int = 0,
    limit: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Fold a whole partition in one pass: to its live state, bit for bit, under its own settings.

    Parameters
    ----------
    config
        Learn under these settings in place of the log's own.
    limit
        Records read at once.
    progress
        Called with the offset reached after every batch.

    Raises
    ------
    LogError
        When the log cannot be read.
    """
    shard = Shard(config, fixed=config is not None)
    while records := log.poll(EVENTS, shard.next_offset, limit, partition):
        shard.fold(records)
        shard.mark_committed()
        if progress is not None:
            progress(shard.next_offset)
    digest = shard.hash()
    return Replayed(
        config=shard.config,
        policies=shard.policies,
        states=shard.states,
        counts=shard.counts,
        outcomes=shard.outcomes,
        hash=digest,
        next_offset=shard.next_offset,
    )


def _spans(records: Sequence[Record]) -> RecordSpans:
    return records.spans if isinstance(records, RecordBatch) else RecordSpans.of(records)


def _build(config: EngineConfig) -> dict[str, Policy]:
    return {name: policy.build(name) for name, policy in config.policies.items()}
