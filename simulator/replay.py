"""A log through the learner again: our own to the bit, a foreign one by rejection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.batches import Floats, Outcomes
from engine.errors import ConfigError
from engine.registry import make_policy
from simulator.logs import Progress, SlateLog
from simulator.own_log import open_log
from simulator.readers import read_log
from simulator.targets import score_rows
from streams.config import EngineConfig, PolicyConfig
from streams.log.base import EVENTS, EventLog
from streams.shard import replay_log

__all__ = ["PolicyReplay", "Replay", "reject_and_learn", "replay", "replay_events"]

NORMAL_95 = 1.959963984540054
BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReplay:
    """What a policy learned from a log.

    For our own log every outcome is learned and ``state_hash`` tells the state. For a foreign log
    only accepted rows are: ``acceptance`` is their share and ``mean_reward`` (with standard error
    and 95 % interval) their mean; None when none was accepted.
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
class Replay:
    """All policies replayed, and the log's conservation count when it has one."""

    source: str
    format: str
    state_hash: str | None
    next_offset: int
    conservation: dict[str, object] | None
    policies: list[PolicyReplay]


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
        log = open_log(Path(path))
        try:
            return replay_events(log, specs, source=str(path), progress=progress)
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
    end = log.end(EVENTS)
    report = None if progress is None else lambda done: progress(done, end)
    own = replay_log(log, progress=report)
    found = []
    for spec in specs or own.states:
        learned = own
        if spec not in own.states:
            learned = replay_log(log, _only(own.config, spec), progress=report)
        state, rows = learned.states[spec], learned.outcomes.get(spec, 0)
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
    return Replay(
        source=source,
        format="events",
        state_hash=own.hash,
        next_offset=own.next_offset,
        conservation={"exact": own.counts.exact, "counts": own.counts.to_dict()},
        policies=found,
    )


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
