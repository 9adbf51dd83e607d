"""diagonal: decide and learn event by event with diagonal LinUCB."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contest import Absent, Contender, Contest, absent
from benchmarks.peers.numpy_linear import RIDGE, Diagonal
from benchmarks.workloads.replay import stream
from benchmarks.worlds import WORLDS, World, make_world
from engine.batches import Ints

__all__ = ["contests", "ours", "run_ours"]

CASES = ((100, 32, 200_000), (1000, 32, 20_000), (10, 32, 200_000))  # items, columns, events
QUICK = ((4, 3, 30),)
NAME = "isotropic, alpha=1"


def contests(quick: bool) -> Iterator[Contest]:
    """Three sizes; every item is scored in every event, so one world is enough."""
    for items, columns, events in QUICK if quick else CASES:
        world, alpha = make_world(NAME, items, columns, events), WORLDS[NAME].alpha
        yield Contest(
            params=f"diagonal LinUCB, K={items:,}, d={columns}",
            mode="batched",
            unit="events",
            ours=ours(world, alpha),
            peers=(stream(Diagonal(world, alpha), world),),
        )


def run_ours(world: World, alpha: float) -> Ints:
    """Decide and learn the whole world in one call; returns the picks ``(n,)``."""
    from engine.loop import run_diagonal  # type: ignore[import-not-found] # noqa: PLC0415

    found = run_diagonal(
        world.x, world.rewards, exploration="ucb", alpha=alpha, ridge=RIDGE, floor=0.0, seed=0
    )
    picks: Ints = found.picks
    return picks


def ours(world: World, alpha: float) -> Contender | Absent:
    """Our loop over the whole world, from nothing learned."""
    if not absent("slatestream", "engine.loop"):
        import engine.loop  # noqa: PLC0415

        if hasattr(engine.loop, "run_diagonal"):
            return Contender(
                name="slatestream", units=len(world.x), call=lambda _: run_ours(world, alpha)
            )
    return Absent(name="slatestream", reason="this release has no diagonal loop")
