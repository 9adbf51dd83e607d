"""What other policies would have earned on a log, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.batches import Floats
from engine.estimators import Estimate, Thresholds, WeightedSums, judge
from simulator.health import LogHealth, check_log
from simulator.logs import Progress, SlateLog
from simulator.targets import TableTarget, Target, make_target

__all__ = ["Evaluation", "PolicyEvaluation", "evaluate", "weigh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEvaluation:
    """Estimates of one policy's mean reward a slate, with a verdict."""

    policy: str
    estimates: list[Estimate]
    verdict: str
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Health of the log, and one entry a policy."""

    log: LogHealth
    policies: list[PolicyEvaluation]


def evaluate(
    log: SlateLog,
    specs: Sequence[str],
    *,
    clip: float = 10.0,
    thresholds: Thresholds | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Estimate the value of policies on a log.

    Parameters
    ----------
    specs
        ``uniform``, ``table:FILE``, or a policy's ``name:key=value,…``, which learns from the
        log as it goes.
    clip
        Largest weight clipped IPS uses.
    thresholds
        What the verdicts are made by.

    Raises
    ------
    ConfigError
        When a policy is unknown or a table not valid.
    """
    health = check_log(log)
    targets = [(spec, make_target(spec, log)) for spec in specs]
    found = [_evaluate(log, health, *each, clip, thresholds, progress) for each in targets]
    return Evaluation(log=health, policies=found)


def weigh(log: SlateLog, target: Floats, *, clip: float = 10.0) -> WeightedSums:
    """Sum up a target's propensities ``(n, k)`` on a log, clustered by user where known.

    A pinned slot is filled alike under every policy: its weight is 1, its reward is left out.
    """
    sums = WeightedSums(log.items.shape[1], clip=clip)
    if len(log):
        ratio = np.where(log.pinned, 1.0, target * log.inverse)
        weight: Floats = np.cumprod(ratio, axis=1, dtype=np.float64)
        sums.add(weight, log.earned, sampling=log.sampling, shown=log.shown, cluster=log.users)
    return sums


def _evaluate(  # noqa: PLR0917
    log: SlateLog,
    health: LogHealth,
    spec: str,
    target: Target,
    clip: float,
    thresholds: Thresholds | None,
    progress: Progress | None,
) -> PolicyEvaluation:
    sums = weigh(log, target.propensities(log, progress), clip=clip)
    unsupported = target.unsupported(log) if isinstance(target, TableTarget) else 0.0
    verdict = judge(
        sums, deterministic=health.deterministic, unsupported=unsupported, thresholds=thresholds
    )
    for finding in health.findings:
        if finding.status == "fail":
            verdict.lower("caution", f"log check {finding.check!r} failed: {finding.detail}")
    return PolicyEvaluation(
        policy=spec,
        estimates=sums.estimates(),
        verdict=verdict.verdict,
        reasons=[*verdict.reasons, *target.notes, *_caveats(log)],
    )


def _caveats(log: SlateLog) -> list[str]:
    """What the intervals take for granted, and what the value leaves out."""
    told = []
    if log.format == "events":
        told.append(
            "intervals are by the delta method, which assumes a logging policy that had settled"
        )
    if log.pinned.any():
        share = log.pinned.sum() / max(int((log.items >= 0).sum()), 1)
        told.append(f"{share:.1%} of the slots were pinned by requests: their rewards are left out")
    return told
