"""Bayesian personalised ranking: items in the order in which a user would choose them.

Sources: Rendle et al. 2009, "BPR"; negatives in proportion to popularity, whose logarithm is added
when scoring, after Yi et al. 2019, "Sampling-bias-corrected neural modeling" (logQ), whose sampled
softmax has the same optimum: an item's log odds here against everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.embeddings.factors import Sums
from engine.embeddings.keys import COLUMNS
from engine.embeddings.pairs import MOST_PAIRS, Negatives, learn_choices
from engine.embeddings.part import Embeddings
from engine.embeddings.ring import Ring
from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.popularity import fade_counts
from engine.models.base import Axes
from engine.models.factors import Factors
from engine.state import Part, State

__all__ = ["PairwiseRanking"]

LEAST = 0.01  # recent choices that an item is taken to have which has fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseRanking(Factors):
    """Scores that put what was chosen above what was not: an order, no expected reward.

    Ids of the context, as the features declare them, and the item's own.

    Parameters
    ----------
    negatives
        ``ring``: drawn from the last ``ring_size`` items chosen by anyone, so as often as they
        are popular. ``shown``: what the same slate showed and nobody chose; items then have
        biases of their own.
    pairs
        Negatives of every choice.
    ring_size
        Items that are remembered.
    success
        A reward above it is a choice.
    popularity
        With negatives of the ring, how much of the logarithm of an item's recent popularity is
        added to its score: 1 undoes what drawing by popularity took away.
    recent_seconds
        Half-life of that popularity.
    """

    negatives: Negatives = "ring"
    pairs: int = 8
    ring_size: int = 20_000
    success: float = 0.0
    popularity: float = 1.0
    recent_seconds: float = 604_800.0

    def __post_init__(self) -> None:
        # Not super(): with slots the class is made anew, and super() would be of the other.
        Factors.__post_init__(self)
        if self.negatives not in {"ring", "shown"} or not 1 <= self.pairs <= MOST_PAIRS:
            raise ConfigError(
                f"negatives is {self.negatives!r} and pairs {self.pairs}; give ring or shown, and "
                f"1 to {MOST_PAIRS}"
            )
        if not (math.isfinite(self.success) and math.isfinite(self.popularity)):
            raise ConfigError(
                f"success is {self.success} and popularity {self.popularity}; give finite numbers"
            )
        if not 0.0 < self.recent_seconds < math.inf:
            raise ConfigError(f"recent_seconds is {self.recent_seconds}; give a time above 0")
        Ring(self.ring_size)

    def check(self, schema: Schema) -> None:
        """Refuse ids of items besides their own: those of a negative are not known."""
        Factors.check(self, schema)
        for each in schema.ids:
            if each.of == "item":
                raise ConfigError(
                    f"feature {each.name!r} is an id of items, which those that were not chosen "
                    "would need too; leave it out, or use fm"
                )

    def axes(self) -> Axes:
        """Weight of each item's outcomes, its key, and its choices with the time they fade from."""
        return Axes(
            items={"count": (), "id": (COLUMNS,), "recent": (2,)},
            shared={"most": (1,), "clock": (1,)},
        )

    def parts(self, schema: Schema) -> dict[str, Part]:
        """Make the table and the ring, with nothing learned."""
        return {
            "table": Embeddings(self._config(self._fields(schema))),
            "ring": Ring(self.ring_size if self.negatives == "ring" else 1),
        }

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Learn choices in order. Writes: state. A slate's outcomes must come together."""
        own = weight
        weight, seen = self._weigh(state, rows, outcomes, weight)
        chosen = outcomes.reward > self.success
        seconds = outcomes.time_ms // 1000
        fade_counts(
            state.sums["recent"],
            state.shared["clock"],
            rows[chosen],
            own[chosen],
            seconds[chosen],
            self.recent_seconds,
        )
        keys, checks = self._events(state, rows, outcomes, schema)
        fields = keys.shape[1]
        learn_choices(
            cast("Embeddings", state.parts["table"]).table,
            cast("Ring", state.parts["ring"]),
            features=self._numbers(schema),
            values=np.ones(fields),
            keys=keys,
            checks=checks,
            chosen=chosen,
            weight=weight * seen,
            seconds=seconds,
            slates=outcomes.slate,
            negatives=self.negatives,
            pairs=self.pairs,
        )

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return each item's count ``(m,)``, key ``(m, 3)``, and choices with their time."""
        return {name: values.copy() for name, values in sums.items()}

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Return the time of the latest choice, ``(1,)``."""
        return {"clock": state.shared["clock"].copy()}

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Score of every candidate, from the vectors as they are now."""
        context = self._context(posterior, requests.x, schema)
        item = self.item_sums(posterior, requests.rows, requests.z, schema)
        vectors = context.vector[requests.of_candidate]
        score = item.score + np.einsum("ij,ij->i", item.vector, vectors)
        return self.belief(posterior, requests, mean=score)

    def item_sums(self, posterior: Posterior, rows: Ints, z: Floats, schema: Schema) -> Sums:
        """Vectors of every item's ids, and what they score alone: popularity included."""
        sums = Factors.item_sums(self, posterior, rows, z, schema)
        if self.negatives == "ring":
            own = sums.score + self.popularity * self._log_popularity(posterior)[rows]
            return Sums(sums.vector, own)
        return sums

    def _log_popularity(self, posterior: Posterior) -> Floats:
        """Logarithm of every item's recent choices, as of the latest, ``(m + 1,)``."""

        def make() -> Floats:
            count, since = posterior.arrays["recent"].T
            passed = posterior.shared["clock"][0] - since
            faded = count * np.exp2(-passed / self.recent_seconds)
            told: Floats = np.log(np.maximum(faded, LEAST))
            return told

        return posterior.cached("log_popularity", make)
