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
from engine.loop import LinearLoop

__all__ = ["contests", "ours", "replay_ours", "settled", "stream"]

# items, columns, events of the world, events learned before the clock starts
CASES = ((100, 32, 40_000, 200_000), (1000, 32, 20_000, 300_000), (10, 32, 40_000, 40_000))
QUICK = ((4, 3, 30, 30),)
SLICE = 10_000  # events a call
FULL_FIELD = (
    "isotropic, alpha=1"  # the world in which the slow peers run, too: their cost is the same
)


def contests(quick: bool) -> Iterator[Contest]:
    """Every world at every size; the slow peers once a size."""
    for items, columns, events, before in QUICK if quick else CASES:
        for name, setting in WORLDS.items():
            world = make_world(name, items, columns, events)
            mine, share = ours(world, setting.alpha, before)
            params = f"LinUCB, K={items:,}, d={columns}, {name}, {share:.1%} exact"
            numpy = [stream(peer(world, setting.alpha), world) for peer in (Packed, Gemv, Einsum)]
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
    return _loop(world, alpha).run(world.x, world.rewards).picks


def ours(world: World, alpha: float, before: int) -> tuple[Contender, float]:
    """Our loop, going on after some events; and the share of items it evaluates exactly by then.

    Costs of the peers do not depend on what was learned; ours falls as bounds get narrow.
    """
    loop, at, share = _loop(world, alpha), 0, 1.0
    n = len(world.x)
    few = min(SLICE, n)

    def call(_: object) -> None:
        nonlocal at, share
        part = slice(at, at + few)
        share = loop.run(world.x[part], world.rewards[part]).exact_share
        at = at + few if at + 2 * few <= n else 0

    for _ in range(0, before, few):
        call(None)
    return Contender(name="slatestream", units=few, call=call), share


def _loop(world: World, alpha: float) -> LinearLoop:
    d, items = world.x.shape[1], world.items
    return LinearLoop(d, items, exploration="ucb", alpha=alpha, ridge=RIDGE / d)


def settled(world: World, alpha: float) -> Contender:
    """Our loop after three passes of the world."""
    return ours(world, alpha, 3 * len(world.x))[0]


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
