"""A log through the learner again: our own to the bit, a foreign one by rejection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.batches import Floats, Outcomes
from engine.errors import ConfigError
from engine.registry import make_policy
from simulator.logs import Progress, SlateLog
from simulator.readers import read_log
from simulator.targets import score_rows
from streams.config import EngineConfig, PolicyConfig
from streams.counts import add_counts
from streams.log.base import EVENTS, EventLog
from streams.log.opening import name_log, read_log_as_of_now
from streams.replay import ReplayedAll, replay_all

__all__ = [
    "PolicyReplay",
    "Replay",
    "ShardReplay",
    "reject_and_learn",
    "replay",
    "replay_events",
]

NORMAL_95 = 1.959963984540054
BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReplay:
    """What a policy learned from a log.

    For our own log every outcome is learned and ``state_hash`` tells the state: all shards added
    up. For a foreign log only accepted rows are: ``acceptance`` is their share and
    ``mean_reward`` (with standard error and 95 % interval) their mean; None when none was
    accepted.
    """

    policy: str
    state_hash: str
    items: int
    rows: int
    accepted: int
    acceptance: float
    mean_reward: float | None = None
    se: float | None = None
    ci: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReplay:
    """A partition replayed, from offset ``begin`` to before ``next_offset``.

    ``state_hash`` is that of the learner that owns it, once it is as far.
    """

    topic: str
    partition: int
    begin: int
    next_offset: int
    state_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """All policies replayed, and the log's conservation count when it has one.

    ``state_hash`` and ``next_offset`` are those of the only shard, None when there are several;
    ``records`` is how many were read of the events, or rows of a foreign log.
    """

    source: str
    format: str
    state_hash: str | None
    next_offset: int | None
    records: int
    conservation: dict[str, object] | None
    policies: list[PolicyReplay]
    shards: list[ShardReplay] = field(default_factory=list)


def replay(
    path: str | Path,
    specs: Sequence[str] = (),
    *,
    format: str = "events",  # noqa: A002
    campaign: str = "all",
    behaviour: str = "random",
    seed: int = 0,
    progress: Progress | None = None,
) -> Replay:
    """Replay a log.

    Parameters
    ----------
    path
        As `simulator.readers.read_log` takes it.
    specs
        Policies to learn: for our own log names configured in it or specs, all that it
        configures when none is given; for a foreign log specs.
    seed
        Of the rejections.

    Raises
    ------
    SlatestreamError
        When the log or a policy cannot be used.
    """
    if format == "events":
        log = read_log_as_of_now(path)
        try:
            return replay_events(log, specs, source=name_log(path), progress=progress)
        finally:
            log.close()
    if not specs:
        raise ConfigError("a foreign log holds no policy of its own; give --policy")
    slates = read_log(path, format=format, campaign=campaign, behaviour=behaviour)
    return Replay(
        source=slates.source,
        format=format,
        state_hash=None,
        next_offset=len(slates),
        records=len(slates),
        conservation=None,
        policies=[reject_and_learn(slates, spec, seed=seed, progress=progress) for spec in specs],
    )


def replay_events(
    log: EventLog,
    specs: Sequence[str] = (),
    *,
    source: str = "log",
    progress: Progress | None = None,
) -> Replay:
    """Fold slatestream's own log: without specs, or with its own names, to the live state."""
    own = replay_all(log, progress=progress)
    found = []
    for spec in specs or own.states:
        learned = own
        if spec not in own.states:
            learned = replay_all(log, _only(own.config, spec), progress=progress)
        state = learned.states[spec]
        rows = sum(shard.outcomes.get(spec, 0) for shard in learned.shards.values())
        found.append(
            PolicyReplay(
                policy=spec,
                state_hash=state.hash(),
                items=len(state),
                rows=rows,
                accepted=rows,
                acceptance=1.0,
            )
        )
    shards = _shards(own)
    alone = shards[0] if len(shards) == 1 else None
    events = [shard.counts for (topic, _), shard in own.shards.items() if topic == EVENTS]
    counts = add_counts(events).to_dict()
    return Replay(
        source=source,
        format="events",
        state_hash=alone.state_hash if alone else None,
        next_offset=alone.next_offset if alone else None,
        records=sum(of_kind["consumed"] for of_kind in counts.values()),
        conservation={
            "exact": all(counts.exact for counts in events),
            "counts": counts,
        },
        policies=found,
        shards=shards,
    )


