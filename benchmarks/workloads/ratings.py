"""ratings: progressive error of ratings predicted, each before it is learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

from benchmarks.contest import Absent, Figure, Skipped
from benchmarks.evidence import RATINGS, best, find, points, skipped
from benchmarks.learners import FactorRater, RaterConfig
from benchmarks.peers.raters import RATERS, Mean, Setting
from simulator.progressive import Predictions, rate
from simulator.ratings import Ratings, read_ratings

__all__ = ["contests"]

NAME = "ratings"
OURS = "slatestream, factorisation in the table"
QUICK = 300
PARTS = 20  # of the curve

Contender = tuple[Callable[[], Iterator[Setting]], Absent | None]


def contests(quick: bool) -> Iterator[Figure | Skipped]:
    """Every contender at its best of nine settings, on the whole log."""
    path = find(RATINGS)
    if path is None:
        yield skipped(NAME, RATINGS)
        return
    log = read_ratings(path)
    log = log.head(QUICK) if quick else log
    params = f"MovieTweetings, {len(log):,} ratings in time order, batch 1"
    yield from _figures(params, log, "mean so far", "", rate(Mean(), log))
    contenders: dict[str, Contender] = {OURS: (partial(ours, log), None), **RATERS}
    for name, (grid, missing) in contenders.items():
        if missing is not None:
            yield Skipped(workload=NAME, params=params, peer=name, reason=missing.reason)
            continue
        words, _, found = best(_some(grid(), quick), lambda each: rate(each, log), _loss)
        yield from _figures(params, log, name, words, found)


def ours(log: Ratings) -> Iterator[Setting]:
    """Nine settings: the biases' rate, and where Adagrad's sums for them start."""
    for bias_rate, start in product((0.3, 0.35, 0.4), (0.7, 1.0, 1.5)):
        config = RaterConfig(bias_rate=bias_rate, bias_accumulator=start)
        words = (
            f"{config.dimension} factors, row-wise Adagrad {bias_rate:g} for biases, "
            f"{config.rate:g} for factors, sums of biases from {start:g}"
        )
        yield words, partial(FactorRater, config, len(log.user_ids), len(log.item_ids))


def _loss(found: Predictions) -> float:
    return found.rmse


def _some(grid: Iterator[Setting], quick: bool) -> list[Setting]:
    return list(grid)[: 1 if quick else None]


def _figures(
    params: str, log: Ratings, name: str, words: str, found: Predictions
) -> Iterator[Figure]:
    half = len(log) // 2
    late = Predictions(predicted=found.predicted[half:], value=found.value[half:])
    for column, value in (("RMSE", found.rmse), ("of the second half", late.rmse)):
        yield Figure(
            workload=NAME,
            params=params,
            what=name,
            value=value,
            unit="",
            note=words,
            column=column,
            digits=5,
        )
    each = len(log) / PARTS
    x = [each * (part + 1) for part in range(PARTS)]
    yield from points(NAME, params, name, x, found.curve(PARTS))
