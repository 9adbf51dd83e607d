"""Retrieval, one row and one event at a time."""

import numpy as np


def allowed(row, records, filters):
    """Whether a row may be returned to anybody."""
    if len(records.live) and not records.live[row]:
        return False
    if len(filters.available) and not filters.available[row]:
        return False
    if len(filters.available_from) and filters.now_ms < filters.available_from[row]:
        return False
    return not (len(filters.expires_at) and filters.now_ms >= filters.expires_at[row])


def score(row, query, records):
    """In double precision: whole numbers of float32 come out the same."""
    record = records.slab[row].astype(float)
    vector = record[records.start : records.start + records.size]
    return float(vector @ query) + (record[records.bias] if records.bias >= 0 else 0.0)


def search(records, queries, k, filters, excluded=None, rows=None):
    """Rows and scores, -1 and -inf where there are fewer."""
    rows = range(len(records.slab)) if rows is None else sorted(set(rows))
    all_rows, all_scores = [], []
    for i, query in enumerate(queries):
        banned = set() if excluded is None else set(np.asarray(excluded[i]).tolist())
        scored = [
            (-score(row, query, records), row)
            for row in rows
            if allowed(row, records, filters) and row not in banned
        ]
        best = sorted(pair for pair in scored if pair[0] == pair[0])[:k]
        lack = k - len(best)
        all_rows.append([row for _, row in best] + [-1] * lack)
        all_scores.append([-value for value, _ in best] + [-np.inf] * lack)
    return np.array(all_rows), np.array(all_scores)


class Clusters:
    """Streaming k-means: `engine.kernels.retrieval.clusters` in plain words."""

    def __init__(self, config):
        self.config = config
        self.values, self.wins, self.born = [], [], []
        self.mass, self.error = [], []
        self.events, self.split = 0, None

    def learn(self, x):
        config, k = self.config, self.config.count
        x = np.asarray(x, dtype=np.float32)
        if not np.all(np.abs(x) <= 1e9):
            return
        self.events += 1
        gaps = [float(np.sum((x.astype(float) - value) ** 2)) for value in self.values]
        nearest = int(np.argmin(gaps)) if gaps else -1
        if len(self.values) < k and (not gaps or gaps[nearest] > 0):
            for column, value in zip(self._columns(), (x, 1, self.events, 1.0, 0.0), strict=True):
                column.append(value)
        elif self.split and nearest == self.split[1]:
            dead, heavy = self.split
            self.mass[heavy] /= 2
            self.error[heavy] /= 2
            new = x, 1, self.events, self.mass[heavy] + 1, self.error[heavy]
            for column, value in zip(self._columns(), new, strict=True):
                column[dead] = value
            self.split = None
        else:
            self.wins[nearest] += 1
            step = max(1 / self.wins[nearest], config.least_step)
            old = self.values[nearest].astype(float)
            self.values[nearest] = (old + step * (x.astype(float) - old)).astype(np.float32)
            self.mass[nearest] += 1
            self.error[nearest] += gaps[nearest]
        if self.events % (config.check_every or k) == 0 and len(self.values) == k:
            dead, heavy = int(np.argmin(self.mass)), int(np.argmax(self.error))
            few = self.mass[dead] < config.dead_share * sum(self.mass) / k
            self.split = (dead, heavy) if few and dead != heavy and self.error[heavy] > 0 else None
        if self.events % (config.half_life or 64 * k) == 0:
            self.mass = [value / 2 for value in self.mass]
            self.error = [value / 2 for value in self.error]

    def _columns(self):
        return self.values, self.wins, self.born, self.mass, self.error


def assign(values, x, top, temperature):
    """Numbers of the nearest and their weights."""
    gaps = np.sum((np.asarray(values, float) - np.asarray(x, np.float32).astype(float)) ** 2, 1)
    order = np.argsort(gaps, kind="stable")[:top]
    weights = np.exp(-(gaps[order] - gaps[order[0]]) / (2 * temperature))
    return order, weights / weights.sum()


def means(vectors, values):
    """One step of k-means: the mean of what is nearest to each centroid."""
    found = [int(np.argmin([np.sum((x - c) ** 2) for c in values])) for x in vectors.astype(float)]
    return np.array([vectors[np.equal(found, c)].mean(axis=0) for c in range(len(values))])
