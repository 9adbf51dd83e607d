"""The nearest of many vectors by product, in NumPy, faiss and hnswlib; all on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FaissFlat", "FaissInverted", "Hnsw", "NumpyScan"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


def _faiss() -> Any:
    import faiss  # noqa: PLC0415  (an optional extra)

    faiss.omp_set_num_threads(1)
    return faiss


class NumpyScan:
    """One product of matrices, and the best by partition."""

    name = "NumPy, product and argpartition"
    module = "numpy"
    scans: tuple[int, ...] = ()  # what `tune` may be given: exact

    def __init__(self, vectors: Singles, lists: int) -> None:  # noqa: ARG002
        self.vectors = vectors.copy()

    def search(self, queries: Singles, k: int) -> Ints:
        """Rows of the k best, best first, ``(n, k)``."""
        scores = queries @ self.vectors.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    def move(self, rows: Ints, vectors: Singles) -> None:
        """Give rows other vectors."""
        self.vectors[rows] = vectors


class FaissFlat:
    """faiss's exact index; it has no way to move a vector."""

    name = "faiss Flat"
    module = "faiss"
    scans: tuple[int, ...] = ()

    def __init__(self, vectors: Singles, lists: int) -> None:  # noqa: ARG002
        faiss = _faiss()
        self.index: Any = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)

    def search(self, queries: Singles, k: int) -> Ints:
        """Rows of the k best."""
        found: Ints = self.index.search(queries, k)[1]
        return found

    def move(self, rows: Ints, vectors: Singles) -> None:
        """Write into the index's own array."""
        faiss = _faiss()
        stored = faiss.rev_swig_ptr(self.index.get_xb(), self.index.ntotal * self.index.d)
        stored.reshape(-1, self.index.d)[rows] = vectors


class FaissInverted:
    """faiss's inverted file, as many lists as ours; `update_vectors` moves."""

    name = "faiss IVF"
    module = "faiss"
    scans = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, vectors: Singles, lists: int) -> None:
        faiss = _faiss()
        self.coarse = faiss.IndexFlatIP(vectors.shape[1])
        inner = faiss.METRIC_INNER_PRODUCT
        self.index: Any = faiss.IndexIVFFlat(self.coarse, vectors.shape[1], lists, inner)
        self.index.train(vectors)
        self.index.add(vectors)
        self.index.set_direct_map_type(faiss.DirectMap.Array)

    def tune(self, scan: int) -> None:
        """Scan so many lists."""
        self.index.nprobe = scan

    def search(self, queries: Singles, k: int) -> Ints:
        """Rows of the k best found."""
        found: Ints = self.index.search(queries, k)[1]
        return found

    def move(self, rows: Ints, vectors: Singles) -> None:
        """Give rows other vectors."""
        self.index.update_vectors(rows, vectors)


class Hnsw:
    """hnswlib with 16 links and 100 candidates when building; adding again moves."""

    name = "hnswlib"
    module = "hnswlib"
    scans = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, vectors: Singles, lists: int) -> None:  # noqa: ARG002
        import hnswlib  # noqa: PLC0415  (an optional extra)

        self.index: Any = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(vectors), ef_construction=100, M=16, random_seed=1)
        self.index.set_num_threads(1)
        self.index.add_items(vectors, np.arange(len(vectors)))

    def tune(self, scan: int) -> None:
        """Keep so many candidates while searching."""
        self.index.set_ef(scan)

    def search(self, queries: Singles, k: int) -> Ints:
        """Rows of the k best found."""
        return np.asarray(self.index.knn_query(queries, k)[0], dtype=np.int64)

    def move(self, rows: Ints, vectors: Singles) -> None:
        """Give rows other vectors."""
        self.index.add_items(vectors, rows)
