"""sync: what it costs that servers lag behind the learner (Liu et al. 2022, section 4.3, in small).

The learner learns every event as it comes; predictions read what was published at the last
multiple of the interval of event time. Scored is what comes after the longest interval, so that
something had been published by then, whatever the interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.contest import Figure, Skipped
from benchmarks.evidence import RATINGS, RETAIL, find, skipped
from benchmarks.learners import FactorRater, PairRanker, RankerConfig, RaterConfig
from engine.batches import Flags, Ints
from simulator.progressive import Predictions, rank_purchases, rate
from simulator.ratings import Ratings, read_ratings
from simulator.retail import Purchases, read_purchases

__all__ = ["contests"]

NAME = "sync"
SECONDS = {
    "at once": 0,
    "10 s": 10,
    "1 min": 60,
    "10 min": 600,
    "1 h": 3600,
    "6 h": 21_600,
    "1 day": 86_400,
    "1 week": 604_800,
    "4 weeks": 2_419_200,
}
K, COLD_DAYS = 20, 60
QUICK = 300


def contests(quick: bool) -> Iterator[Figure | Skipped]:
    """Ratings and purchases, each against the interval."""
    found = find(RATINGS), find(RETAIL)
    if found[0] is None:
        yield skipped(NAME, RATINGS)
    else:
        log = read_ratings(found[0])
        yield from _ratings(log.head(QUICK) if quick else log)
    if found[1] is None:
        yield skipped(NAME, RETAIL)
    else:
        purchases = read_purchases(found[1])
        yield from _purchases(purchases.head(QUICK) if quick else purchases)


def _ratings(log: Ratings) -> Iterator[Figure]:
    later = _later(log.time_ms)
    params = f"MovieTweetings, {np.sum(later):,} ratings after 4 weeks"
    for what, seconds in SECONDS.items():
        config = replace(RaterConfig(), interval_ms=1000 * seconds)
        rater = FactorRater(config, len(log.user_ids), len(log.item_ids))
        found = rate(rater, log)
        part = Predictions(predicted=found.predicted[later], value=found.value[later])
        yield _figure(params, what, seconds, "RMSE", part.rmse, digits=5)


def _purchases(log: Purchases) -> Iterator[Figure]:
    later = _later(log.time_ms)
    params = f"Online Retail, {np.sum(later):,} purchase lines after 4 weeks, hit rate@{K}"
    cold = log.cold(COLD_DAYS)
    for what, seconds in SECONDS.items():
        config = replace(RankerConfig(), interval_ms=1000 * seconds)
        ranker = PairRanker(config, len(log.customer_ids), len(log.item_ids))
        ranks = rank_purchases(ranker, log)
        yield _figure(params, what, seconds, "all lines", 100 * ranks.hit_rate(K, later), unit="%")
        if cold.any():
            rate_cold = 100 * ranks.hit_rate(K, cold)
            yield _figure(params, what, seconds, "cold items", rate_cold, unit="%")


def _later(time_ms: Ints) -> Flags:
    """Which events come after the longest interval; all of a log that is shorter."""
    later: Flags = time_ms >= time_ms[0] + 1000 * max(SECONDS.values())
    return later if later.any() else np.ones_like(later)


def _figure(
    params: str,
    what: str,
    seconds: int,
    column: str,
    value: float,
    *,
    unit: str = "",
    digits: int = 3,
) -> Figure:
    return Figure(
        workload=NAME,
        params=params,
        what=what,
        value=value,
        unit=unit,
        column=column,
        digits=digits,
        at={"chart": NAME, "series": column, "x": float(seconds)} if seconds else {},
    )
