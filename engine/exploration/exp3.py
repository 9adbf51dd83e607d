"""Exp3: exponential weights over importance-weighted sums of rewards."""

from __future__ import annotations

from dataclasses import dataclass

from engine.batches import Belief, Floats
from engine.errors import ConfigError
from engine.exploration.inverse_gap import check_range
from engine.exploration.weighted import Weighted
from engine.kernels.explore import EXPONENTIAL
from engine.models.base import Model

__all__ = ["Exp3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exp3(Weighted):
    """Of K left, probability ``(1 - γ) w / Σw + γ / K`` with ``w = exp(γ Ŝ / K)``.

    Ŝ is an item's sum of rewards, each over the propensity it was shown with: its mean by an
    importance-weighted model times the outcomes of all items. Source: Auer et al.
    2002, "The nonstochastic multiarmed bandit problem", figure 1. The paper has one fixed set of
    arms; here K counts the candidates left to a slot, so a slate's later slots are the paper's
    policy over what is left.

    Parameters
    ----------
    gamma
        Mass of the uniform pick, and speed of the weights.
    low, high
        Range of rewards; the paper's is [0, 1].
    """

    gamma: float = 0.1
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"gamma is {self.gamma}; give a number above 0, up to 1")
        check_range(self.low, self.high)

    def check(self, model: Model) -> None:
        """Refuse models that do not sum rewards over their propensities."""
        if not model.traits.importance:
            raise ConfigError(
                f"exp3 needs sums of rewards over their propensities, which {type(model).__name__} "
                "does not keep; use the importance model, or softmax or squarecb on this one"
            )

    def shifts(self, model: Model) -> bool:
        """Weights follow sums, which no slate rule may add to."""
        return False

    def weights(self, belief: Belief) -> tuple[int, Floats, float]:
        """Sums of rewards in units of their range, and γ.

        What the range starts at adds as much to every item's sum, and cancels.
        """
        sums = belief.mean * (belief.total / (self.high - self.low))
        return EXPONENTIAL, sums, self.gamma
