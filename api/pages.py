"""Health, the page of live figures, and what each kind of problem means."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from api.problems import KINDS, ProblemError
from api.service import Service

__all__ = ["Health", "home", "problem", "readiness"]


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the service is; ``waiting_for`` lists what readiness still lacks."""

    status: str
    waiting_for: tuple[str, ...] = ()


def readiness(service: Service) -> tuple[int, Health]:
    """Status and body of the readiness check."""
    missing = service.missing
    if missing:
        return 503, Health(status="starting", waiting_for=tuple(missing))
    return 200, Health(status="ready")


@cache
def home() -> bytes:
    """Return the page of live figures: one file, nothing fetched from elsewhere."""
    return (Path(__file__).parent / "page.html").read_bytes()


def problem(kind: str) -> str:
    """Explain a kind of problem in plain text; ``ProblemError`` when there is none."""
    if kind not in KINDS:
        raise ProblemError("not-found", f"there is no problem {kind!r}; see {', '.join(KINDS)}")
    status, title, meaning = KINDS[kind]
    return f"{status} {title}\n\n{meaning}\n"
