"""Published centroids of user clusters, and assignments made with them: all of one version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ConfigError, ShapeError
from engine.kernels.retrieval.clusters import LARGEST, assign_clusters
from engine.kernels.retrieval.dots import PAD
from engine.retrieval.centroids import halves_of

__all__ = ["Assignment", "Published", "as_vectors"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Nearest clusters of every vector, nearest first, all of one version.

    ``clusters`` int64 and ``weights`` float64 are ``(n, m)``; weights of a vector sum to 1.
    """

    clusters: Ints
    weights: Floats
    version: str

    def feature(self, i: int) -> dict[str, float]:
        """Vector i's value of a ``clusters`` feature: weights by number of a cluster."""
        pairs = zip(self.clusters[i].tolist(), self.weights[i].tolist(), strict=True)
        return {str(cluster): weight for cluster, weight in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Centroids that assignments are made with; immutable.

    Attributes
    ----------
    values
        float32 ``(K, d)``, of the clusters seeded so far.
    born
        Event at which each was last seeded, int64 ``(K,)``.
    version
        Hash of both.
    """

    values: Singles
    born: Ints
    version: str
    flat: Singles = field(repr=False)  # values laid flat, as kernels take them: not to be written
    halves: Singles = field(repr=False)  # -|c|² / 2

    @classmethod
    def of(cls, values: Singles, born: Ints) -> Published:
        """Freeze copies."""
        flat, halves = values.reshape(-1).copy(), halves_of(values)
        values, born = flat.reshape(values.shape), born.copy()
        values.setflags(write=False)
        born.setflags(write=False)
        digest = hashlib.blake2b(str(values.shape).encode(), digest_size=8)
        digest.update(values.tobytes() + born.tobytes())
        version = digest.hexdigest()
        return cls(values=values, born=born, version=version, flat=flat, halves=halves)

    def assign(self, vectors: ArrayLike, *, top: int = 1, temperature: float = 1.0) -> Assignment:
        """Assign to the ``top`` nearest clusters, all there are when they are fewer.

        Parameters
        ----------
        vectors
            ``(n, d)``, numbers within ±1e9.
        top
            1 for hard assignments: their weights are 1.
        temperature
            Weights are ``exp(-|x - c|² / (2 temperature))``, divided by their sum.

        Raises
        ------
        ConfigError
            When top is below 1, or temperature is not above 0.
        ShapeError
            When vectors are of another shape, or hold other numbers.
        """
        if top < 1 or not temperature > 0.0:
            raise ConfigError(f"top is {top}, temperature {temperature}; give 1 or more, above 0")
        given = as_vectors(vectors, self.values.shape[1])
        if not np.all(np.abs(given) <= LARGEST):
            raise ShapeError("vectors hold NaN or numbers beyond ±1e9; give numbers within")
        k = len(self.values)
        shape = (len(given), min(top, k))
        clusters, weights = np.empty(shape, dtype=np.int64), np.empty(shape)
        assign_clusters(
            self.flat,
            self.halves,
            np.arange(k),
            self.values.shape[1],
            given.reshape(-1),
            temperature,
            np.empty(k + PAD, dtype=np.float32),
            clusters,
            np.empty(shape, dtype=np.float32),
            weights,
        )
        return Assignment(clusters=clusters, weights=weights, version=self.version)

    def renewed(self, before: Published) -> Ints:
        """Clusters that are not those of an earlier version: seeded since, or seeded anew."""
        both = min(len(self.born), len(before.born))
        changed = np.flatnonzero(self.born[:both] != before.born[:both])
        return np.concatenate([changed, np.arange(both, len(self.born))])


def as_vectors(vectors: ArrayLike, size: int) -> Singles:
    """Vectors as the kernels take them; ``ShapeError`` when they are not ``(n, size)``."""
    given = np.ascontiguousarray(vectors, dtype=np.float32)
    if given.ndim != 2 or given.shape[1] != size:
        raise ShapeError(f"vectors are {given.shape}; give (n, {size})")
    return given
