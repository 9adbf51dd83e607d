"""curves: cost of an event against the number of items and of columns."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contest import Contest, Point
from benchmarks.peers.numpy_linear import Diagonal, Packed
from benchmarks.workloads import diagonal, replay
from benchmarks.worlds import WORLDS, make_world

__all__ = ["contests"]

WORLD = "clicks, alpha=1"  # adverse: little can be skipped
ITEMS, COLUMNS = (10, 30, 100, 300, 1000), (8, 16, 32, 64, 128)
ITEMS_AT, COLUMNS_AT = 100, 32  # what stays as it is along the other axis
CELLS = 2_000_000  # rewards of a world at most


def contests(quick: bool) -> Iterator[Contest]:
    """Exact and diagonal models, along both axes."""
    items, columns = ((2, 4), (2, 3)) if quick else (ITEMS, COLUMNS)
    at, width = (3, 2) if quick else (ITEMS_AT, COLUMNS_AT)
    for k in items:
        yield from _pair("items", k, width, quick)
    for d in columns:
        yield from _pair("columns", at, d, quick)


def _pair(axis: str, items: int, columns: int, quick: bool) -> Iterator[Contest]:
    events = 20 if quick else min(20_000, CELLS // items)
    world, alpha = make_world(WORLD, items, columns, events), WORLDS[WORLD].alpha
    for model, mine, peer in (
        ("exact", replay.ours, Packed),
        ("diagonal", diagonal.ours, Diagonal),
    ):
        point: Point = {"axis": axis, "model": model, "items": items, "columns": columns}
        yield Contest(
            params=f"{model}, K={items:,}, d={columns}, along {axis}",
            mode="batched",
            unit="events",
            ours=mine(world, alpha),
            peers=(replay.stream(peer(world, alpha), world),),
            at=point,
        )
