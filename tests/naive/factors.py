"""Slow, obvious twins of models over an embedding table: a dict from (field, key) to a record.

No id is ever forgotten, and a vector begins as ``start`` tells for (field, key). Everything is
reckoned in float64, so a twin agrees to rounding.
"""

import math

import numpy as np


class Record:
    """A bias and a vector, and row-wise Adagrad's sums of squares of each."""

    def __init__(self, vector, settings):
        self.bias, self.vector = 0.0, np.array(vector, dtype=float)
        self.settings = settings
        self.squares, self.bias_squares = settings.accumulator, settings.bias_accumulator
        self.count = 0

    def step(self, bias_gradient, gradient):
        s = self.settings
        g = gradient + s.l2 * self.vector
        b = bias_gradient + s.bias_l2 * self.bias
        if s.optimizer == "sgd":
            self.vector = self.vector - s.rate * g
            self.bias -= s.bias_rate * b
            return
        self.squares += float(g @ g) / len(g)
        self.vector = self.vector - s.rate * g / (math.sqrt(self.squares) + s.epsilon)
        self.bias_squares += b * b
        self.bias -= s.bias_rate * b / (math.sqrt(self.bias_squares) + s.epsilon)


class Records(dict):
    """Records by (field, key), begun when first asked for."""

    def __init__(self, settings, start):
        super().__init__()
        self.settings, self.start = settings, start

    def __missing__(self, place):
        self[place] = Record(self.start(*place), self.settings)
        return self[place]


class Factors:
    """A factorisation machine of ids; the mean and spread of targets are reckoned from all."""

    def __init__(self, settings, start, loss, values=None):
        self.records = Records(settings, start)
        self.loss, self.values = loss, values
        self.targets, self.weights = [], []

    def score(self, keys):
        found = self._found(keys)
        total = sum(x * record.bias for x, record in found)
        for i, (x, one) in enumerate(found):
            for y, other in found[i + 1 :]:
                total += x * y * float(one.vector @ other.vector)
        return total

    def _found(self, keys):
        values = self.values or [1.0] * len(keys)
        return [
            (x, self.records[(f, k)])
            for f, (x, k) in enumerate(zip(values, keys, strict=True))
            if k
        ]

    def mean(self):
        return np.average(self.targets, weights=self.weights) if self.targets else 0.0

    def spread(self):
        if not self.targets:
            return 0.0
        off = np.array(self.targets) - self.mean()
        return math.sqrt(np.average(off * off, weights=self.weights))

    def predict(self, keys):
        s = self.score(keys)
        if self.loss == "logistic":
            wins = float(np.dot(self.weights, self.targets)) + 0.5
            losses = float(np.dot(self.weights, 1.0 - np.array(self.targets))) + 0.5
            return 1.0 / (1.0 + math.exp(-(s + math.log(wins / losses))))
        if not self.targets:
            return 0.0
        return float(np.clip(self.mean() + self.spread() * s, min(self.targets), max(self.targets)))

    def learn(self, keys, y, w):
        predicted = self.predict(keys)
        self.targets.append(y)
        self.weights.append(w)
        g = w * (predicted - y)
        if self.loss == "squared":
            spread = self.spread()
            g = g / spread if spread > 1e-9 else 0.0
        found = self._found(keys)
        steps = []
        for i, (x, _) in enumerate(found):
            others = [y * other.vector for j, (y, other) in enumerate(found) if j != i]
            steps.append((g * x, g * x * sum(others, np.zeros(self.records.settings.dimension))))
        for (_, record), (b, v) in zip(found, steps, strict=True):
            record.step(b, v)
        return predicted


class Pairs:
    """Bayesian personalised ranking; negatives are told, the event's item is the last key."""

    def __init__(self, settings, start, *, biased, values=None):
        self.records = Records(settings, start)
        self.biased, self.values = biased, values

    def learn(self, keys, negatives, w):
        """Returns the chance by which the item stood above each negative before its step."""
        values = self.values or [1.0] * len(keys)
        context = [
            (x, self.records[(f, k)])
            for f, (x, k) in enumerate(zip(values[:-1], keys[:-1], strict=True))
            if k
        ]
        last = len(keys) - 1
        item = self.records[(last, keys[last])]
        sums = sum((x * record.vector for x, record in context), np.zeros(len(item.vector)))
        won = []
        for key in negatives:
            other = self.records[(last, key)]
            difference = item.vector - other.vector
            s = float(sums @ difference) + self.biased * (item.bias - other.bias)
            won.append(1.0 / (1.0 + math.exp(-s)))
            g = -w * (1.0 - won[-1])
            item.step(g * self.biased, g * sums)
            other.step(-g * self.biased, -g * sums)
            for x, record in context:
                record.step(0.0, g * x * difference)
        return won
