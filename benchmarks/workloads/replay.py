"""replay: decide and learn event by event with disjoint LinUCB, in kind and adverse worlds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.contest import Absent, Contender, Contest, absent
from benchmarks.peers import vowpal
from benchmarks.peers.libraries import Contextualbandits, Mabwiser, River
from benchmarks.peers.numpy_linear import RIDGE, Einsum, Gemv, Packed
from benchmarks.workloads.policies import Deciding
from benchmarks.worlds import WORLDS, World, make_world
from engine.batches import Ints
from engine.loop import run_linear

__all__ = ["contests", "ours", "replay_ours", "stream"]

CASES = ((100, 32, 50_000), (1000, 32, 20_000), (10, 32, 100_000))  # items, columns, events
QUICK = ((4, 3, 30),)
FULL_FIELD = (
    "isotropic, alpha=1"  # the world in which the slow peers run, too: their cost is the same
)


def contests(quick: bool) -> Iterator[Contest]:
    """Every world at every size; the slow peers once a size."""
    for items, columns, events in QUICK if quick else CASES:
        for name, setting in WORLDS.items():
            world = make_world(name, items, columns, events)
            params = f"LinUCB, K={items:,}, d={columns}, {name}"
            numpy = [stream(peer(world, setting.alpha), world) for peer in (Packed, Gemv, Einsum)]
            mine = ours(world, setting.alpha)
            base: dict[str, Any] = {"params": params, "unit": "events"}
            if name != FULL_FIELD:
                yield Contest(mode="batched", ours=mine, peers=tuple(numpy[:-1]), **base)
                continue
            few = max(10, min(2000, 200_000 // items)) if not quick else 5
            with vowpal.driver(world, few) as driver:
                libraries = [_library(peer, world) for peer in (Mabwiser, River, Contextualbandits)]
                parsed = vowpal.learn_parsed(world, max(5, few // 10))
                peers = (*numpy, driver, parsed, *libraries)
                yield Contest(mode="batched", ours=mine, peers=peers, **base)
            one = _per_call(world, setting.alpha)
            yield Contest(mode="per-call", ours=one, peers=tuple(numpy), **base)


def replay_ours(world: World, alpha: float) -> Ints:
    """Decide and learn the whole world in one call; returns the picks ``(n,)``."""
    ridge = RIDGE / world.x.shape[1]  # ours is per column
    return run_linear(world.x, world.rewards, exploration="ucb", alpha=alpha, ridge=ridge).picks


def ours(world: World, alpha: float) -> Contender:
    """Our loop over the whole world, from nothing learned."""
    return Contender(
        name="slatestream", units=len(world.x), call=lambda _: replay_ours(world, alpha)
    )


def stream(peer: Any, world: World, units: int | None = None) -> Contender:
    """A peer that goes on with the world's events where it stopped, a few a call."""
    few = units or max(1, min(len(world.x), 20_000 // world.items))
    at = 0

    def call(_: object) -> None:
        nonlocal at
        for _ in range(few):
            peer.learn(at, peer.decide(at))
            at = (at + 1) % len(world.x)

    return Contender(name=peer.name, units=few, call=call)


def _library(library: Any, world: World) -> Contender | Absent:
    missing = absent(library.name, library.module)
    return missing or stream(library(world, 1.0), world, units=1)


def _per_call(world: World, alpha: float) -> Contender:
    """One request and one outcome a call, through the public classes."""
    ridge = RIDGE / world.x.shape[1]  # ours is per column
    return stream(Deciding(f"linear-ucb:alpha={alpha},ridge={ridge},floor=0", world), world)
