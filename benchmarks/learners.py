"""Our learners of ratings and purchases: factors in the collisionless table, taught in log order.

What is served may lag behind what is learned: with an interval, predictions read copies that are
brought up to date only so often, as those of a server are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from engine.batches import Floats, Ints
from engine.embeddings.config import VectorConfig
from engine.embeddings.factors import FactorTable, predict
from engine.embeddings.pairs import PairTable
from engine.embeddings.table import EmbeddingTable, Keys
from engine.kernels.random import mix_keys
from simulator.retail import DAY_MS

__all__ = ["EXACT", "FactorRater", "Ids", "PairRanker", "RankerConfig", "RaterConfig"]

MAX_ROWS = 1 << 16
MOST_FEATURES = np.uint64(8)
SECOND_MS = 1000


@dataclass(frozen=True, kw_only=True)
class Ids:
    """Which row of a table each id reads: its own, or that of its hash.

    Parameters
    ----------
    rows
        A row is a hash modulo this, so ids share rows; None keeps all apart.
    seed
        Of the hash.
    """

    rows: int | None = None
    seed: int = 0

    def of(self, count: int) -> Ints:
        """Row of each id by number, ``(count,)``."""
        number = np.arange(count, dtype=np.int64)
        if self.rows is None:
            return number
        hashed = mix_keys(mix_keys(number.astype(np.uint64)) ^ np.uint64(self.seed))
        return (hashed % np.uint64(self.rows)).astype(np.int64)

    def lost(self, count: int) -> float:
        """Share of ids that the hash takes away: 1 - rows used / ids, as in the Monolith paper."""
        return 1.0 - len(np.unique(self.of(count))) / count


EXACT = Ids()


def keys_of(rows: Ints, feature: int) -> Keys:
    """Keys of a feature's rows, none of which is another feature's."""
    return mix_keys(rows.astype(np.uint64) * MOST_FEATURES + np.uint64(feature + 1))


class Served:
    """Copies of a feature's vectors, as they are served."""

    def __init__(self, table: EmbeddingTable, name: str, keys: Keys) -> None:
        self.table, self.feature, self.keys = table, table.number(name), keys
        self.copy = np.zeros((len(keys), table.width), dtype=np.float32)

    def publish(self, rows: Ints | slice | list[int]) -> None:
        """Writes: the copy's rows."""
        self.copy[rows] = self.table.lookup(self.keys[rows], self.feature)[0]


