"""Running workloads, each in a measuring process of its own, and gathering what they found."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import msgspec

from benchmarks.child import Told
from benchmarks.contest import Figure, Row, Skipped
from benchmarks.machine import KAFKA, Machine, child_environment
from benchmarks.measure import SECONDS
from engine.errors import ConfigError, SlatestreamError, suggest

__all__ = ["EVIDENCE", "NAMES", "SPEED", "Report", "check_names", "run"]

SPEED = (
    "update",
    "rank",
    "slate",
    "replay",
    "edges",
    "factor",
    "table",
    "diagonal",
    "retrieval",
    "curves",
    "stream",
)
"""Workloads of how fast, which run when none is named."""

EVIDENCE = ("ratings", "retail", "collisions", "sync")
"""Workloads of how well, on real data; only by name, for they take their time."""

NAMES = (*SPEED, *EVIDENCE)
"""Of the workloads, in the order in which they run; known without loading compiled code."""


def check_names(names: Sequence[str]) -> list[str]:
    """Return workloads in the order in which they run, those of speed when none is named.

    Raises ``ConfigError`` when one is unknown, with the nearest known one.
    """
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"workload {name!r} is unknown{suggest(name, NAMES)}")
    return [name for name in NAMES if name in (names or SPEED)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured, on what, and what was not."""

    machine: Machine
    rows: list[Row]
    figures: list[Figure]
    skipped: list[Skipped]


def run(
    names: Sequence[str] = (),
    *,
    rounds: int = 5,
    quick: bool = False,
    kafka: str | None = None,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Report:
    """Measure workloads, those of speed when none is named.

    Parameters
    ----------
    rounds
        Of which the median is told.
    quick
        Smallest sizes and one call a round: shows that it runs, not how fast.
    kafka
        Brokers that ``stream`` makes topics of its own on, ``host:port`` with commas between.
    progress
        Called with the number of rows and figures so far.

    Raises
    ------
    ConfigError
        When a name is unknown, or rounds are below 1.
    SlatestreamError
        When a measuring process ends before its time.
    """
    chosen = check_names(names)
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; give 1 or more, 5 or more for figures to keep")
    machine: Machine | None = None
    rows: list[Row] = []
    figures: list[Figure] = []
    skipped: list[Skipped] = []
    for name in chosen:

        def take(told: Told) -> None:
            nonlocal machine
            machine = told.machine or machine
            rows.extend([told.row] if told.row else [])
            figures.extend([told.figure] if told.figure else [])
            skipped.extend([told.skipped] if told.skipped else [])
            progress(len(rows) + len(figures), None)

        _measure([name, str(rounds)], quick, kafka, take)
    if machine is None:
        raise SlatestreamError("the measuring process told nothing; run it again")
    return Report(machine=machine, rows=rows, figures=figures, skipped=skipped)


def _measure(
    what: Sequence[str], quick: bool, kafka: str | None, take: Callable[[Told], None]
) -> None:
    size = [str(0.0 if quick else SECONDS), "quick" if quick else "full"]
    command = [sys.executable, "-P", "-m", "benchmarks.child", *what, *size]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603
            command,
            env=child_environment(os.environ | ({KAFKA: kafka} if kafka else {})),
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as child,
    ):
        try:
            assert child.stdout is not None  # noqa: S101  (asked for above)
            for line in child.stdout:
                take(msgspec.json.decode(line, type=Told))
        except BaseException:
            child.kill()
            raise
        if child.wait():
            raise SlatestreamError(
                f"workload {what[0]!r}: the measuring process ended with {child.returncode}: "
                f"{_last_line(errors)}"
            )


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
