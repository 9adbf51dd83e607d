"""retail: how often the next item a customer buys is among twenty recommended before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

from benchmarks.contest import Absent, Figure, Skipped
from benchmarks.evidence import RETAIL, best, find, points, skipped
from benchmarks.learners import PairRanker, RankerConfig
from benchmarks.peers.rankers import IMPLICIT, Popularity, RankerSetting, implicit_bpr, popularities
from simulator.progressive import Ranks, rank_purchases
from simulator.retail import DAY_MS, Purchases, read_purchases

__all__ = ["contests"]

NAME = "retail"
K = 20
COLD_DAYS = 60
QUICK = 300
PARTS = 24  # of the curve
GRID = (16, 32, 64), (0.05, 0.1, 0.2)  # dimensions and rates of ours

Grid = Callable[[], Iterator[RankerSetting]]


def contests(quick: bool) -> Iterator[Figure | Skipped]:
    """Settings are chosen on the first 60 days; then each contender goes once through all."""
    path = find(RETAIL)
    if path is None:
        yield skipped(NAME, RETAIL)
        return
    log = read_purchases(path)
    log = log.head(QUICK) if quick else log
    params = f"Online Retail, {len(log):,} purchase lines, hit rate@{K}"
    start = log.head(int(np.sum(log.time_ms - log.time_ms[0] <= COLD_DAYS * DAY_MS)))
    for name, (grid, missing) in _contenders(log).items():
        if missing is not None:
            yield Skipped(workload=NAME, params=params, peer=name, reason=missing.reason)
            continue
        settings = list(grid())[: 1 if quick else None]
        words, make = settings[0]
        if len(settings) > 1:
            words, make, _ = best(settings, lambda each: rank_purchases(each, start), _loss)
        yield from _figures(params, log, name, words, rank_purchases(make(), log))


def _contenders(log: Purchases) -> dict[str, tuple[Grid, Absent | None]]:
    ever = ("all purchases alike", lambda: Popularity(float("inf")))
    return {
        "popularity, ever": (lambda: iter([ever]), None),
        "popularity, recent": (popularities, None),
        "implicit BPR, refitted daily": (implicit_bpr, IMPLICIT),
        "slatestream BPR, customer only": (lambda: _ours(log, customers), None),
        "slatestream BPR, last items": (lambda: _ours(log, last_items), None),
    }


def customers() -> Iterator[RankerConfig]:
    """Nine settings with what implicit knows: who bought what, no order."""
    for dimension, rate in product(*GRID):
        yield RankerConfig(last=0, customer=1.0, dimension=dimension, rate=rate)


def last_items() -> Iterator[RankerConfig]:
    """Nine settings with the last items as context."""
    for dimension, rate in product(*GRID):
        yield RankerConfig(dimension=dimension, rate=rate)


def _ours(log: Purchases, configs: Callable[[], Iterator[RankerConfig]]) -> Iterator[RankerSetting]:
    for config in configs():
        words = (
            f"{config.dimension} factors, row-wise Adagrad {config.rate:g}, "
            f"{config.negatives} negatives"
        )
        yield words, partial(PairRanker, config, len(log.customer_ids), len(log.item_ids))


def _loss(found: Ranks) -> float:
    return -found.hit_rate(K)


def _figures(params: str, log: Purchases, name: str, words: str, found: Ranks) -> Iterator[Figure]:
    cold = log.cold(COLD_DAYS)
    columns = {
        "all lines": found.hit_rate(K),
        "repeats": found.hit_rate(K, found.repeat),
        "first purchases": found.hit_rate(K, ~found.repeat),
        "first purchases, bought ones left out": found.new_hit_rate(K),
        "cold items": found.hit_rate(K, cold),
        "cold, bought ones left out": found.new_hit_rate(K, cold),
    }
    for column, value in columns.items():
        if math.isnan(value):  # no such line: the log is too short
            continue
        yield Figure(
            workload=NAME,
            params=params,
            what=name,
            value=100 * value,
            unit="%",
            note=words,
            column=column,
        )
    each = len(log) / PARTS
    x = [each * (part + 1) for part in range(PARTS)]
    yield from points(NAME, params, name, x, 100 * found.curve(K, PARTS))
