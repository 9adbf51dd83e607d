"""diagonal: decide and learn with diagonal LinUCB, a batch at a time and event by event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.contest import Contender, Contest
from benchmarks.peers.numpy_linear import RIDGE, Diagonal
from benchmarks.workloads.policies import Deciding, batches
from benchmarks.workloads.replay import stream
from benchmarks.worlds import WORLDS, World, make_world
from engine.loop import ColumnwiseLoop

__all__ = ["contests", "looping", "ours"]

CASES = ((100, 32, 100_000), (1000, 32, 20_000), (10, 32, 100_000))  # items, columns, events
QUICK = ((4, 3, 30),)
NAME = "isotropic, alpha=1"
BATCH = 100
NOTE = "the policy stands still within a batch"


def contests(quick: bool) -> Iterator[Contest]:
    """Three sizes, event after event and in batches, in one world."""
    for items, columns, events in QUICK if quick else CASES:
        world, alpha = make_world(NAME, items, columns, events), WORLDS[NAME].alpha
        size = min(BATCH, events // 2)
        each, numpy = stream(Diagonal(world, alpha), world), _numpy_batches(world, alpha, size)
        base: dict[str, Any] = {"unit": "events"}
        base["params"] = f"diagonal LinUCB, K={items:,}, d={columns}"
        yield Contest(mode="batched", ours=looping(world, alpha), peers=(each,), **base)
        base["params"] = f"diagonal LinUCB, K={items:,}, d={columns}, batches of {size}"
        yield Contest(mode="batched", ours=ours(world, alpha), peers=(numpy, each), **base)
        base["params"] = f"diagonal LinUCB, K={items:,}, d={columns}"
        single = stream(_deciding(world, alpha), world)
        yield Contest(mode="per-call", ours=single, peers=(each,), **base)


def looping(world: World, alpha: float) -> Contender:
    """Our loop: each event decided on what the one before taught."""
    ridge = RIDGE / world.x.shape[1]  # ours is per column
    loop = ColumnwiseLoop(world.x.shape[1], world.items, alpha=alpha, ridge=ridge)
    return Contender(
        name="slatestream", units=len(world.x), call=lambda _: loop.run(world.x, world.rewards)
    )


def ours(world: World, alpha: float) -> Contender:
    """Our policy, deciding a batch and then learning it."""
    return batches(_deciding(world, alpha), min(BATCH, len(world.x) // 2))


def _deciding(world: World, alpha: float) -> Deciding:
    ridge = RIDGE / world.x.shape[1]  # ours is per column
    return Deciding(f"columnwise-ucb:alpha={alpha},ridge={ridge},floor=0", world)


def _numpy_batches(world: World, alpha: float, size: int) -> Contender:
    """NumPy with two gemm a batch to decide, and add.at to learn."""
    shape, at = (world.items, world.x.shape[1]), 0
    precision, moment = np.full(shape, RIDGE), np.zeros(shape)

    def call(_: object) -> None:
        nonlocal at
        part = slice(at, at + size)
        x = world.x[part]
        variance = 1.0 / precision
        upper = x @ (variance * moment).T + alpha * np.sqrt((x * x) @ variance.T)
        items = upper.argmax(axis=1)
        reward = world.rewards[part][np.arange(size), items]
        np.add.at(precision, items, x * x)
        np.add.at(moment, items, reward[:, None] * x)
        at = at + size if at + 2 * size <= len(world.x) else 0

    return Contender(name="NumPy, two gemm a batch", units=size, call=call, note=NOTE)
