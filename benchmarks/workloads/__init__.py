"""What is measured, by name."""

from __future__ import annotations

from benchmarks.contest import Workload
from benchmarks.workloads import (
    collisions,
    curves,
    diagonal,
    edges,
    factor,
    ranking,
    ratings,
    replay,
    retail,
    retrieval,
    slates,
    stream,
    sums,
    sync,
    table,
)

__all__ = ["WORKLOADS"]

WORKLOADS = {
    "update": Workload(about="sums of a linear model from outcomes", contests=sums.contests),
    "rank": Workload(about="the best of 1,000 items by upper bound", contests=ranking.contests),
    "slate": Workload(
        about="Thompson slates of 10 from 1,000, with the propensity of every slot",
        contests=slates.contests,
    ),
    "replay": Workload(about="decide and learn, event by event", contests=replay.contests),
    "edges": Workload(about="statistics of (cluster, item) edges", contests=edges.contests),
    "factor": Workload(about="factorise ten million ids, event by event", contests=factor.contests),
    "table": Workload(about="vectors of 64-bit keys", contests=table.contests),
    "diagonal": Workload(
        about="decide and learn with a diagonal model", contests=diagonal.contests
    ),
    "retrieval": Workload(
        about="ten best of many vectors, before and after every one has moved",
        contests=retrieval.contests,
    ),
    "curves": Workload(
        about="cost of an event against items and columns", contests=curves.contests
    ),
    "stream": Workload(about="a topic of Kafka read and learned", contests=stream.contests),
    "ratings": Workload(about="ratings predicted before they come", contests=ratings.contests),
    "retail": Workload(about="what is bought next, among twenty", contests=retail.contests),
    "collisions": Workload(about="what shared rows cost", contests=collisions.contests),
    "sync": Workload(about="what late parameters cost", contests=sync.contests),
}
