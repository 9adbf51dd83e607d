"""Findings: what was looked at, how it is, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import SlatestreamError

__all__ = ["Finding", "Report", "Status", "attempt", "ok", "problem", "warning"]

Status = Literal["ok", "warning", "problem"]
RANK: dict[Status, int] = {"ok": 0, "warning": 1, "problem": 2}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one thing, what is allowed there, and what to do when it is not."""

    check: str
    status: Status
    found: str
    allowed: str = ""
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All findings, and the worst of their statuses."""

    status: Status
    findings: Sequence[Finding]

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> Report:
        """Make the report of some findings."""
        found: list[Status] = ["ok", *(each.status for each in findings)]
        return cls(status=max(found, key=RANK.__getitem__), findings=findings)


def ok(check: str, found: str) -> Finding:
    """Make a finding of something that is as it should be."""
    return Finding(check=check, status="ok", found=found)


def warning(check: str, found: str, allowed: str, todo: str) -> Finding:
    """Make a finding of a risk."""
    return Finding(check=check, status="warning", found=found, allowed=allowed, todo=todo)


def problem(check: str, found: str, allowed: str, todo: str) -> Finding:
    """Make a finding of something that keeps the service from working."""
    return Finding(check=check, status="problem", found=found, allowed=allowed, todo=todo)


def attempt(check: str, look: Callable[[], Iterable[Finding]], todo: str) -> list[Finding]:
    """Look at something; whatever of ours is raised meanwhile is a problem found."""
    findings: list[Finding] = []
    try:
        findings.extend(look())
    except SlatestreamError as error:
        findings.append(problem(check, str(error), "it can be used", todo))
    return findings
