"""The measuring process: ``python -m benchmarks.child WORKLOAD ROUNDS SECONDS QUICK``.

Writes a line of JSON for everything it has to tell, as soon as it is known.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

import msgspec

from benchmarks.contest import Contest, Figure, Row, Skipped
from benchmarks.machine import Machine, describe, pin
from benchmarks.measure import measure

__all__ = ["Told", "main"]


class Told(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line: exactly one of these."""

    machine: Machine | None = None
    row: Row | None = None
    figure: Figure | None = None
    skipped: Skipped | None = None


def main(name: str, rounds: int, seconds: float, quick: bool, tell: Callable[[Told], None]) -> None:
    """Measure one workload on one core."""
    pinned = pin()
    from benchmarks.workloads import WORKLOADS  # noqa: PLC0415  (loads numba)

    tell(Told(machine=describe(pinned)))
    for each in WORKLOADS[name].contests(quick):
        if isinstance(each, Figure):
            tell(Told(figure=each))
        elif isinstance(each, Skipped):
            tell(Told(skipped=each))
        else:
            _compete(name, each, rounds, seconds, tell)


def _compete(
    name: str, contest: Contest, rounds: int, seconds: float, tell: Callable[[Told], None]
) -> None:
    for found in measure(name, contest, rounds=rounds, seconds=seconds):
        tell(Told(row=found) if isinstance(found, Row) else Told(skipped=found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # peers' own
    # Libraries print what they like; their lines must not stand among ours.
    OUT = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    NAME, ROUNDS, SECONDS, QUICK = sys.argv[1:]

    def tell_parent(told: Told) -> None:
        """Write a line, at once."""
        OUT.write(msgspec.json.encode(told) + b"\n")

    main(NAME, int(ROUNDS), float(SECONDS), QUICK == "quick", tell_parent)
