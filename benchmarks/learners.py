"""Our learners of ratings and purchases: vectors in the collisionless table, taught in log order.

What is served may lag behind what is learned: with an interval, predictions read copies that are
brought up to date only so often, by the vectors that changed since, as those of a server are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batches import Floats, Ints
from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.table import EmbeddingTable
from engine.kernels.random import mix_keys
from simulator.retail import DAY_MS

__all__ = ["EXACT", "Ids", "RankerConfig", "RaterConfig", "TableRanker", "TableRater"]

Singles = NDArray[np.float32]

MAX_ROWS = 1 << 16
RING = 20_000  # last purchases, of which negatives are drawn: what sells is drawn as often
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


class Served:
    """Vectors of one feature: keys in the table, and the copy that is served."""

    def __init__(self, table: EmbeddingTable, name: str, ids: Ids, count: int) -> None:
        self.table, self.feature = table, table.number(name)
        self.row = ids.of(count)
        number = np.arange(int(self.row.max(initial=0)) + 1, dtype=np.uint64)
        salt = np.uint64(len(table.config.features))
        self.key = mix_keys(number * salt + np.uint64(self.feature))
        self.copy = np.zeros((len(number), table.width), dtype=np.float32)

    def learned(self, rows: Ints) -> Singles:
        """Vectors as learned by now, ``(n, width)``."""
        return self.table.lookup(self.key[rows], self.feature)[0]

    def publish(self, rows: Ints) -> None:
        """Writes: the copy's rows."""
        self.copy[rows] = self.learned(rows)


