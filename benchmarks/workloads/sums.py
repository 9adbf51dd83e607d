"""update: raw sums of a linear model, a batch at once and an event at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.contest import Absent, Contender, Contest, absent
from benchmarks.peers.libraries import Contextualbandits, Mabwiser, River
from benchmarks.workloads.learned import Learned, learn
from benchmarks.worlds import World

__all__ = ["contests"]

SPECS = {"linear": "linear-ucb", "diagonal": "columnwise-ucb"}


def contests(quick: bool) -> Iterator[Contest]:
    """Full and diagonal sums; in batches of 5,000 and one by one."""
    items, columns, n = (4, 3, 20) if quick else (100, 32, 5000)
    for model, spec in SPECS.items():
        base: dict[str, Any] = {
            "unit": "outcomes",
            "params": f"{model}, {items} items, d={columns}",
        }
        given = learn(spec, items, columns, n)
        peers = _numpy_full(given) if model == "linear" else _numpy_diagonal(given)
        libraries = tuple(map(_many(given), (Mabwiser, Contextualbandits)))
        yield Contest(
            mode="batched",
            ours=_ours(given, n),
            peers=(*peers, *(libraries if model == "linear" else ())),
            **base,
        )
        one = _one(River, given)
        yield Contest(
            mode="per-call",
            ours=_ours(given, 1),
            peers=(peers[0], *((one,) if model == "linear" else ())),
            **base,
        )


def _ours(given: Learned, units: int) -> Contender:
    parts = [given.outcomes.take(slice(i, i + units)) for i in range(0, 200 * units, units)]
    parts = [part for part in parts if len(part.item_ids) == units]

    def call(_: object) -> None:
        for part in parts:
            given.policy.update(given.state, part)

    return Contender(name="slatestream", units=units * len(parts), call=call)


def _numpy_full(given: Learned) -> tuple[Contender, ...]:
    outcomes, rows = given.outcomes, given.state.rows(given.outcomes.item_ids)
    items, (n, d) = int(rows.max()) + 1, outcomes.x.shape
    gram, moment = np.zeros((items, d, d)), np.zeros((items, d))

    def outer(_: object) -> None:
        for row, x, r in zip(rows, outcomes.x, outcomes.reward, strict=True):
            gram[row] += np.outer(x, x)
            moment[row] += r * x

    def gemm(_: object) -> None:
        order = np.argsort(rows, kind="stable")
        x, r = outcomes.x[order], outcomes.reward[order]
        ends = np.searchsorted(rows[order], np.arange(items + 1))
        for row in range(items):
            part = slice(ends[row], ends[row + 1])
            gram[row] += x[part].T @ x[part]
            moment[row] += r[part] @ x[part]

    return (
        Contender(name="NumPy, an outer product an outcome", units=n, call=outer),
        Contender(
            name="NumPy, sorted, one gemm an item",
            units=n,
            call=gemm,
            note="its bits depend on how outcomes are cut into batches",
        ),
    )


def _numpy_diagonal(given: Learned) -> tuple[Contender, ...]:
    outcomes, rows = given.outcomes, given.state.rows(given.outcomes.item_ids)
    items, (n, d) = int(rows.max()) + 1, outcomes.x.shape
    squares, moment = np.zeros((items, d)), np.zeros((items, d))

    def each(_: object) -> None:
        for row, x, r in zip(rows, outcomes.x, outcomes.reward, strict=True):
            squares[row] += x * x
            moment[row] += r * x

    def scatter(_: object) -> None:
        np.add.at(squares, rows, outcomes.x**2)
        np.add.at(moment, rows, outcomes.reward[:, None] * outcomes.x)

    return (
        Contender(name="NumPy, a row an outcome", units=n, call=each),
        Contender(name="NumPy, add.at", units=n, call=scatter),
    )


def _world(given: Learned) -> tuple[World, np.ndarray]:
    rows = given.state.rows(given.outcomes.item_ids)
    rewards = np.repeat(given.outcomes.reward[:, None], int(rows.max()) + 1, axis=1)
    return World(x=given.outcomes.x, rewards=rewards), rows


def _many(given: Learned) -> Any:
    def make(library: Any) -> Contender | Absent:
        missing = absent(library.name, library.module)
        if missing:
            return missing
        world, rows = _world(given)
        peer, reward = library(world, 1.0), given.outcomes.reward
        return Contender(
            name=library.name,
            units=len(rows),
            call=lambda _: peer.learn_many(world.x, rows, reward),
            note="includes the inverses",
        )

    return make


def _one(library: Any, given: Learned) -> Contender | Absent:
    missing = absent(library.name, library.module)
    if missing:
        return missing
    world, rows = _world(given)
    peer, few = library(world, 1.0), min(100, len(rows))

    def call(_: object) -> None:
        for i in range(few):
            peer.learn(i, int(rows[i]))

    return Contender(name=library.name, units=few, call=call, note="includes the inverses")
