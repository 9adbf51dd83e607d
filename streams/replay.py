"""A whole log learned anew: every shard of it, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass

from engine.policy import Policy
from engine.state import State
from streams.config import EngineConfig
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.merging import gather_states
from streams.outcome_shard import OutcomeShard
from streams.shard import Replayed, replay_log

__all__ = ["ReplayedAll", "replay_all", "replay_outcomes"]

BATCH = 10_000


@dataclass(frozen=True, kw_only=True)
class ReplayedAll:
    """What folding every partition gives.

    Attributes
    ----------
    shards
        By topic and partition: each has the live shard's hash.
    config
        Settings of the partition of `EVENTS` whose clock is ahead.
    states
        Of each policy there: its shards added up in partition order.
    """

    shards: dict[tuple[str, int], Replayed]
    config: EngineConfig
    policies: dict[str, Policy]
    states: dict[str, State]


def replay_outcomes(log: EventLog, *, partition: int = 0, limit: int = BATCH) -> Replayed:
    """Fold a partition of `OUTCOMES` in one pass: to its live state, bit for bit.

    Raises
    ------
    LogError
        When the log cannot be read.
    RefusedError
        When outcomes are missing between two records of a source.
    """
    shard = OutcomeShard(begin=log.begin(OUTCOMES, partition))
    while records := log.poll(OUTCOMES, shard.next_offset, limit, partition):
        shard.fold(records)
        shard.mark_committed()
    return Replayed.of(shard)


def replay_all(log: EventLog, *, limit: int = BATCH) -> ReplayedAll:
    """Fold every partition of `EVENTS` and `OUTCOMES`, and add the shards up.

    With one partition of `EVENTS` this is `replay_log`.

    Raises
    ------
    LogError
        When the log cannot be read.
    RefusedError
        When outcomes are missing between two records of a source.
    """
    partitions = log.partitions(EVENTS)
    events = [replay_log(log, partition=p, limit=limit) for p in range(partitions)]
    outcomes = []
    if partitions > 1:
        learned = range(log.partitions(OUTCOMES))
        outcomes = [replay_outcomes(log, partition=p, limit=limit) for p in learned]
    ahead = max(events, key=lambda shard: shard.clock)
    states = {}
    for name, policy in ahead.policies.items():
        parts = gather_states(name, policy, events, outcomes, apart=partitions > 1)
        states[name] = parts[0] if len(parts) == 1 else policy.merge(parts)
    return ReplayedAll(
        shards={(EVENTS, p): shard for p, shard in enumerate(events)}
        | {(OUTCOMES, p): shard for p, shard in enumerate(outcomes)},
        config=ahead.config,
        policies=ahead.policies,
        states=states,
    )
