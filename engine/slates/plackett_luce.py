"""Plackett–Luce slates: a random ranking by an exploration's scores."""

from __future__ import annotations

from dataclasses import dataclass

from engine.batches import Belief, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, Terms
from engine.exploration.weighted import check_temperature, draw_weighted
from engine.features import Schema
from engine.kernels.explore import SOFTMAX
from engine.models.base import Model
from engine.slates.base import SlateRule, check_floor

__all__ = ["PlackettLuce"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlackettLuce(SlateRule):
    """Each slot shows one of the candidates left in proportion to ``exp(index / temperature)``.

    The index is what the exploration would maximise: the mean for greedy, the upper bound for
    ucb. Drawing afresh for every slot gives the lists of the Gumbel top-k trick their
    probabilities, because of Gumbel numbers the winner tells nothing of the others' order
    (Yellott 1977); the floor can then be mixed into every slot.

    Parameters
    ----------
    temperature
        In units of the index.
    """

    floor: float = 0.02
    temperature: float = 0.05

    def __post_init__(self) -> None:
        check_floor(self.floor)
        check_temperature(self.temperature)

    def check(self, exploration: Exploration, model: Model, schema: Schema) -> None:
        """Refuse explorations that do not choose by a score."""
        # bare super() does not know the class that dataclass(slots=True) makes anew
        super(PlackettLuce, self).check(exploration, model, schema)
        if type(exploration).index is Exploration.index:
            raise ConfigError(
                f"slate=plackett-luce ranks by a score, and {type(exploration).__name__} does not "
                "choose by one; use greedy, ucb or kl-ucb with it, or slate=sequential"
            )

    def fill(
        self,
        exploration: Exploration,
        belief: Belief,
        requests: Requests,
        picks: Ints,
        terms: Terms,
    ) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        score = exploration.index(belief)
        assert score is not None  # noqa: S101
        weights = SOFTMAX, score, 1.0 / self.temperature
        return draw_weighted(weights, belief, requests, picks, terms)
