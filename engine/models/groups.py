"""Priors of groups of items, derived from the items' own sums: empirical Bayes by moments.

A new item of a known group (its genre, its seller) is believed what its group's items have
earned. The group of an item is a categorical item feature; what an item adds to the sums is the
weight of its outcomes by group, so sums still add, and priors are derived from them when beliefs
are published, never folded in.

Two levels: the population of all items stands above its groups. Each level's estimate counts the
level above as one more item, the population's being the prior of the settings; so a group of few
items is near the population, and none is ever certain of its spread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from engine.features import Categorical, Schema

__all__ = ["add_groups", "check_group", "group_levels", "pool_items"]


def check_group(group: str, schema: Schema) -> None:
    """Raise ``ConfigError`` when ``group`` is given and is no categorical item feature."""
    known = [f.name for f in schema.features if isinstance(f, Categorical) and f.of == "item"]
    if group and group not in known:
        raise ConfigError(
            f"group is {group!r}; give the name of a categorical feature of the item "
            f"(declared are {known}), or leave it empty"
        )


def add_groups(
    sums: Floats, rows: Ints, z: Floats, weight: Floats, group: str, schema: Schema
) -> None:
    """Writes: sums ``(m, e)``. Add the weight of every outcome to the column of its item's group.

    In log order: `ufunc.at` adds one after the other, so batch cuts leave no trace.
    """
    places = np.array(schema.places(group))
    np.add.at(sums, (rows[:, None], places), weight[:, None] * z[:, places])


def group_levels(z: Floats, group: str, schema: Schema) -> Ints:
    """Level of every item: 1 + its group, 0 (the population) without one, int64 ``(n,)``.

    ``z`` ``(n, e)`` are rows of items, or sums of them: then the group most often told.
    """
    if not group or not z.shape[1]:
        return np.zeros(len(z), dtype=np.int64)
    told = z[:, schema.places(group)]
    return np.where(np.any(told > 0.0, axis=1), 1 + np.argmax(told, axis=1), 0)


def pool_items(
    weight: Floats,
    mean: Floats,
    level: Ints,
    groups: int,
    *,
    prior_mean: float,
    prior_spread: float,
    prior_weight: float,
    variance: Callable[[Floats], Floats],
    bounded: bool = False,
) -> tuple[Floats, Floats]:
    """Mean and spread of the items' means at every level, each ``(groups + 1,)``.

    With n the weight of an item's outcomes and y their mean, an item counts
    ``h = n / (n + prior_weight)``, at most 1. Then, U being the level above::

        mean   = (mean_U + Σ h y) / (1 + Σ h)
        spread = (spread_U + max(0, Σ h ((y - mean)² / v - 1 / n))) / (1 + Σ h (1 - c / n))

    over the items of the level: by the method of moments, for an item's mean is about the
    level's with variance ``v (spread + (1 - c spread) / n)``. The spread is the variance between
    items in units of the variance ``v`` within one; for bounded rewards ``v = mean (1 - mean)`` is
    the variance of both together, and c is 1 rather than 0.

    Parameters
    ----------
    weight, mean, level
        Of every item, ``(m,)``; level 0 are items of no group.
    prior_mean, prior_spread, prior_weight
        What stands above the population, and how many outcomes it is worth.
    variance
        Variance v within an item, of the level's mean.
    """
    share = weight / (weight + prior_weight)
    own = float(bounded)
    told = np.where(weight > own, share, 0.0)  # items that say something of the spread
    inverse = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0.0)

    def estimate(at: Ints, size: int, above: Floats, spread_above: Floats) -> tuple[Floats, Floats]:
        def total(values: Floats) -> Floats:
            return np.bincount(at, values, size).astype(np.float64)

        middle = (above + total(share * mean)) / (1.0 + total(share))
        within = variance(middle)[at]
        excess = total(told * ((mean - middle[at]) ** 2 / within - inverse))
        counted = 1.0 + total(told * (1.0 - own * inverse))
        return middle, (spread_above + np.maximum(excess, 0.0)) / counted

    everyone = np.zeros(len(level), dtype=np.int64)
    top = estimate(everyone, 1, np.array([prior_mean]), np.array([prior_spread]))
    grouped = level > 0
    share, told, mean, inverse = (a[grouped] for a in (share, told, mean, inverse))
    below = estimate(level[grouped] - 1, groups, *(np.repeat(value, groups) for value in top))
    return np.concatenate([top[0], below[0]]), np.concatenate([top[1], below[1]])
