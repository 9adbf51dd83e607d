"""Prequential evaluation: predict or recommend, score, and only then learn (Dawid 1984).

Every event is a test before it is a lesson, so nothing is held back and nothing is seen early.
All learners are asked and taught the same events in the same batches; with ``batch=1``, the
default, each is taught an event before it is asked about the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.batches import Flags, Floats, Ints
from engine.errors import ConfigError
from simulator.ratings import Ratings
from simulator.retail import Purchases

__all__ = ["MISS", "Predictions", "Ranker", "Ranks", "Rater", "rank_purchases", "rate"]

MISS = np.iinfo(np.int64).max
"""Rank of what could not have been recommended: nobody had bought it before."""


class Rater(Protocol):
    """Learns ratings."""

    def predict(self, user: Ints, item: Ints, time_ms: Ints) -> Floats:
        """Predicted ratings of pairs at their times, ``(n,)``."""

    def update(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> None:
        """Learn ratings, ``(n,)`` each."""


class Ranker(Protocol):
    """Learns what is bought next."""

    def scores(self, customer: int, items: int, time_ms: int) -> Floats:
        """Scores of the items ``0 … items - 1`` for a customer now, ``(items,)``; NaN is a miss."""

    def update(self, customer: int, item: int, basket: int, time_ms: int) -> None:
        """Learn one purchase."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What was predicted of n ratings, each before it was learned."""

    predicted: Floats  # (n,)
    value: Floats  # (n,)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error over all; NaN when any prediction is none."""
        return float(np.sqrt(np.mean((self.predicted - self.value) ** 2)))

    def curve(self, parts: int) -> Floats:
        """Root mean squared error of so many consecutive parts of equal length, ``(parts,)``."""
        squares = (self.predicted - self.value) ** 2
        return np.sqrt([part.mean() for part in np.array_split(squares, parts)])


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Where each bought item stood, from 0, among the items known before it was bought."""

    among_all: Ints  # (n,): items of the same basket left out
    among_new: Ints  # (n,): also without all that the customer had bought before
    repeat: Flags  # (n,): the customer had bought it before

    def hit_rate(self, k: int, where: Flags | None = None) -> float:
        """Share of lines whose item was among the first k; NaN when there are no lines."""
        return _share(self.among_all < k, where)

    def new_hit_rate(self, k: int, where: Flags | None = None) -> float:
        """The same of first purchases alone, recommending only what the customer never bought."""
        first = ~self.repeat if where is None else where & ~self.repeat
        return _share(self.among_new < k, first)

    def curve(self, k: int, parts: int) -> Floats:
        """Hit rate of so many consecutive parts of equal length, ``(parts,)``."""
        return np.array([part.mean() for part in np.array_split(self.among_all < k, parts)])


def rate(
    rater: Rater, log: Ratings, *, batch: int = 1, low: float = 0.0, high: float = 10.0
) -> Predictions:
    """Ask for every rating, in time order, before it is learned.

    Parameters
    ----------
    batch
        So many ratings are predicted before they are learned.
    low, high
        The scale: predictions beyond are taken as its ends, of every learner alike.

    Raises
    ------
    ConfigError
        When the batch is below 1.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}; give 1 or more")
    predicted = np.empty(len(log))
    for start in range(0, len(log), batch):
        part = slice(start, start + batch)
        user, item, time_ms = log.user[part], log.item[part], log.time_ms[part]
        predicted[part] = np.clip(rater.predict(user, item, time_ms), low, high)
        rater.update(user, item, log.value[part], time_ms)
    return Predictions(predicted=predicted, value=log.value)


def rank_purchases(ranker: Ranker, log: Purchases) -> Ranks:
    """Ask before every purchase line, in time order, where its item stands; then learn it.

    Candidates are all items that somebody bought before. What the basket already holds is never
    recommended again, and never bought again: the log keeps one line an item and basket.
    """
    among_all, among_new = np.full(len(log), MISS), np.full(len(log), MISS)
    bought = np.zeros((len(log.customer_ids), len(log.item_ids)), dtype=np.bool_)
    baskets: dict[int, list[int]] = {}
    repeat = log.repeat
    known = 0
    for row, (customer, item, basket, time_ms) in enumerate(
        zip(
            log.customer.tolist(),
            log.item.tolist(),
            log.basket.tolist(),
            log.time_ms.tolist(),
            strict=True,
        )
    ):
        inside = baskets.setdefault(basket, [])
        if item < known:
            scores = ranker.scores(customer, known, time_ms)
            ahead = _ahead(scores, item, inside)
            if ahead is not None:
                among_all[row] = np.count_nonzero(ahead)
                among_new[row] = np.count_nonzero(ahead & ~bought[customer, :known])
        ranker.update(customer, item, basket, time_ms)
        known = max(known, item + 1)
        bought[customer, item] = True
        inside.append(item)
    return Ranks(among_all=among_all, among_new=among_new, repeat=repeat)


def _ahead(scores: Floats, item: int, inside: list[int]) -> Flags | None:
    """Which items stand before one, equal scores in order of numbers; None when it has none."""
    own = scores[item]
    if np.isnan(own):
        return None
    ahead: Flags = scores > own
    ahead[:item] |= scores[:item] == own
    ahead[inside] = False
    return ahead


def _share(hits: Flags, where: Flags | None) -> float:
    chosen = hits if where is None else hits[where]
    return float(chosen.mean()) if len(chosen) else float("nan")
