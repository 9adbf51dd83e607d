"""edges: statistics of (cluster, item) pairs by hash, ten clusters an event, a million pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.contest import Absent, Contender, Contest, absent
from benchmarks.peers.redis_server import redis_client, redis_edges
from benchmarks.peers.tables import IntDict, TupleDict, TypedDict
from benchmarks.worlds import Floats
from engine.batches import Ints

__all__ = ["Edges", "contests", "make_edges", "ours"]


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
        yield Contest(
            params=f"{pairs:,} edges, {edges.cluster.shape[1]} clusters an event",
            mode="batched",
            unit="events",
            ours=ours(edges),
            peers=(*peers, redis_edges(client, edges)),
        )


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


def ours(edges: Edges) -> Contender | Absent:
    """Our table of edges, filled before."""
    del edges
    if absent("slatestream", "engine.kernels.edges"):
        return Absent(name="slatestream", reason="this release has no table of edges")
    return Absent(name="slatestream", reason="the table of edges is not measured yet")


def _stream(table: type[TypedDict | IntDict | TupleDict], edges: Edges) -> Contender:
    made, few, at = table(edges.clusters, edges.items), min(len(edges.item), table.events), 0

    def call(_: object) -> None:
        nonlocal at
        part = slice(at, at + few)
        made.add(edges.cluster[part], edges.weight[part], edges.item[part], edges.reward[part])
        at = at + few if at + 2 * few <= len(edges.item) else 0

    return Contender(name=table.name, units=few, call=call)
