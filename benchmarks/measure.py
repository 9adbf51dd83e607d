"""Alternating rounds: in each, every contender works for a while; ratios are taken in the round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contest import Absent, Clock, Contender, Contest, Row, Skipped

__all__ = ["SECONDS", "measure"]

SECONDS = 0.2
"""How long a contender works in a round, by its own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    cpu: float  # units a second of CPU time of this process
    wall: float  # units a second

    def by(self, clock: Clock) -> float:
        return self.cpu if clock == "cpu" else self.wall


def measure(
    workload: str, contest: Contest, *, rounds: int, seconds: float = SECONDS
) -> Iterator[Row | Skipped]:
    """Measure ours beside each peer; a peer that fails is skipped, with its error."""
    for peer in contest.peers:
        if isinstance(peer, Absent):
            yield _skip(workload, contest, peer.name, peer.reason)
    running = {peer.name: peer for peer in contest.peers if isinstance(peer, Contender)}
    mine: list[_Rate] = []
    theirs: dict[str, list[_Rate]] = {name: [] for name in running}
    for number in range(rounds + 1):  # the first warms up
        limit = seconds if number else 0.0
        mine.append(_chunk(contest.ours, limit))
        for peer in list(running.values()):
            try:
                theirs[peer.name].append(_chunk(peer, limit))
            except Exception as error:  # of foreign code: anything
                del running[peer.name]
                reason = f"failed: {type(error).__name__}: {error}"
                yield _skip(workload, contest, peer.name, reason)
    for peer in running.values():
        yield _row(workload, contest, peer, mine[1:], theirs[peer.name][1:])


def _chunk(contender: Contender, seconds: float) -> _Rate:
    """Call until the time is used up, and once at least."""
    cpu = wall = 0.0
    units = 0
    while True:
        made = contender.fresh()
        started_wall, started_cpu = time.perf_counter(), time.process_time()
        contender.call(made)
        cpu += time.process_time() - started_cpu
        wall += time.perf_counter() - started_wall
        units += contender.units
        if (cpu if contender.clock == "cpu" else wall) >= seconds:
            tick = 1e-9  # a clock that has not moved
            return _Rate(cpu=units / max(cpu, tick), wall=units / max(wall, tick))


def _row(
    workload: str, contest: Contest, peer: Contender, mine: list[_Rate], theirs: list[_Rate]
) -> Row:
    ours = [rate.by(peer.clock) for rate in mine]
    others = [rate.by(peer.clock) for rate in theirs]
    ratios = [a / b for a, b in zip(ours, others, strict=True)]
    return Row(
        workload=workload,
        params=contest.params,
        mode=contest.mode,
        unit=contest.unit,
        peer=peer.name,
        per_second=statistics.median(ours),
        peer_per_second=statistics.median(others),
        ratio=statistics.median(ratios),
        min=min(ratios),
        max=max(ratios),
        clock=peer.clock,
        rounds=len(ratios),
        note=peer.note,
        at=contest.at,
    )


def _skip(workload: str, contest: Contest, peer: str, reason: str) -> Skipped:
    return Skipped(workload=workload, params=contest.params, peer=peer, reason=reason)
