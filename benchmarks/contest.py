"""What is measured: our way and others' of doing the same work, and the rows that come of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Absent",
    "Contender",
    "Contest",
    "Figure",
    "Point",
    "Row",
    "Skipped",
    "Workload",
    "absent",
]

Clock = Literal["cpu", "wall"]
Mode = Literal["batched", "per-call"]
Point = dict[str, float | str]


def _nothing() -> None:
    """What a contender needs that keeps its own state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way of doing the work.

    Attributes
    ----------
    units
        Events, requests or slates that one call does.
    call
        The work: timed, given what ``fresh`` returned.
    fresh
        What must be made anew before every call, outside the clock.
    clock
        ``wall`` for what works in another process: its row compares seconds of waiting.
    note
        What differs from our work, or holds of it alone.
    """

    name: str
    units: int
    call: Callable[[Any], object]
    fresh: Callable[[], Any] = _nothing
    clock: Clock = "cpu"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """One way that cannot be measured here, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Ours beside the peers', in one setting."""

    params: str
    mode: Mode
    unit: str
    ours: Contender
    peers: tuple[Contender | Absent, ...]
    at: Point = field(default_factory=dict)  # the setting, for curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A name users ask for, and its contests; ``quick`` makes them as small as they can be.

    Figures without a peer, and reasons why there are none, may stand among them.
    """

    about: str
    contests: Callable[[bool], Iterator[Contest | Figure | Skipped]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured without a peer's clock beside it.

    Attributes
    ----------
    column
        Figures that have one make a table: a row for each ``what``, a column for each of these.
    digits
        Significant ones that are told.
    at
        Where it stands in a chart: ``chart``, ``series``, ``x``; of a spread ``low`` and ``high``.
    """

    workload: str
    params: str
    what: str
    value: float
    unit: str
    note: str = ""
    column: str = ""
    digits: int = 3
    at: Point = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Ours beside one peer: medians over the rounds, and the spread of the rounds' ratios."""

    workload: str
    params: str
    mode: str
    unit: str
    peer: str
    per_second: float
    peer_per_second: float
    ratio: float
    min: float
    max: float
    clock: Clock
    rounds: int
    note: str
    at: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What was not measured, and why."""

    workload: str
    params: str
    peer: str
    reason: str


def absent(name: str, *modules: str) -> Absent | None:
    """Say so when one of the modules that a peer needs is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    reason = f"{' and '.join(missing)} not installed; pip install 'slatestream[bench]'"
    return Absent(name=name, reason=reason)
