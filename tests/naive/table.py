"""The embedding table in dicts and lists: slow, and as its documentation says."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.embeddings.config import TableConfig, VectorConfig
from engine.kernels.random import normal1

WORD = (1 << 64) - 1
F = np.float32


def mix(value: int) -> int:
    """SplitMix64's finaliser."""
    value = (value + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def combine(key: int, part: int) -> int:
    return mix(mix(key) ^ part)


@dataclass
class Record:
    key: int
    feature: int
    check: int
    touched: int
    vector: list[Any]
    state: list[Any] = field(default_factory=list)
    count: int = 0
    steps: int = 0


class NaiveSketch:
    """Lines of 128 counters up to 15, four of a key in one line; halved one after the other."""

    def __init__(self, lines: int, seed: int) -> None:
        self.lines = [[0] * 128 for _ in range(lines)]
        self.seed, self.hand, self.adds = seed, 0, 0

    def counters(self, key: int) -> tuple[list[int], set[int]]:
        spread = combine(self.seed ^ 0x5EED, key)
        line = self.lines[(spread >> 32) % len(self.lines)]
        places = set()
        for i in range(4):
            bits = spread >> (7 * i)
            places.add((bits & 7) * 16 + ((bits >> 3) & 15))
        return line, places

    def estimate(self, key: int) -> int:
        line, places = self.counters(key)
        return min(line[place] for place in places)

    def count(self, key: int) -> int:
        line, places = self.counters(key)
        least = min(line[place] for place in places)
        for place in places:
            if line[place] == least < 15:
                line[place] += 1
        self.adds += 1
        if self.adds == 128:
            self.adds = 0
            self.lines[self.hand] = [counter // 2 for counter in self.lines[self.hand]]
            self.hand = (self.hand + 1) % len(self.lines)
        return min(least + 1, 15)


class NaiveTable:
    """Same ids admitted, touched, expired, evicted, in the same records, as `EmbeddingTable`."""

    def __init__(self, config: TableConfig) -> None:
        self.config = config
        self.rows: dict[int, Record] = {}  # in use
        self.of: dict[int, int] = {}
        self.free: deque[int] = deque()
        self.shared = len(config.features)
        self.fresh = self.hand = self.shared
        self.draws = self.watermark = 0
        self.sketch = NaiveSketch(config.sketch_bytes // 64, config.seed)
        self.told: Counter[str] = Counter()
        for row in range(self.shared):
            self.rows[row] = self.begun(mix(row), 0, row, 0)

    def begun(self, key: int, check: int, feature: int, touched: int) -> Record:
        of = self.config.features[feature]
        seed = combine(mix(self.config.seed), key)
        vector = [F(of.scale * normal1(np.uint64(combine(seed, j)))) for j in range(of.width)]
        if of.bias:
            vector[0] = F(0)
        record = Record(key, feature, check, touched, vector)
        sizes = {"sgd": 0, "rowwise": 2, "adagrad": of.width}
        record.state = [F(0)] * sizes.get(of.optimizer, 2 * of.width)
        if of.optimizer == "ftrl":
            for j, w in enumerate(vector):
                rate, l2 = (of.bias_rate, of.bias_l2) if j < of.bias else (of.rate, of.l2)
                z = float(w) * (of.betas[0] / rate + l2) + float(np.sign(w)) * of.betas[1]
                record.state[j] = F(-z)
        return record

    def expired(self, row: int) -> bool:
        record = self.rows[row]
        ttl = self.config.features[record.feature].ttl_seconds
        return ttl > 0 and record.touched + ttl < self.watermark

    def remove(self, row: int) -> None:
        key = self.rows.pop(row).key
        del self.of[key]
        self.free.append(row)
        self.sketch.count(mix(key ^ 0x60E))

    def reach(self, seconds: int) -> None:
        if seconds > self.watermark:
            ahead = self.watermark + self.config.max_jump_seconds
            if self.watermark > 0 and seconds > ahead:
                seconds = ahead
                self.told["clamped"] += 1
            self.watermark = seconds
        for _ in range(2 if any(each.ttl_seconds for each in self.config.features) else 0):
            if self.fresh > self.shared:
                if self.hand in self.rows and self.expired(self.hand):
                    self.told["expired"] += 1
                    self.remove(self.hand)
                self.hand = self.hand + 1 if self.hand + 1 < self.fresh else self.shared

    def worth(self, row: int) -> int:
        return self.rows[row].touched + 86_400 * self.rows[row].count.bit_length()

    def evict(self, held: set[int]) -> None:
        found: list[int] = []
        tries = 0
        while len(found) < 8 and tries < 64:
            draw = combine(mix(self.config.seed), self.draws)
            row = self.shared + draw % (self.fresh - self.shared)
            self.draws += 1
            tries += 1
            if row in self.rows and row not in held:
                found.append(row)
        if not found:
            found = [min(row for row in self.rows if row >= self.shared and row not in held)]
        self.told["evicted"] += 1
        self.remove(min(found, key=self.worth))  # the first of equals

    def admit(self, key: int, check: int, feature: int, held: set[int]) -> int:
        threshold = self.config.features[feature].threshold
        if threshold > 1 and self.sketch.count(key) < threshold:
            self.told["rejected"] += 1
            return feature
        if len(self.of) >= self.config.max_rows:
            self.evict(held)
        if len(self.free) > self.config.grace:
            row = self.free.popleft()
        else:
            row = self.fresh
            self.fresh += 1
        self.rows[row] = self.begun(key, check, feature, self.watermark)
        self.of[key] = row
        self.told["admitted"] += 1
        self.told["readmitted"] += self.sketch.estimate(mix(key ^ 0x60E)) > 0
        return row

    def claim(self, key: int, feature: int, seconds: int, check: int = 0) -> int:
        """One event of one key; its record."""
        self.reach(seconds)
        row = self.of.get(key, -1)
        if row >= 0 and self.expired(row):
            self.told["expired"] += 1
            self.remove(row)
            row = -1
        if row < 0:
            row = self.admit(key, check, feature, set())
        elif self.rows[row].check != check:
            self.told["collisions"] += 1
        record = self.rows[row]
        record.touched = self.watermark
        record.count += 1
        return row

    def learn(self, key: int, feature: int, seconds: int, gradient: Any, check: int = 0) -> int:
        row = self.claim(key, feature, seconds, check)
        step(self.config.features[feature], self.rows[row], [F(g) for g in gradient])
        return row

    def erase(self, key: int) -> int:
        if key not in self.of:
            return 0
        self.remove(self.of[key])
        self.told["erased"] += 1
        return 1

    def lookup(self, key: int, feature: int) -> tuple[Any, bool]:
        """Vector read for a key, and whether it is its own."""
        row = self.of.get(key, -1)
        own = row >= 0 and not self.expired(row)
        return self.rows[row if own else feature].vector, own


def step(  # noqa: C901
    of: VectorConfig, record: Record, gradient: list[Any]
) -> None:
    """One step of a record's optimizer, number by number, in float32."""
    d, state, v = of.width, record.state, record.vector
    first = int(of.bias)
    rates = [F(of.bias_rate)] * first + [F(of.rate)] * (d - first)
    shrinks = [F(of.bias_l2)] * first + [F(of.l2)] * (d - first)
    g = [gradient[j] + shrinks[j] * v[j] for j in range(d)]
    epsilon = F(of.epsilon)
    record.steps += of.optimizer == "adam"
    if of.optimizer == "sgd":
        for j in range(d):
            v[j] -= rates[j] * g[j]
    elif of.optimizer == "rowwise":
        if first:
            state[1] += g[0] * g[0]
            v[0] -= rates[0] * g[0] / (np.sqrt(state[1]) + epsilon)
        total = F(0)
        for j in range(first, d):
            total += g[j] * g[j]
        state[0] += total / F(max(d - first, 1))
        for j in range(first, d):
            v[j] -= rates[j] / (np.sqrt(state[0]) + epsilon) * g[j]
    elif of.optimizer == "adagrad":
        for j in range(d):
            state[j] += g[j] * g[j]
            v[j] -= rates[j] * g[j] / (np.sqrt(state[j]) + epsilon)
    elif of.optimizer == "adam":
        one, beta1, beta2 = F(1), F(of.betas[0]), F(of.betas[1])
        for j in range(d):
            state[j] = beta1 * state[j] + (one - beta1) * g[j]
            state[d + j] = beta2 * state[d + j] + (one - beta2) * g[j] * g[j]
            m = state[j] / (one - beta1 ** F(record.steps))
            n = state[d + j] / (one - beta2 ** F(record.steps))
            v[j] -= rates[j] * m / (np.sqrt(n) + epsilon)
    else:
        ftrl(of, record, gradient, rates, shrinks)


def ftrl(of: VectorConfig, record: Record, gradient: list[Any], rates: Any, shrinks: Any) -> None:
    """Algorithm 1 of McMahan et al. 2013."""
    d, state, v = of.width, record.state, record.vector
    beta, l1 = F(of.betas[0]), F(of.betas[1])
    for j, g in enumerate(gradient[:d]):
        n = state[d + j]
        state[j] += g - (np.sqrt(n + g * g) - np.sqrt(n)) / rates[j] * v[j]
        state[d + j] = n + g * g
        z = state[j]
        if abs(z) <= l1:
            v[j] = F(0)
        else:
            v[j] = -(z - np.sign(z) * l1) / ((beta + np.sqrt(n + g * g)) / rates[j] + shrinks[j])
