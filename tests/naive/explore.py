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


SERVED, ESTIMATE, RECUR, SHARED, OWN = 21, 22, 23, 24, 25


def joint_values(key, location, features, factor, own, item_keys):
    """One joint draw: location + features @ factor @ z + own · ε."""
    z = [naive.normal(naive.combine(key, SHARED, c)) for c in range(len(factor))]
    noise = [naive.normal(naive.combine(key, OWN, item)) for item in item_keys]
    return location + features @ factor @ z + own * noise


def joint_slot(slot_key, values, left, item_keys, mass, samples):
    """Pick, share of hits and recurrence of a slot; ``values(key)`` is one joint draw."""

    def winner(key):
        return max(left, key=lambda j: values(key)[j])

    if naive.uniform(naive.combine(slot_key, naive.EXPLORE)) < mass:
        pick = max(
            left, key=lambda j: naive.uniform(naive.combine(slot_key, naive.UNIFORM, item_keys[j]))
        )
    else:
        pick = winner(naive.combine(slot_key, SERVED))
    hits = [winner(naive.combine(slot_key, ESTIMATE, t)) == pick for t in range(samples)]
    recur, share = naive.combine(slot_key, RECUR), mass / len(left)
    by_floor = 1 + int(math.log(naive.uniform(recur)) / math.log1p(-share))
    for trial in range(1, by_floor):
        key = naive.combine(recur, trial)
        believed = naive.uniform(naive.combine(key, naive.EXPLORE)) < (1 - mass) / (1 - share)
        if believed and winner(key) == pick:
            return pick, np.mean(hits), trial
    return pick, np.mean(hits), by_floor
