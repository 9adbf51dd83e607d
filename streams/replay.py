"""A whole log learned anew: every shard of it, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.policy import Policy
from engine.state import State
from streams.config import EngineConfig
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.merging import gather_states
from streams.outcome_shard import OutcomeShard
from streams.shard import Replayed, replay_log
from streams.states import build_policies, learns_in_order

__all__ = ["ReplayedAll", "replay_all", "replay_outcomes"]

BATCH = 10_000

Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class ReplayedAll:
    """What folding every partition gives.

    Attributes
    ----------
    shards
        By topic and partition: each has the live shard's hash.
    begins
        Offsets that they begin at.
    config
        Settings of the partition of `EVENTS` whose clock is ahead.
    states
        Of each policy there: its shards added up in partition order.
    """

    shards: dict[Key, Replayed]
    begins: dict[Key, int]
    config: EngineConfig
    policies: dict[str, Policy]
    states: dict[str, State]


def replay_outcomes(
    log: EventLog,
    *,
    partition: int = 0,
    limit: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Fold a partition of `OUTCOMES` in one pass: to its live state, bit for bit.

    ``progress`` is called with the offset reached after every batch.

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
        if progress is not None:
            progress(shard.next_offset)
    return Replayed.of(shard)


def replay_all(
    log: EventLog,
    config: EngineConfig | None = None,
    *,
    limit: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayedAll:
    """Fold every partition of `EVENTS` and `OUTCOMES`, and add the shards up.

    With one partition of `EVENTS` this is `replay_log`.

    Parameters
    ----------
    config
        Learn the events under these settings in place of the log's own.
    progress
        Called with how many offsets are behind, and how many there are.

    Raises
    ------
    ConfigError
        When a policy of ``config`` must learn in order, and there are several partitions.
    LogError
        When the log cannot be read.
    RefusedError
        When outcomes are missing between two records of a source.
    """
    partitions = log.partitions(EVENTS)
    topics = [EVENTS]
    if partitions > 1 and config is None:
        topics.append(OUTCOMES)
    if partitions > 1 and config is not None:
        _check_adds(config, partitions)
    steps = _Steps(log, topics, progress)
    found = {key: _fold(log, key, config, limit, steps.of(key)) for key in steps.begins}
    events = [shard for (topic, _), shard in found.items() if topic == EVENTS]
    outcomes = [shard for (topic, _), shard in found.items() if topic == OUTCOMES]
    ahead = max(events, key=lambda shard: shard.clock)
    states = {}
    for name, policy in ahead.policies.items():
        parts = gather_states(name, policy, events, outcomes, apart=partitions > 1)
        states[name] = parts[0] if len(parts) == 1 else policy.merge(parts)
    return ReplayedAll(
        shards=found,
        begins=steps.begins,
        config=ahead.config,
        policies=ahead.policies,
        states=states,
    )


class _Steps:
    """How far the fold of several partitions is, of all there is to fold."""

    def __init__(
        self, log: EventLog, topics: list[str], report: Callable[[int, int], None] | None
    ) -> None:
        keys = [(topic, p) for topic in topics for p in range(log.partitions(topic))]
        self.begins = {key: log.begin(*key) for key in keys}
        self._reached = dict(self.begins)
        self._total = sum(log.end(*key) - begin for key, begin in self.begins.items())
        self._report = report

    def of(self, key: Key) -> Callable[[int], None] | None:
        report = self._report
        if report is None:
            return None

        def reach(offset: int) -> None:
            self._reached[key] = offset
            done = sum(self._reached[each] - begin for each, begin in self.begins.items())
            report(done, self._total)

        return reach


def _fold(
    log: EventLog,
    key: Key,
    config: EngineConfig | None,
    limit: int,
    progress: Callable[[int], None] | None,
) -> Replayed:
    topic, partition = key
    if topic == OUTCOMES:
        return replay_outcomes(log, partition=partition, limit=limit, progress=progress)
    return replay_log(log, config, partition=partition, limit=limit, progress=progress)


def _check_adds(config: EngineConfig, partitions: int) -> None:
    for name, policy in build_policies(config).items():
        if learns_in_order(policy):
            raise ConfigError(
                f"policy {name!r} learns one outcome after another, and the log has {partitions} "
                "partitions without an order among them; give a policy whose model adds up"
            )
