"""Slow, obvious twin of the priors of groups: one item at a time."""

import numpy as np


def pool(items, above, prior_weight, variance, bounded):
    """Mean and spread of one level; items are (weight, mean), above is (mean, spread)."""
    shares = [n / (n + prior_weight) for n, _ in items]
    mean = above[0] + sum(h * y for h, (_, y) in zip(shares, items, strict=True))
    mean /= 1 + sum(shares)
    excess, counted = 0.0, 1.0
    for h, (n, y) in zip(shares, items, strict=True):
        if n > bounded:
            excess += h * ((y - mean) ** 2 / variance(mean) - 1 / n)
            counted += h * (1 - bounded / n)
    return mean, (above[1] + max(excess, 0.0)) / counted


def pool_items(weight, mean, level, groups, prior, prior_weight, variance, bounded=False):
    """The same at every level: the population, then every group."""
    items = list(zip(weight, mean, strict=True))
    top = pool(items, prior, prior_weight, variance, bounded)
    found = [top]
    for group in range(1, groups + 1):
        members = [item for item, at in zip(items, level, strict=True) if at == group]
        found.append(pool(members, top, prior_weight, variance, bounded))
    return np.array(found).T