class Interval:
    """Whether it is time to publish: at multiples of an interval of event time, or always."""

    def __init__(self, length_ms: int) -> None:
        self.length_ms = length_ms
        self.due: int | None = None

    def passed(self, time_ms: int) -> bool:
        """Whether a multiple lies between the call before and this; the first call only begins."""
        if not self.length_ms:
            return True
        late = self.due is not None and time_ms >= self.due
        if late or self.due is None:
            self.due = (time_ms // self.length_ms + 1) * self.length_ms
        return late


@dataclass(frozen=True, kw_only=True)
class RaterConfig:
    """Biased matrix factorisation with squared loss.

    Parameters
    ----------
    rate, bias_rate, accumulator, bias_accumulator
        Of row-wise Adagrad.
    scale
        Of initial vectors.
    interval_ms
        Between two publications; 0 serves what was just learned.
    users, items
        Which rows ids read.
    """

    dimension: int = 16
    rate: float = 0.1
    bias_rate: float = 0.35
    accumulator: float = 0.1
    bias_accumulator: float = 1.0
    scale: float = 0.02
    interval_ms: int = 0
    users: Ids = EXACT
    items: Ids = EXACT
    seed: int = 0


class FactorRater:
    """Mean, biases and factors, learned by `FactorTable` event by event."""

    def __init__(self, config: RaterConfig, users: int, items: int) -> None:
        vector = VectorConfig(
            name="",
            dimension=config.dimension,
            rate=config.rate,
            bias_rate=config.bias_rate,
            accumulator=config.accumulator,
            bias_accumulator=config.bias_accumulator,
            scale=config.scale,
        )
        names = ("user", "item")
        self.factors = FactorTable(names, vector, max_rows=MAX_ROWS, seed=config.seed)
        self.rows = config.users.of(users), config.items.of(items)
        self.keys = tuple(
            keys_of(np.arange(int(rows.max(initial=0)) + 1), feature)
            for feature, rows in enumerate(self.rows)
        )
        table = self.factors.table
        self.served = tuple(Served(table, *each) for each in zip(names, self.keys, strict=True))
        self.totals = self.factors.totals.copy()
        self.interval = Interval(config.interval_ms)
        self.changed: list[tuple[Ints, Ints]] = []

    def learn(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> Floats:
        """Learn ratings in order; returns what was predicted of each before, ``(n,)``."""
        rows = self.rows[0][user], self.rows[1][item]
        keys = np.stack([own[each] for own, each in zip(self.keys, rows, strict=True)], axis=1)
        told: Floats = self.factors.update(keys, value, time_ms // SECOND_MS)
        return told

    def predict(self, user: Ints, item: Ints, time_ms: Ints) -> Floats:
        """Predictions from what is served."""
        if len(user) and self.interval.passed(int(time_ms[0])):
            self._publish()
        rows = self.rows[0][user], self.rows[1][item]
        a, b = (part.copy[row] for part, row in zip(self.served, rows, strict=True))
        products = np.einsum("nd,nd->n", a[:, 1:], b[:, 1:], dtype=np.float64)
        return predict(self.totals, a[:, 0] + b[:, 0] + products, self.factors.loss)

    def update(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> None:
        """Learn ratings in order."""
        self.learn(user, item, value, time_ms)
        self.changed.append((self.rows[0][user], self.rows[1][item]))

    def _publish(self) -> None:
        self.totals = self.factors.totals.copy()
        for part, rows in zip(self.served, zip(*self.changed, strict=True), strict=False):
            part.publish(rows[0] if len(rows) == 1 else np.unique(np.concatenate(rows)))
        self.changed.clear()


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """Bayesian personalised ranking of the next item, by a factorisation machine over ids.

    Parameters
    ----------
    last
        Items a customer bought last that are its context, the latest first.
    fading
        Weight of each of them by that of the one bought after it; all weigh 1 together.
    customer
        Weight of the customer's own vector; 0 leaves it out.
    negatives
        A purchase, of the last 20,000 purchases.
    half_life_days
        Of the popularity whose log is added to scores.
    interval_ms
        Between two publications; 0 serves what was just learned.
    """

    dimension: int = 32
    last: int = 5
    fading: float = 0.7
    customer: float = 0.0
    negatives: int = 16
    rate: float = 0.1
    accumulator: float = 0.1
    scale: float = 0.1
    half_life_days: float = 7.0
    interval_ms: int = 0
    seed: int = 0

    @property
    def weights(self) -> list[float]:
        """Weights of the context's fields, the customer's first."""
        fading = self.fading ** np.arange(self.last)
        own = [self.customer] * bool(self.customer)
        return [*own, *(fading / max(fading.sum(), 1.0)).tolist()]


class PairRanker:
    """Scores of all items by a context's vectors, learned by `PairTable`, and by popularity."""

    def __init__(self, config: RankerConfig, customers: int, items: int) -> None:
        vector = VectorConfig(
            name="",
            dimension=config.dimension,
            rate=config.rate,
            accumulator=config.accumulator,
            scale=config.scale,
        )
        own = ("customer",) * bool(config.customer)
        self.config, self.weights = config, np.array(config.weights, dtype=np.float32)
        names = (*own, *("last",) * config.last, "item")
        self.pairs = PairTable(
            names,
            vector,
            [*config.weights, 1.0],
            pairs=config.negatives,
            max_rows=MAX_ROWS,
            seed=config.seed,
        )
        numbers = np.arange(customers), np.arange(items), np.arange(items)
        keys = [keys_of(rows, feature) for feature, rows in enumerate(numbers)]
        self.customer_keys, self.last_keys, self.item_keys = keys
        self.item = Served(self.pairs.table, "item", self.item_keys)
        self.last = Served(self.pairs.table, "last", self.last_keys) if config.last else None
        self.own = Served(self.pairs.table, "customer", self.customer_keys) if own else None
        self.history: dict[int, deque[int]] = {}
        self.interval = Interval(config.interval_ms)
        self.sold, self.popularity = np.zeros(items), np.full(items, -np.inf)
        self.known = 0
        self.start_ms: int | None = None

    def scores(self, customer: int, items: int, time_ms: int) -> Floats:
        """Products of served vectors, with recent popularity."""
        if self.interval.passed(time_ms):
            self._publish(customer)
        vector = np.zeros(self.config.dimension, dtype=np.float32)
        weights = self.weights
        if self.own is not None:
            vector += weights[0] * self.own.copy[customer, 1:]
            weights = weights[1:]
        last = list(self.history.get(customer, ()))
        if self.last is not None and last:
            vector += weights[: len(last)] @ self.last.copy[last, 1:]
        scores: Floats = self.item.copy[:items, 1:] @ vector + self.popularity[:items]
        return scores

    def update(self, customer: int, item: int, basket: int, time_ms: int) -> None:  # noqa: ARG002
        """Learn that an item was bought next, and that others which sell as well were not."""
        last = self.history.setdefault(customer, deque(maxlen=max(self.config.last, 1)))
        keys = np.zeros((1, len(self.weights) + 1), dtype=np.uint64)
        first = 0
        if self.own is not None:
            keys[0, 0], first = self.customer_keys[customer], 1
        if self.config.last:
            keys[0, first : first + len(last)] = self.last_keys[list(last)]
            last.appendleft(item)
        keys[0, -1] = self.item_keys[item]
        self.pairs.update(keys, np.array([time_ms // SECOND_MS]))
        self.start_ms = time_ms if self.start_ms is None else self.start_ms
        days = (time_ms - self.start_ms) / DAY_MS
        self.sold[item] += 2.0 ** (days / self.config.half_life_days)
        self.known = max(self.known, item + 1)

    def _publish(self, customer: int) -> None:
        known: slice | list[int] = slice(0, self.known)
        with np.errstate(divide="ignore"):
            self.popularity[known] = np.log(self.sold[known])
        self.item.publish(known)
        everyone = bool(self.interval.length_ms)  # else of this customer alone: it is served now
        if self.last is not None:
            self.last.publish(known if everyone else list(self.history.get(customer, ())))
        if self.own is not None:
            self.own.publish(slice(None) if everyone else [customer])
