"""Our clock beside those of what the service works with."""

from __future__ import annotations

from api.doctor.findings import Finding, ok, problem, warning

__all__ = ["check_clock"]

WARN_MS = 1_000
WRONG_MS = 60_000
ALLOWED = "1 s, at most"
TODO = "synchronise the clocks (chrony, systemd-timesyncd, NTP) of this host and that"


def check_clock(whose: str, ahead_ms: int, *, at_least: bool = False) -> Finding:
    """Judge a clock that is ``ahead_ms`` ahead of this host's; ``at_least`` when maybe more."""
    skew = abs(ahead_ms)
    more = "at least " if at_least and skew else ""
    found = f"{whose} is {more}{skew / 1000:.1f} s {'ahead of' if ahead_ms >= 0 else 'behind'} ours"
    if skew <= WARN_MS:
        return ok("clock", found)
    make = problem if skew > WRONG_MS else warning
    return make("clock", found, ALLOWED, TODO)
