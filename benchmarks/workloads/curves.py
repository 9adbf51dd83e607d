"""curves: cost of an event against the number of items and of columns."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contest import Contest, Point
from benchmarks.peers.numpy_linear import Diagonal, Packed
from benchmarks.workloads import diagonal, replay
from benchmarks.worlds import WORLDS, make_world

__all__ = ["contests"]

ADVERSE, KIND = "clicks, alpha=1", "decaying, alpha=0.1"
MODELS = {
    "exact, adverse world": (ADVERSE, replay.settled, Packed),
    "exact, kind world": (KIND, replay.settled, Packed),
    "diagonal": (ADVERSE, diagonal.looping, Diagonal),
}
ITEMS, COLUMNS = (10, 30, 100, 300, 1000), (8, 16, 32, 64, 128)
ITEMS_AT, COLUMNS_AT = 100, 32  # what stays as it is along the other axis
EVENTS = 20_000


def contests(quick: bool) -> Iterator[Contest]:
    """Exact and diagonal models, along both axes."""
    items, columns = ((2, 4), (2, 3)) if quick else (ITEMS, COLUMNS)
    at, width = (3, 2) if quick else (ITEMS_AT, COLUMNS_AT)
    for model in MODELS:
        for k in items:
            yield _contest("items", model, k, width, quick)
        for d in columns:
            yield _contest("columns", model, at, d, quick)


def _contest(axis: str, model: str, items: int, columns: int, quick: bool) -> Contest:
    name, mine, peer = MODELS[model]
    world, alpha = make_world(name, items, columns, 20 if quick else EVENTS), WORLDS[name].alpha
    point: Point = {"axis": axis, "model": model, "items": items, "columns": columns}
    return Contest(
        params=f"{model}, K={items:,}, d={columns}, along {axis}",
        mode="batched",
        unit="events",
        ours=mine(world, alpha),
        peers=(replay.stream(peer(world, alpha), world),),
        at=point,
    )
