"""The decide-and-learn loop as the papers write it: one inverse an arm, all arms scored."""

import numpy as np

from engine.batches import hash_key
from tests.naive import combine, normal, uniform

__all__ = ["run_linear"]


def pick_tied(key, item_keys, index):
    best = np.flatnonzero(index == index.max())
    if len(best) == 1:
        return int(best[0])
    return int(max(best, key=lambda arm: uniform(combine(combine(key, 14), item_keys[arm]))))


def pick_by_gap(key, mean, gamma):
    best = mean == mean.max()
    p = 1.0 / (len(mean) + gamma * (mean.max() - mean))
    p[best] = (1.0 - p[~best].sum()) / best.sum()
    left = uniform(combine(key, 13)) - np.cumsum(p)
    return int(np.argmax(left < 0)) if np.any(left < 0) else len(mean) - 1


def run_linear(x, rewards, *, exploration, alpha, ridge, gamma, floor, seed, columnwise=False):
    (n, d), arms = x.shape, rewards.shape[1]
    precision = np.array([np.eye(d) * ridge * d for _ in range(arms)])
    moment = np.zeros((arms, d))
    item_keys = [hash_key(f"arm-{arm}") for arm in range(arms)]
    picks = []
    for t in range(n):
        key = combine(seed, t)
        inverse = [np.linalg.inv(matrix) for matrix in precision]
        mean = np.array([inverse[arm] @ moment[arm] @ x[t] for arm in range(arms)])
        width = np.array([np.sqrt(x[t] @ inverse[arm] @ x[t]) for arm in range(arms)])
        if floor and uniform(combine(key, 11)) < floor:
            draws = [uniform(combine(combine(key, 12), item)) for item in item_keys]
            pick = int(np.argmax(draws))
        elif exploration == "squarecb":
            pick = pick_by_gap(key, mean, gamma * np.sqrt(t))
        else:
            scale = {"greedy": 0.0, "ucb": alpha}.get(exploration)
            if scale is None:
                draws = [normal(combine(combine(key, 13), item)) for item in item_keys]
                scale = alpha * np.array(draws)
            pick = pick_tied(key, item_keys, np.round(mean + scale * width, 12))
        outer = np.outer(x[t], x[t])
        precision[pick] += np.diag(np.diag(outer)) if columnwise else outer
        moment[pick] += rewards[t, pick] * x[t]
        picks.append(pick)
    return np.array(picks)
