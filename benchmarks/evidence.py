"""What workloads of quality share: where real data lies, and each contender at its best."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from benchmarks.contest import Figure, Skipped

__all__ = ["DATA", "MISSING", "RATINGS", "RETAIL", "best", "find", "points", "skipped"]

DATA = "SLATESTREAM_DATA"
RATINGS = "movietweetings_100k/ratings.dat"
RETAIL = "online_retail/online_retail.csv.gz"
MISSING = (
    f"set {DATA} to a folder that has {RATINGS} (github sidooms/MovieTweetings, snapshot 100K) and "
    f"{RETAIL} (UCI Online Retail, 352)"
)

Learner = TypeVar("Learner")
Found = TypeVar("Found")


def find(name: str) -> Path | None:
    """Return the file of a data set, None when it is not there."""
    path = Path(os.environ.get(DATA, "")) / name
    return path if os.environ.get(DATA) and path.is_file() else None


def skipped(workload: str, name: str) -> Skipped:
    """Say that a data set is not there."""
    return Skipped(workload=workload, params=name, peer="everything", reason=MISSING)


def best(
    grid: Iterable[tuple[str, Callable[[], Learner]]],
    run: Callable[[Learner], Found],
    loss: Callable[[Found], float],
) -> tuple[str, Callable[[], Learner], Found]:
    """Try every setting; return the words of the one with the least loss, its maker, its result.

    A loss that is NaN (a learner that diverged) is worse than any other.
    """
    tried: list[tuple[bool, float, int, str, Callable[[], Learner], Found]] = []
    for words, make in grid:
        found = run(make())
        value = loss(found)
        tried.append((math.isnan(value), value, len(tried), words, make, found))
    _, _, _, words, make, found = min(tried, key=lambda each: each[:3])
    return f"{words} (best of {len(tried)})", make, found


def points(
    chart: str, params: str, series: str, x: Iterable[float], y: Iterable[float]
) -> Iterator[Figure]:
    """Figures that are drawn, and not told: they belong to a curve."""
    for each, value in zip(x, y, strict=True):
        yield Figure(
            workload=chart,
            params=params,
            what=series,
            value=float(value),
            unit="",
            at={"chart": chart, "series": series, "x": float(each)},
        )
