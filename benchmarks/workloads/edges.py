"""edges: statistics of (cluster, item) pairs by hash, ten clusters an event, a million pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.contest import Contender, Contest
from benchmarks.peers.redis_server import redis_client, redis_edges
from benchmarks.peers.tables import IntDict, TupleDict, TypedDict
from benchmarks.worlds import Floats
from engine.batches import Ints, Keys
from engine.edges import EdgeTable, Events

__all__ = ["Edges", "contests", "make_edges", "ours"]

BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Events: each adds w² and w r to the pairs of its clusters with its item."""

    clusters: int
    items: int
    cluster: Ints  # (n, c)
    weight: Floats  # (n, c)
    item: Ints  # (n,)
    reward: Floats  # (n,)


def contests(quick: bool) -> Iterator[Contest]:
    """One size: tables are filled before, keys uniform, so nearly every pair is a cache miss."""
    sizes = (5, 4, 20) if quick else (1000, 1000, 20_000)
    edges = make_edges(*sizes)
    pairs = edges.clusters * edges.items
    with redis_client() as client:
        peers = [_stream(table, edges) for table in (TypedDict, IntDict, TupleDict)]
        base: dict[str, Any] = {"unit": "events"}
        base["params"] = f"{pairs:,} edges, {edges.cluster.shape[1]} clusters an event"
        redis = redis_edges(client, edges)
        yield Contest(mode="batched", ours=ours(edges), peers=(*peers, redis), **base)
        yield Contest(mode="per-call", ours=ours(edges, batch=1), peers=tuple(peers[1:]), **base)


def make_edges(clusters: int, items: int, n: int) -> Edges:
    """Draw events of ten clusters (fewer where there are fewer), always the same."""
    rng, width = np.random.default_rng(4), min(10, clusters)
    cluster = np.argpartition(rng.random((n, clusters)), width - 1, axis=1)[:, :width]
    weight = rng.random((n, width))
    return Edges(
        clusters=clusters,
        items=items,
        cluster=np.ascontiguousarray(cluster),
        weight=weight / weight.sum(axis=1, keepdims=True),
        item=rng.integers(0, items, n),
        reward=(rng.random(n) < 0.3).astype(float),
    )


def ours(edges: Edges, batch: int = BATCH) -> Contender:
    """Our table of edges, filled before; batches made before, too."""
    table = EdgeTable()
    # Keys are hashes elsewhere: spread here, too.
    items = _spread(np.arange(edges.items))
    clusters = _spread(np.arange(edges.clusters))

    def events(item: Ints, cluster: Ints, weight: Floats, reward: Floats) -> Events:
        return Events(
            item_keys=items[item],
            offsets=np.arange(len(item) + 1) * cluster.shape[1],
            clusters=clusters[cluster.ravel()],
            shares=np.ascontiguousarray(weight.ravel()),
            precision=np.ones(len(item)),
            moment=reward,
        )

    every = np.tile(np.arange(edges.clusters), (edges.items, 1))
    none = np.zeros(edges.items)
    table.learn(events(np.arange(edges.items), every, np.zeros(every.shape), none), squared=True)
    few, made = min(batch, len(edges.item)), []
    for start in range(0, min(len(edges.item), 1000 * few) - few + 1, few):
        part = slice(start, start + few)
        made.append(
            events(edges.item[part], edges.cluster[part], edges.weight[part], edges.reward[part])
        )

    def call(_: object) -> None:
        for each in made:
            table.learn(each, squared=True)

    return Contender(name="slatestream", units=few * len(made), call=call)


def _spread(numbers: Ints) -> Keys:
    return numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _stream(table: type[TypedDict | IntDict | TupleDict], edges: Edges) -> Contender:
    made, few, at = table(edges.clusters, edges.items), min(len(edges.item), table.events), 0

    def call(_: object) -> None:
        nonlocal at
        part = slice(at, at + few)
        made.add(edges.cluster[part], edges.weight[part], edges.item[part], edges.reward[part])
        at = at + few if at + 2 * few <= len(edges.item) else 0

    return Contender(name=table.name, units=few, call=call)
