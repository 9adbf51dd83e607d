"""collisions: what it costs that ids share rows (Liu et al. 2022, section 4.2, in small)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.contest import Figure, Skipped
from benchmarks.evidence import RATINGS, find, skipped
from benchmarks.learners import EXACT, FactorRater, Ids, RaterConfig
from simulator.progressive import Predictions
from simulator.ratings import Ratings, read_ratings

__all__ = ["contests", "rows_for"]

NAME = "collisions"
PAPER = (0.0773, 0.0286)  # of users and of movies, on MovieLens
HARSHER = (0.2, 0.4, 0.6, 0.8)  # of both
SEEDS = 20
QUICK = 300


def contests(quick: bool) -> Iterator[Figure | Skipped]:
    """The same learner, with rows of their own and with hashed ones."""
    path = find(RATINGS)
    if path is None:
        yield skipped(NAME, RATINGS)
        return
    log = read_ratings(path)
    log = log.head(QUICK) if quick else log
    seeds = range(1 if quick else SEEDS)
    params = f"MovieTweetings, {len(log):,} ratings, {len(seeds)} hash functions"
    users, items = len(log.user_ids), len(log.item_ids)
    exact = _rmse(log, EXACT, EXACT)
    yield from _row(params, "the table: none", 0.0, [exact], exact)
    for lost_users, lost_items in (PAPER, *((each, each) for each in HARSHER)):
        rows = rows_for(users, lost_users), rows_for(items, lost_items)
        found = [
            _rmse(log, Ids(rows=rows[0], seed=2 * seed), Ids(rows=rows[1], seed=2 * seed + 1))
            for seed in seeds
        ]
        what = f"hashed: {100 * lost_users:.3g} % of users, {100 * lost_items:.3g} % of movies"
        yield from _row(params, what, 100 * lost_users, found, exact)


def rows_for(count: int, lost: float) -> int:
    """Rows with which a random hash is expected to take this share of so many ids away."""
    low, high = 1.0, 1e6 * count
    for _ in range(200):
        rows = float(np.sqrt(low * high))
        used = -rows * math.expm1(-count / rows)
        low, high = (rows, high) if used < (1.0 - lost) * count else (low, rows)
    return round(rows)


def _rmse(log: Ratings, users: Ids, items: Ids) -> float:
    config = replace(RaterConfig(), users=users, items=items)
    rater = FactorRater(config, len(log.user_ids), len(log.item_ids))
    told = rater.learn(log.user, log.item, log.value, log.time_ms)  # each before it is learned
    return Predictions(predicted=told, value=log.value).rmse


def _row(params: str, what: str, lost: float, found: list[float], exact: float) -> Iterator[Figure]:
    mean = float(np.mean(found))
    columns = {
        "RMSE": (mean, 5),
        "least": (min(found), 5),
        "most": (max(found), 5),
        "worse by": (mean - exact, 2),
    }
    for column, (value, digits) in columns.items():
        first = column == "RMSE"
        at: dict[str, float | str] = {"chart": NAME, "series": "RMSE", "x": lost}
        yield Figure(
            workload=NAME,
            params=params,
            what=what,
            value=value,
            unit="",
            column=column,
            digits=digits,
            at=at | {"low": min(found), "high": max(found)} if first else {},
        )
