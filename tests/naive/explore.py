"""Twins of the draws whose probabilities are stated outright: each formula as its paper has it."""

import math

import numpy as np
import scipy.optimize

from tests import naive

RACE = 15


def softmax(score, temperature):
    odds = np.exp((score - max(score)) / temperature)
    return odds / odds.sum()


def squarecb(mean, gamma):
    """Bests share what the others leave."""
    best = mean == max(mean)
    p = 1 / (len(mean) + gamma * (max(mean) - mean))
    p[best] = (1 - p[~best].sum()) / best.sum()
    return p


def fastcb(loss, gamma):
    best = loss == min(loss)
    p = np.zeros(len(loss))
    for a in np.flatnonzero(~best):
        p[a] = min(loss) / (len(loss) * min(loss) + gamma * (loss[a] - min(loss)))
    p[best] = (1 - p[~best].sum()) / best.sum()
    return p


def exp3(sums, gamma):
    size = len(sums)
    return (1 - gamma) * softmax(sums, size / gamma) + gamma / size


def top_m(score, m):
    """Average, over orders in which ties may stand, of a uniform pick of the first m."""
    m = min(m, len(score))
    boundary = np.sort(score)[-m]
    above, tied = score > boundary, score == boundary
    return np.where(above, 1 / m, np.where(tied, (m - above.sum()) / tied.sum() / m, 0))


def bagging(replicas):
    best = replicas == replicas.max(axis=1, keepdims=True)
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def draw_slate(probabilities, item_keys, key, seed, mass, k):
    """The slate whose exponential clocks ring first."""
    left, slate, found = list(range(len(item_keys))), [], []
    for slot in range(k):
        race = naive.combine(int(seed), key, slot, RACE)
        p = (1 - mass) * probabilities(left) + mass / len(left)
        times = [
            -math.log(naive.uniform(naive.combine(race, item_keys[j]))) / w if w else math.inf
            for j, w in zip(left, p, strict=True)
        ]
        at = int(np.argmin(times))
        found.append(p[at])
        slate.append(left.pop(at))
    return slate, found


def kl_bound(mean, count, budget):
    """By bisection; for means inside (0, 1)."""

    def excess(q):
        kl = mean * math.log(mean / q) + (1 - mean) * math.log((1 - mean) / (1 - q))
        return count * kl - budget

    return scipy.optimize.brentq(excess, mean, 1 - 1e-15, xtol=1e-15, rtol=1e-14)
