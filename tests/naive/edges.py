"""Slow, obvious twins of sums by edge: a dict from (item, cluster) to [d, b]."""

import math

from tests.naive import MASK, mix


def edge_key(item_key, cluster):
    return mix(mix(int(item_key)) ^ int(cluster))


def unmix(value):
    """The inverse of the mixing step, so that a test can ask for any key."""
    value = _unshift(value, 31)
    value = _unshift(value * pow(0x94D049BB133111EB, -1, 1 << 64) & MASK, 27)
    value = _unshift(value * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & MASK, 30)
    return (value - 0x9E3779B97F4A7C15) & MASK


def _unshift(value, bits):
    found = value
    for _ in range(64 // bits):
        found = value ^ (found >> bits)
    return found


def learn(edges, item, weights, reward, *, weight=1.0, chance=1.0, normalised):
    """One event: ``weights`` maps clusters to what they weigh."""
    size = sum(abs(w) for w in weights.values())
    for cluster, w in weights.items():
        if w:
            edge = edges.setdefault((item, cluster), [0.0, 0.0])
            share = w / size if normalised else w
            edge[0] += weight * chance**2 * (abs(share) if normalised else share**2)
            edge[1] += weight * chance * share * reward


def score(edges, item, weights, *, prior, normalised):
    """Mean and spread of an item at a context's weights."""
    known = {}
    for cluster, w in weights.items():
        d, b = edges.get((item, cluster), (0.0, 0.0))
        if w and d + prior > 0:
            known[cluster] = w, b / (d + prior), 1 / (d + prior)
    if not known:
        return 0.0, math.sqrt(1 / prior) if prior else math.inf
    size = sum(abs(w) for w, _, _ in known.values()) if normalised else 1.0
    mean = sum(w / size * theta for w, theta, _ in known.values())
    return mean, math.sqrt(sum((w / size) ** 2 * v for w, _, v in known.values()))
