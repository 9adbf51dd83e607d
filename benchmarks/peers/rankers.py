"""Others' ways of telling what is bought next: popularity, and implicit's BPR refitted daily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks.contest import absent
from engine.batches import Floats, Ints
from simulator.progressive import Ranker
from simulator.retail import DAY_MS

__all__ = ["IMPLICIT", "Popularity", "RankerSetting", "implicit_bpr", "popularities"]

RankerSetting = tuple[str, Callable[[], Ranker]]

IMPLICIT = absent("implicit BPR, refitted daily", "implicit", "scipy")
EVER = float("inf")
SEED = 1
CAPACITY = 1 << 12  # items, to begin with; doubled as needed
FALLBACK_DAYS = 3.0
ITERATIONS = 50


class Popularity:
    """Purchases of an item, forgotten with a half-life in days; the same for every customer.

    In landmark weights: a purchase counts 2^(its day / half-life), so nothing is ever multiplied.
    """

    def __init__(self, half_life_days: float) -> None:
        self.half_life_days = half_life_days
        self.weight = np.zeros(CAPACITY)
        self.start_ms: int | None = None

    def scores(self, customer: int, items: int, time_ms: int) -> Floats:  # noqa: ARG002
        """Weights of the items."""
        return self.weight[:items]

    def update(self, customer: int, item: int, basket: int, time_ms: int) -> None:  # noqa: ARG002
        """Count one purchase."""
        if item >= len(self.weight):
            self.weight = np.concatenate([self.weight, np.zeros(item + 1)])
        self.start_ms = time_ms if self.start_ms is None else self.start_ms
        days = (time_ms - self.start_ms) / DAY_MS
        self.weight[item] += 2.0 ** (days / self.half_life_days)


def popularities() -> Iterator[RankerSetting]:
    """All purchases alike, and half-lives."""
    for days in (EVER, 30.0, 14.0, 7.0, 3.0, 1.0):
        words = "all purchases alike" if days == EVER else f"half-life {days:g} days"
        yield words, partial(Popularity, days)


class ImplicitBpr:
    """`implicit` fitted from nothing at midnight (UTC) on all purchases of the days before.

    Who was not there yet is shown what is popular; what was not there yet stands last.
    """

    def __init__(self, factors: int, rate: float, regularization: float, iterations: int) -> None:
        self.settings = {
            "factors": factors,
            "learning_rate": rate,
            "regularization": regularization,
            "iterations": iterations,
        }
        self.popular = Popularity(FALLBACK_DAYS)
        self.customers: list[int] = []
        self.items: list[int] = []
        self.day: int | None = None
        self.of_customer = np.empty((0, 0), dtype=np.float32)
        self.of_item = np.empty((0, 0), dtype=np.float32)

    def scores(self, customer: int, items: int, time_ms: int) -> Floats:
        """Products of the factors of last midnight."""
        self._turn(time_ms)
        if customer >= len(self.of_customer) or not self.of_customer[customer].any():
            return self.popular.scores(customer, items, time_ms)
        scores = np.full(items, -np.inf)
        scores[: len(self.of_item)] = self.of_item @ self.of_customer[customer]
        return scores

    def update(self, customer: int, item: int, basket: int, time_ms: int) -> None:
        """Keep the purchase for the next midnight."""
        self._turn(time_ms)
        self.popular.update(customer, item, basket, time_ms)
        self.customers.append(customer)
        self.items.append(item)

    def _turn(self, time_ms: int) -> None:
        day = time_ms // DAY_MS
        if self.day is not None and day > self.day and self.items:
            self._fit(np.array(self.customers), np.array(self.items))
        self.day = day

    def _fit(self, customer: Ints, item: Ints) -> None:
        from implicit.cpu.bpr import BayesianPersonalizedRanking  # noqa: PLC0415
        from scipy.sparse import csr_matrix  # noqa: PLC0415

        bought = csr_matrix((np.ones(len(item), dtype=np.float32), (customer, item)))
        model: Any = BayesianPersonalizedRanking(**self.settings, num_threads=1, random_state=SEED)
        model.fit(bought, show_progress=False)
        self.of_customer, self.of_item = model.user_factors, model.item_factors


def implicit_bpr() -> Iterator[RankerSetting]:
    """Nine settings: number of factors and learning rate; 50 iterations.

    Its default of 100 brings less than 0.2 % more hits in the first 60 days, for twice the time.
    """
    for factors, rate in product((16, 32, 64), (0.03, 0.1, 0.2)):
        words = f"{factors} factors, learning rate {rate:g}, {ITERATIONS} iterations"
        yield words, partial(ImplicitBpr, factors, rate, 0.01, ITERATIONS)
