"""Loading the compiled code of retrieval before the first request needs it."""

from __future__ import annotations

import numpy as np

from engine.retrieval.clusters import ClusterConfig, StreamingClusters
from engine.retrieval.exact import search_exact
from engine.retrieval.records import Exclusions, Filters, Records
from engine.retrieval.retriever import Retriever, RetrieverConfig

__all__ = ["warm_up_retrieval"]


def warm_up_retrieval() -> None:
    """Search made-up vectors both ways, renew the lists, and learn clusters of them."""
    slab = np.eye(4, dtype=np.float32)
    records = Records(slab=slab, size=3, bias=3, live=np.ones(4, dtype=np.uint8))
    retriever = Retriever(RetrieverConfig(exact_up_to=0, lists=2))
    times = np.zeros(4, dtype=np.int64)
    filters = Filters(
        available=np.ones(4, dtype=np.uint8),
        available_from=times,
        expires_at=times + 1,
    )
    asked, excluded = slab[:2, :3], Exclusions.of([[0], []])
    search_exact(records, asked, 1, filters=filters, excluded=excluded)
    retriever.update(records, range(4))
    retriever.adopt(retriever.train(records))
    retriever.search(records, asked, 1, filters=filters, excluded=excluded)
    retriever.carry_over(records, 4)
    clusters = StreamingClusters(ClusterConfig(count=2, size=4))
    clusters.learn(slab)
    StreamingClusters.from_bytes(clusters.to_bytes()).learn(slab)
    clusters.publish().assign(slab, top=2)
