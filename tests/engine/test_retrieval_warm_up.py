"""Warming up runs every kernel of retrieval, with the types they state, and nothing else does."""

import importlib
import pkgutil

import numpy as np
from numba.core.sigutils import normalize_signature

import engine.kernels.retrieval as kernels
from engine.retrieval.clusters import ClusterConfig, StreamingClusters
from engine.retrieval.exact import search_exact
from engine.retrieval.records import Records
from engine.retrieval.retriever import Retriever, RetrieverConfig
from engine.retrieval.warm_up import warm_up_retrieval


def compiled():
    for info in pkgutil.iter_modules(kernels.__path__, kernels.__name__ + "."):
        for name, member in vars(importlib.import_module(info.name)).items():
            if hasattr(member, "ahead") and member.__module__ == info.name:
                yield name, member


def test_nothing_is_compiled_once_warm():
    warm_up_retrieval()
    plain = Records(slab=np.ones((9, 5), dtype=np.float32), size=2, start=1)
    search_exact(plain, [[1, 2]], 3, rows=[1, 5])
    retriever = Retriever(RetrieverConfig(exact_up_to=0))
    retriever.update(plain, range(9))
    retriever.adopt(retriever.train(plain))
    retriever.search(plain, [[1, 2]], 3)
    made = StreamingClusters(ClusterConfig(count=2, size=2))
    made.learn([[1, 2], [3, 4]])
    made.publish().assign([[1, 2]])
    called = set()
    for name, member in compiled():
        stated, _ = normalize_signature(member.ahead)
        assert [tuple(types) for types in member.signatures] == [stated], name
        called.add(name)
    expected = {"scan_rows", "probe_lists", "place_rows", "find_nearest", "add_members"}
    assert called == expected | {"learn_clusters", "assign_clusters"}