class Publishing:
    """When copies are brought up to date, and with what."""

    def __init__(self, parts: tuple[Served, ...], interval_ms: int) -> None:
        self.parts, self.interval_ms = parts, interval_ms
        self.changed: list[list[Ints]] = [[] for _ in parts]
        self.due: int | None = None

    def note(self, *rows: Ints) -> None:
        """Rows of each part that changed."""
        for changed, each in zip(self.changed, rows, strict=True):
            changed.append(each)

    def reaches(self, time_ms: int) -> bool:
        """Publish before it is read, when a multiple of the interval has passed. Writes: copies."""
        if self.interval_ms:
            if self.due is None:
                self.due = (time_ms // self.interval_ms + 1) * self.interval_ms
            if time_ms < self.due:
                return False
            self.due = (time_ms // self.interval_ms + 1) * self.interval_ms
        for part, changed in zip(self.parts, self.changed, strict=True):
            if changed:
                rows = changed[0] if len(changed) == 1 else np.unique(np.concatenate(changed))
                part.publish(rows)
                changed.clear()
        return True


@dataclass(frozen=True, kw_only=True)
class RaterConfig:
    """Biased matrix factorisation with squared loss.

    Parameters
    ----------
    rate, bias_rate, epsilon
        Of row-wise Adagrad.
    scale
        Of initial vectors.
    interval_ms
        Between two publications; 0 serves what was just learned.
    """

    dimension: int = 8
    rate: float = 0.1
    bias_rate: float = 0.7
    epsilon: float = 1.0
    scale: float = 0.01
    seed: int = 0
    interval_ms: int = 0
    users: Ids = EXACT
    items: Ids = EXACT
    low: float = 0.0
    high: float = 10.0


class TableRater:
    """Global mean, biases and factors; all but the mean lives in the table."""

    def __init__(self, config: RaterConfig, users: int, items: int) -> None:
        self.config = config
        shared: dict[str, Any] = {
            "dimension": config.dimension,
            "bias": True,
            "rate": config.rate,
            "bias_rate": config.bias_rate,
            "epsilon": config.epsilon,
            "scale": config.scale,
        }
        features = tuple(VectorConfig(name=name, **shared) for name in ("user", "item"))
        table = EmbeddingTable(TableConfig(features=features, max_rows=MAX_ROWS, seed=config.seed))
        self.table = table
        self.user = Served(table, "user", config.users, users)
        self.item = Served(table, "item", config.items, items)
        self.publishing = Publishing((self.user, self.item), config.interval_ms)
        self.features = np.array([self.user.feature, self.item.feature])
        self.total = self.count = 0.0
        self.mean = 0.0

    def predict(self, user: Ints, item: Ints, time_ms: Ints) -> Floats:
        """Predictions of what is served."""
        if len(user) and self.publishing.reaches(int(time_ms[0])) and self.count:
            self.mean = self.total / self.count
        rows = self.user.copy[self.user.row[user]], self.item.copy[self.item.row[item]]
        return self._predict(self.mean, *rows)

    def update(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> None:
        """Learn ratings in order; those of one call are told apart only by their own steps."""
        for at in range(len(value)):
            rows = self.user.row[user[at : at + 1]], self.item.row[item[at : at + 1]]
            self._learn(*rows, float(value[at]), int(time_ms[at]))

    def _learn(self, user: Ints, item: Ints, value: float, time_ms: int) -> None:
        keys = np.concatenate([self.user.key[user], self.item.key[item]])
        vectors = self.table.lookup(keys, self.features)[0]
        mean = self.total / max(self.count, 1.0)
        told = float(self._predict(mean, vectors[:1], vectors[1:])[0])
        error = value - min(max(told, self.config.low), self.config.high)
        gradients = -error * vectors[::-1]
        gradients[:, 0] = -error
        seconds = np.full(2, time_ms // SECOND_MS)
        self.table.learn(keys, self.features, seconds, gradients.astype(np.float32))
        self.total, self.count = self.total + value, self.count + 1.0
        self.publishing.note(user, item)

    @staticmethod
    def _predict(mean: float, user: Singles, item: Singles) -> Floats:
        products = np.einsum("nd,nd->n", user[:, 1:], item[:, 1:], dtype=np.float64)
        predicted: Floats = mean + user[:, 0] + item[:, 0] + products
        return predicted


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """Bayesian personalised ranking of the next item by a factorisation machine over ids.

    A customer's context is ``customer_weight`` times its own vector plus the mean of the vectors of
    the last items, each weighing ``fading`` times the one after it. Items are drawn as negatives
    as often as they sold lately, which takes popularity out of the vectors: it is added to the
    score, as the log of purchases forgotten with a half-life.

    Parameters
    ----------
    last
        Items of a customer that make the context.
    customer_weight
        0 leaves the customer's own vector out.
    negatives
        A purchase.
    """

    dimension: int = 32
    last: int = 5
    fading: float = 0.7
    customer_weight: float = 0.0
    negatives: int = 8
    rate: float = 0.1
    epsilon: float = 0.1
    scale: float = 0.1
    half_life_days: float = 7.0
    seed: int = 0
    interval_ms: int = 0


@dataclass(kw_only=True)
class _Context:
    """Rows and weights that make the context of one customer, the customer's own first."""

    rows: list[Ints] = field(default_factory=list)  # of customers, of last items
    weights: Singles


class TableRanker:
    """Scores of all items by a context's vector and recent popularity."""

    def __init__(self, config: RankerConfig, customers: int, items: int) -> None:
        self.config = config
        shared: dict[str, Any] = {
            "dimension": config.dimension,
            "rate": config.rate,
            "epsilon": config.epsilon,
            "scale": config.scale,
        }
        names = ("customer", "last", "item")
        features = tuple(VectorConfig(name=name, **shared) for name in names)
        table = EmbeddingTable(TableConfig(features=features, max_rows=MAX_ROWS, seed=config.seed))
        self.table = table
        counts = (customers, items, items)
        self.parts = tuple(
            Served(table, name, EXACT, n) for name, n in zip(names, counts, strict=True)
        )
        self.publishing = Publishing(self.parts, config.interval_ms)
        self.history: dict[int, deque[int]] = {}
        self.inside: dict[int, set[int]] = {}
        self.ring = np.zeros(RING, dtype=np.int64)
        self.seen = 0
        self.draws = np.random.default_rng(config.seed)
        self.sold, self.popularity = np.zeros(items), np.full(items, -np.inf)
        self.sold_rows: list[int] = []
        self.start_ms: int | None = None

    def scores(self, customer: int, items: int, time_ms: int) -> Floats:
        """Served vectors' products, with recent popularity."""
        if self.publishing.reaches(time_ms):
            self.popularity[self.sold_rows] = np.log(self.sold[self.sold_rows])
            self.sold_rows.clear()
        context = self._context(customer)
        own, last, item = (part.copy for part in self.parts)
        vector = context.weights @ np.concatenate([own[context.rows[0]], last[context.rows[1]]])
        scores: Floats = item[:items] @ vector + self.popularity[:items]
        return scores

    def update(self, customer: int, item: int, basket: int, time_ms: int) -> None:
        """Learn that one item was bought, and others that sell as well were not."""
        inside = self.inside.setdefault(basket, set())
        drawn = self._draw(item, inside)
        if len(drawn):
            self._learn(self._context(customer), item, drawn, time_ms)
        self._remember(customer, item, time_ms)
        inside.add(item)

    def _context(self, customer: int) -> _Context:
        last = list(self.history.get(customer, ()))
        fading = self.config.fading ** np.arange(len(last))
        weights = fading / fading.sum() if last else fading
        own = [customer] if self.config.customer_weight else []
        return _Context(
            rows=[np.array(own, dtype=np.int64), np.array(last, dtype=np.int64)],
            weights=np.append([self.config.customer_weight] * len(own), weights).astype(np.float32),
        )

    def _draw(self, item: int, inside: set[int]) -> Ints:
        if not self.seen:
            return np.empty(0, dtype=np.int64)
        places = self.draws.integers(0, min(self.seen, RING), self.config.negatives)
        drawn = [each for each in self.ring[places].tolist() if each != item and each not in inside]
        return np.array(drawn, dtype=np.int64)

    def _learn(self, context: _Context, item: int, drawn: Ints, time_ms: int) -> None:
        rows = [*context.rows, np.append(item, drawn)]
        keys = np.concatenate([part.key[row] for part, row in zip(self.parts, rows, strict=True)])
        features = np.repeat([part.feature for part in self.parts], [len(row) for row in rows])
        vectors = self.table.lookup(keys, features)[0]
        n = len(context.weights)
        vector, candidates = context.weights @ vectors[:n], vectors[n:]
        margins = (candidates[0] - candidates[1:]) @ vector
        pull = 1.0 / (1.0 + np.exp(margins))  # of the log-sigmoid of each margin
        weights = np.append(-pull.sum(), pull)
        gradients = np.concatenate(
            [np.outer(context.weights, weights @ candidates), np.outer(weights, vector)]
        )
        seconds = np.full(len(keys), time_ms // SECOND_MS)
        self.table.learn(keys, features, seconds, gradients.astype(np.float32))
        self.publishing.note(*rows)

    def _remember(self, customer: int, item: int, time_ms: int) -> None:
        self.history.setdefault(customer, deque(maxlen=max(self.config.last, 1))).appendleft(item)
        if not self.config.last:
            self.history[customer].clear()
        self.ring[self.seen % RING] = item
        self.seen += 1
        self.start_ms = time_ms if self.start_ms is None else self.start_ms
        days = (time_ms - self.start_ms) / DAY_MS
        self.sold[item] += 2.0 ** (days / self.config.half_life_days)
        self.sold_rows.append(item)
