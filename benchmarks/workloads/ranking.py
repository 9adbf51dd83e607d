"""rank: the best of 1,000 items by upper bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.contest import Absent, Contender, Contest, absent
from benchmarks.peers import vowpal
from benchmarks.peers.libraries import Contextualbandits, Mabwiser, River
from benchmarks.workloads.learned import Learned, learn
from benchmarks.worlds import World

__all__ = ["contests"]

SPECS = {
    "linear": "linear-ucb:alpha=0.25,floor=0",
    "diagonal": "columnwise-ucb:alpha=0.25,floor=0",
}


def contests(quick: bool) -> Iterator[Contest]:
    """Full and diagonal models; batches of 50 requests and one a call."""
    items, columns, n, batch = (6, 3, 40, 2) if quick else (1000, 32, 20_000, 50)
    x = np.random.default_rng(9).normal(size=(batch, columns))
    for model, spec in SPECS.items():
        base: dict[str, Any] = {
            "unit": "requests",
            "params": f"{model} UCB, best of {items:,}, d={columns}",
        }
        given = learn(spec, items, columns, n)
        # The last of them needs a batch.
        numpy = _numpy_full(given, x) if model == "linear" else _numpy_diagonal(given, x)
        yield Contest(mode="batched", ours=_batched(given, x), peers=numpy, **base)
        libraries = _libraries(items, x) if model == "linear" else ()
        yield Contest(
            mode="per-call", ours=_per_call(given, x), peers=(*numpy[:-1], *libraries), **base
        )


def _batched(given: Learned, x: np.ndarray) -> Contender:
    requests = given.requests(x)
    return Contender(
        name="slatestream",
        units=len(x),
        call=lambda _: given.policy.rank(given.posterior, requests, 1),
    )


def _per_call(given: Learned, x: np.ndarray) -> Contender:
    def call(_: object) -> None:
        for i in range(len(x)):
            given.policy.rank(given.posterior, given.requests(x[i : i + 1]), 1)

    return Contender(name="slatestream", units=len(x), call=call)


def _numpy_full(given: Learned, x: np.ndarray) -> tuple[Contender, ...]:
    d = x.shape[1]
    packed = given.posterior.arrays["covariance"][given.found.rows]
    theta = given.posterior.arrays["theta"][given.found.rows]
    upper = np.triu_indices(d)
    full = np.zeros((len(packed), d, d))
    full[:, upper[0], upper[1]] = packed
    full[:, upper[1], upper[0]] = packed
    flat = full.reshape(-1, d)
    twice = np.where(upper[0] == upper[1], 1.0, 2.0)

    def gemv(_: object) -> None:
        for row in x:
            width = ((flat @ row).reshape(len(theta), d) * row).sum(axis=1)
            np.argmax(theta @ row + 0.25 * np.sqrt(width))

    def triangles(_: object) -> None:
        for row in x:
            width = packed @ (twice * row[upper[0]] * row[upper[1]])
            np.argmax(theta @ row + 0.25 * np.sqrt(np.maximum(width, 0.0)))

    def gemm(_: object) -> None:
        products = twice * x[:, upper[0]] * x[:, upper[1]]
        width = products @ packed.T
        np.argmax(x @ theta.T + 0.25 * np.sqrt(np.maximum(width, 0.0)), axis=1)

    return (
        Contender(name="NumPy, one gemv a request", units=len(x), call=gemv),
        Contender(name="NumPy, packed triangles, one gemv", units=len(x), call=triangles),
        Contender(name="NumPy, packed triangles, one gemm a batch", units=len(x), call=gemm),
    )


def _numpy_diagonal(given: Learned, x: np.ndarray) -> tuple[Contender, ...]:
    theta = given.posterior.arrays["theta"][given.found.rows]
    variance = given.posterior.arrays["variance"][given.found.rows]

    def gemv(_: object) -> None:
        for row in x:
            np.argmax(theta @ row + 0.25 * np.sqrt(variance @ (row * row)))

    def gemm(_: object) -> None:
        np.argmax(x @ theta.T + 0.25 * np.sqrt((x * x) @ variance.T), axis=1)

    return (
        Contender(name="NumPy, two gemv a request", units=len(x), call=gemv),
        Contender(name="NumPy, two gemm a batch", units=len(x), call=gemm),
    )


def _libraries(items: int, x: np.ndarray) -> tuple[Contender | Absent, ...]:
    world = World(x=x, rewards=np.random.default_rng(2).random((len(x), items)))
    peers: list[Contender | Absent] = [vowpal.predict_parsed(world, min(10, len(x)))]
    peers += [_decide(library, world) for library in (Mabwiser, River, Contextualbandits)]
    return tuple(peers)


def _decide(library: Any, world: World) -> Contender | Absent:
    missing = absent(library.name, library.module)
    if missing:
        return missing
    peer, place = library(world, 0.25), iter(range(10**9))
    return Contender(
        name=library.name, units=1, call=lambda _: peer.decide(next(place) % len(world.x))
    )
