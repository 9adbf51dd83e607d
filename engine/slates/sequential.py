"""Sequential draw without replacement: each slot explores among the candidates left."""

from __future__ import annotations

from dataclasses import dataclass

from engine.slates.base import SlateRule, check_floor

__all__ = ["SequentialDraw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialDraw(SlateRule):
    """Slots are filled in order; with Thompson sampling this is in-slate Thompson."""

    floor: float = 0.02

    def __post_init__(self) -> None:
        check_floor(self.floor)
