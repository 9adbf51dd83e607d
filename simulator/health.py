"""Whether a log can carry an evaluation at all: asked before any estimate."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.logs import SlateLog

__all__ = ["Finding", "LogHealth", "check_log"]

CERTAIN = 0.999  # a propensity from which a choice counts as determined
LEVEL = 4.0  # standard errors by which a check that must hold on average may be off


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: ``pass``, ``warn`` or ``fail``, what was found, and where to look."""

    check: str
    status: str
    detail: str
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHealth:
    """All checks of a log, and its size."""

    source: str
    format: str
    slates: int
    slots: int
    items: int
    mean_reward: float | None
    deterministic: float
    status: str
    findings: list[Finding]
    excluded: dict[str, int]
    positions: list[int]


def check_log(log: SlateLog) -> LogHealth:
    """Check schema, duplicates, propensities, mean weight, support, determinism and maturity."""
    shown = log.items >= 0
    findings = [
        _check_schema(log),
        _check_duplicates(log),
        _check_propensities(log),
        _check_maturity(log),
    ]
    deterministic = 0.0
    if len(log):
        certain = (log.propensity >= CERTAIN)[log.chosen & (log.left > 1)]
        deterministic = float(certain.mean()) if len(certain) else 0.0
        findings += [
            _check_mean_weight(log),
            _check_items(log),
            _check_support(log),
            _check_determinism(deterministic),
        ]
    else:
        findings.append(Finding(check="size", status="fail", detail="no slate can be used"))
    order = ("pass", "warn", "fail")
    return LogHealth(
        source=log.source,
        format=log.format,
        slates=len(log),
        slots=int(shown.sum()),
        items=len(log.item_ids),
        mean_reward=float(np.average(log.earned.sum(axis=1), weights=log.sampling))
        if len(log)
        else None,
        deterministic=deterministic,
        status=max((finding.status for finding in findings), key=order.index),
        findings=findings,
        excluded=dict(log.excluded),
        positions=np.bincount(log.position[shown]).tolist() if len(log) else [],
    )


def _check_schema(log: SlateLog) -> Finding:
    bad = {
        reason: n
        for reason, n in log.excluded.items()
        if not reason.startswith(("reward window", "propensity"))
    }
    if not bad:
        return Finding(check="schema", status="pass", detail="every record could be read")
    share = sum(bad.values()) / max(sum(bad.values()) + len(log), 1)
    detail = "; ".join(f"{n} x {reason}" for reason, n in sorted(bad.items()))
    examples = [f"{reason}: {where}" for reason in bad for where in log.examples.get(reason, [])]
    return Finding(
        check="schema",
        status="fail" if share > 0.01 else "warn",
        detail=f"{detail} ({share:.2%} of all; left out)",
        examples=examples,
    )


def _check_duplicates(log: SlateLog) -> Finding:
    by_type = {kind: n["duplicate"] for kind, n in log.counts.items() if n.get("duplicate")}
    if log.format == "obd":
        seen = list(zip(log.time_ms, log.items[:, 0], log.position[:, 0], strict=True))
        again = len(seen) - len(set(seen))
        by_type = {"row": again} if again else {}
    if not by_type:
        return Finding(check="duplicates", status="pass", detail="no record stands twice")
    detail = ", ".join(f"{n} x {kind}" for kind, n in by_type.items())
    return Finding(check="duplicates", status="warn", detail=f"repeated: {detail}")


def _check_propensities(log: SlateLog) -> Finding:
    bad = {reason: n for reason, n in log.excluded.items() if reason.startswith("propensity")}
    if bad:
        reason, n = next(iter(bad.items()))
        return Finding(
            check="propensities",
            status="fail",
            detail=f"{n} x {reason}; those rows are left out",
            examples=log.examples.get(reason, []),
        )
    if not len(log):
        return Finding(check="propensities", status="warn", detail="none to check")
    low = float(log.propensity.min())
    return Finding(
        check="propensities", status="pass", detail=f"all in (0, 1], the least is {low:.3g}"
    )


def _check_maturity(log: SlateLog) -> Finding:
    waiting = sum(n for reason, n in log.excluded.items() if reason.startswith("reward window"))
    share = waiting / max(waiting + len(log), 1)
    return Finding(
        check="maturity",
        status="warn" if share > 0.1 else "pass",
        detail=f"{1 - share:.1%} of the slates have their final reward",
    )


def _check_mean_weight(log: SlateLog) -> Finding:
    """The mean weight of a uniform policy is 1 when the stated propensities are right."""
    weight = (log.inverse / log.left)[log.chosen]
    if not len(weight):
        return Finding(check="mean weight", status="warn", detail="every slot was pinned")
    error = float(weight.std() / np.sqrt(len(weight)))
    mean = float(weight.mean())
    off = abs(mean - 1.0)
    status = "pass" if off <= LEVEL * error + 1e-9 else "warn"
    return Finding(
        check="mean weight",
        status=status,
        detail=f"a uniform policy's weights average {mean:.4f} ± {error:.4f}; 1 when the stated "
        "propensities are right and no candidate is impossible",
    )


def _check_items(log: SlateLog) -> Finding:
    """Each item is shown as often as its own propensities say: E[1{shown} / p] is 1."""
    free, items = log.chosen[:, 0], len(log.item_ids)
    first, inverse = log.items[free, 0], log.inverse[free, 0]
    offered = np.zeros(items)
    for candidates, rows in log.candidates.groups(log.candidate_set[free]):
        offered[candidates] += len(rows)
    np.subtract.at(offered, log.items[free][log.pinned[free]], 1)  # no other slot shows those
    total = np.bincount(first, inverse, items)
    squares = np.bincount(first, inverse**2, items)
    seen = np.bincount(first, minlength=items)
    tested = np.flatnonzero((seen >= 30) & (offered > 0))
    mean = total[tested] / offered[tested]
    error = np.sqrt(np.maximum(squares[tested] / offered[tested] - mean**2, 0) / offered[tested])
    z = np.abs(mean - 1.0) / np.maximum(error, 1e-12)
    worst = tested[np.argsort(-z)][:3]
    count = int(np.sum(z > LEVEL + 1))
    return Finding(
        check="item calibration",
        status="warn" if count else "pass",
        detail=f"{count} of {len(tested)} items shown 30 times or more are shown oftener or more "
        "rarely than their propensities say",
        examples=[f"item {log.item_ids[item]}" for item in worst] if count else [],
    )


def _check_support(log: SlateLog) -> Finding:
    seen = set(np.unique(log.items[log.chosen]))
    offered = set(np.unique(np.concatenate(log.candidates.sets))) if log.candidates.sets else set()
    never = sorted(offered - seen)
    return Finding(
        check="support",
        status="warn" if never else "pass",
        detail=f"{len(never)} of {len(offered)} candidates were never shown",
        examples=[f"item {log.item_ids[item]}" for item in never[:3]],
    )


def _check_determinism(deterministic: float) -> Finding:
    status = "fail" if deterministic > 0.5 else "warn" if deterministic > 0.05 else "pass"
    return Finding(
        check="determinism",
        status=status,
        detail=f"{deterministic:.1%} of the choices were certain (propensity {CERTAIN} or more)",
    )
