"""Drift: a policy's rewards are watched, and when they fall its model shall forget.

A watch is a help to whoever learns and no part of what is learned: it starts with the learner and
is lost with it. What it leads to is an event in the log, and state changes there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from engine.errors import ConfigError
from engine.models.base import Model

__all__ = ["Drift", "RewardWatch"]

MAX_HALVINGS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How rewards are watched, and what is done when they fall.

    A rise is not acted upon: a model that learns makes its own rewards rise.

    Parameters
    ----------
    detector
        ``adwin`` compares the mean of recent rewards with that of older ones, over windows of
        every length, for rewards in [0, 1] or so (Bifet & Gavaldà 2007). ``page-hinkley`` sums up
        how far rewards fall short of their mean (Page 1954). Both are river's.
    action
        ``reset`` empties the model's state, ``decay`` halves its sums.
    halvings
        How many times ``decay`` halves them.
    delta
        Of adwin, its confidence (0.002 when not given); of page-hinkley, the shortfall that is
        tolerated (0.05): smaller falls are not found.
    threshold
        Sum of shortfalls beyond delta that page-hinkley takes for a drift (25). Steady rewards of
        variance v reach it with a chance of about exp(-2 delta threshold / v) whenever they fall
        behind their mean: river's own 0.005 and 50 would give false alarms for clicks.
    """

    detector: Literal["adwin", "page-hinkley"] = "adwin"
    action: Literal["reset", "decay"] = "reset"
    halvings: int = 1
    delta: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.detector not in {"adwin", "page-hinkley"} or self.action not in {"reset", "decay"}:
            raise ConfigError(
                f"drift: detector is {self.detector!r} and action {self.action!r}; give 'adwin' "
                "or 'page-hinkley', and 'reset' or 'decay'"
            )
        if not 1 <= self.halvings <= MAX_HALVINGS:
            raise ConfigError(f"drift: halvings is {self.halvings}; give 1 to {MAX_HALVINGS}")
        if self.threshold is not None and self.detector == "adwin":
            raise ConfigError("drift: threshold is of page-hinkley; leave it out for adwin")
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise ConfigError(f"drift: threshold is {self.threshold}; give a number above 0")
        most = 1.0 if self.detector == "adwin" else math.inf
        if self.delta is not None and not 0 < self.delta < most:
            raise ConfigError(f"drift: delta is {self.delta}; give a number above 0, below {most}")

    def check(self, model: Model) -> None:
        """Raise ``ConfigError`` when a model cannot do what shall be done."""
        if self.action == "decay" and not model.traits.forgets:
            raise ConfigError(
                f"drift: {type(model).__name__} cannot forget a part of what it learned; give "
                "action = 'reset'"
            )


class _Detector(Protocol):
    """What is used of river's detectors."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> Any: ...


class RewardWatch:
    """Watches the rewards of one policy, in log order.

    Attributes
    ----------
    fell
        Whether the rewards fell since the watch started; it takes no more of them until it is
        started anew.
    told
        Whether its owner made that known.
    """

    def __init__(self, drift: Drift) -> None:
        self.drift = drift
        self.restart()

    def restart(self) -> None:
        """Start anew, as after a change of what the policy knows."""
        self.fell = self.told = False
        self._detector = _make_detector(self.drift)

    def update(self, rewards: Iterable[float]) -> None:
        """Take in rewards."""
        for reward in rewards:
            if self.fell:
                return
            self.fell = self._takes_for_fall(reward)

    def _takes_for_fall(self, reward: float) -> bool:
        detector = self._detector
        before = getattr(detector, "estimation", math.inf)  # adwin's mean; it finds rises too
        detector.update(reward)
        return bool(detector.drift_detected) and getattr(detector, "estimation", 0.0) < before


def _make_detector(drift: Drift) -> _Detector:
    from river.drift import ADWIN, PageHinkley  # noqa: PLC0415  (takes a second to import)

    adwin: Any = ADWIN  # it has no annotations
    made: _Detector
    if drift.detector == "adwin":
        made = adwin(delta=0.002 if drift.delta is None else drift.delta)
    else:
        made = PageHinkley(
            mode="down",
            delta=0.05 if drift.delta is None else drift.delta,
            threshold=25.0 if drift.threshold is None else drift.threshold,
        )
    return made