def _shards(own: ReplayedAll) -> list[ShardReplay]:
    return [
        ShardReplay(
            topic=topic,
            partition=partition,
            begin=own.begins[topic, partition],
            next_offset=shard.next_offset,
            state_hash=shard.hash,
        )
        for (topic, partition), shard in own.shards.items()
    ]


def _only(config: EngineConfig, spec: str) -> EngineConfig:
    """Return the log's settings with every recommender served by one other policy."""
    features = [policy.features for policy in config.policies.values()]
    richest = max(features, key=len, default=())
    recommenders = {
        name: replace(recommender, policy=spec) for name, recommender in config.recommenders.items()
    }
    policies = {spec: PolicyConfig(spec=spec, features=richest)}
    try:
        policies[spec].build(spec)
    except ConfigError as error:
        names = ", ".join(sorted(config.policies)) or "none"
        raise ConfigError(f"{error}; the log itself configures {names}") from error
    return EngineConfig(policies=policies, recommenders=recommenders)


def reject_and_learn(
    log: SlateLog, spec: str, *, seed: int = 0, progress: Progress | None = None
) -> PolicyReplay:
    """Let a policy learn from a foreign log as if it had chosen: by rejection sampling.

    A row is accepted with probability ``c π(a | x) / p(a | x)``, where c is the least logged
    propensity: accepted rows then are what the learning policy would have seen. For uniform logs
    it is the replay method of Li et al. 2011. Source: Dudík et al. 2012. Slates count as one
    row, by their first slot.
    """
    policy = make_policy(spec, schema=log.schema, seed=seed)
    state = policy.init()
    posterior = policy.derive(state)
    x = policy.schema.encode(log.contexts)
    least = float(log.propensity[:, 0].min(initial=1.0))
    chance = np.random.default_rng([seed, 5]).random(len(log))
    accepted: list[int] = []
    row = 0
    while row < len(log):
        rows = np.arange(row, min(row + BLOCK, len(log)))
        target = score_rows(policy, posterior, log, rows, x=x, length=1)[:, 0]
        taken = np.flatnonzero(chance[rows] < least * target / log.propensity[rows, 0])
        row = int(rows[-1]) + 1
        if len(taken):
            row = int(rows[taken[0]]) + 1
            accepted.append(row - 1)
            outcome = _outcome(log, x, row - 1, target[taken[:1]])
            posterior = policy.learn(state, posterior, outcome)
        if progress is not None:
            progress(row, len(log))
    return _summary(spec, state.hash(), len(state), len(log), log.reward[accepted, 0])


def _outcome(log: SlateLog, x: Floats, row: int, propensity: Floats) -> Outcomes:
    """What the policy would have learned had it chosen the row itself, with its propensity."""
    one = slice(row, row + 1)
    return Outcomes(
        item_ids=[log.item_ids[log.items[row, 0]]],
        x=x[one],
        reward=log.reward[one, 0].copy(),
        weight=log.sampling[one],
        time_ms=log.time_ms[one],
        z=log.z[one, 0],
        propensity=propensity,
        slot=log.position[one, 0],
        last=np.where(log.reward[one, 0] != 0, log.position[one, 0], -1),
    )


def _summary(spec: str, state_hash: str, items: int, rows: int, reward: Floats) -> PolicyReplay:
    n = len(reward)
    mean = float(reward.mean()) if n else None
    se = float(reward.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    ci = None
    if mean is not None and se is not None:
        ci = (mean - NORMAL_95 * se, mean + NORMAL_95 * se)
    return PolicyReplay(
        policy=spec,
        state_hash=state_hash,
        items=items,
        rows=rows,
        accepted=n,
        acceptance=n / rows if rows else 0.0,
        mean_reward=mean,
        se=se,
        ci=ci,
    )
