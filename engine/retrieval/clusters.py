"""User clusters: streaming k-means whose assignments are made with a published version only.

Centroids move with every vector, and what a policy learned of cluster 17 would silently come to be
about other users. So they learn in one place and assign from a frozen copy, `Published`, whose
version is a hash of its content; `publish` makes the next. A cluster seeded anew has another
``born`` in the next version: `Published.renewed` names those, whose statistics should be dropped.

Learning is a fold over the vectors, one at a time: however they are cut into batches, the state is
the same to the bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.kernels.retrieval.clusters import LARGEST, SEEDED, assign_clusters, learn_clusters
from engine.kernels.retrieval.dots import PAD
from engine.kernels.retrieval.nearest import CENTROIDS
from engine.retrieval.centroids import halves_of
from engine.state import pack_arrays, unpack_arrays

__all__ = ["Assignment", "ClusterConfig", "Published", "StreamingClusters"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

MOST_CLUSTERS = 1 << 16
FORMAT = "clusters-1"
CHECKSUM = 16  # bytes
LEARNED = ("values", "halves", "wins", "mass", "error", "born", "counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """How clusters learn.

    Attributes
    ----------
    count
        Clusters, 1 to 65,536; up to 1,000 cost about a microsecond an event of 32 numbers.
    size
        Numbers of a vector.
    least_step
        A centroid goes ``max(1 / n, least_step)`` of the way to its n-th vector: the mean of all
        at first, later of some ``1 / least_step`` recent ones.
    check_every
        Events between two looks for a dead cluster; 0 for as many as there are clusters.
    half_life
        Events after which a vector counts half in what makes a cluster dead; 0 for 64 times
        ``count``.
    dead_share
        A cluster with less than this share of the mean cluster's vectors is dead: it is seeded
        anew from the one with the greatest squared error.
    """

    count: int
    size: int
    least_step: float = 0.005
    check_every: int = 0
    half_life: int = 0
    dead_share: float = 0.05

    def __post_init__(self) -> None:
        if not (1 <= self.count <= MOST_CLUSTERS and self.size >= 1):
            raise ConfigError(
                f"count is {self.count}, size {self.size}; give 1 to {MOST_CLUSTERS} clusters of "
                "vectors of 1 number or more"
            )
        if not (0.0 < self.least_step <= 1.0 and 0.0 <= self.dead_share < 1.0):
            raise ConfigError(
                f"least_step is {self.least_step}, dead_share {self.dead_share}; give above 0 to "
                "1, and 0 to below 1"
            )
        if self.check_every < 0 or self.half_life < 0:
            raise ConfigError(
                f"check_every is {self.check_every}, half_life {self.half_life}; give events, "
                "or 0 for the default"
            )


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
        given = _vectors(vectors, self.values.shape[1])
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


class StreamingClusters:
    """Learns centroids, and keeps the version published last.

    Attributes
    ----------
    config
        How it learns.
    published
        The version that assignments are made with, None before the first `publish`.
    refused
        Vectors passed over because they held NaN or numbers beyond ±1e9.
    """

    def __init__(self, config: ClusterConfig) -> None:
        k = config.count
        self.config = config
        self.published: Published | None = None
        self.refused = 0
        self._learned: dict[str, NDArray[Any]] = {
            "values": np.zeros((k, config.size), dtype=np.float32),
            "halves": np.zeros(k, dtype=np.float32),
            "wins": np.zeros(k, dtype=np.int64),
            "mass": np.zeros(k),
            "error": np.zeros(k),
            "born": np.zeros(k, dtype=np.int64),
            "counts": np.array([0, 0, -1, -1], dtype=np.int64),
        }

    @property
    def events(self) -> int:
        """Vectors learned."""
        return int(self._learned["counts"][0])

    @property
    def values(self) -> Singles:
        """Centroids as they are now, of the clusters seeded so far: a view, ``(K, d)``."""
        return self._learned["values"][: self._learned["counts"][SEEDED]]

    def learn(self, vectors: ArrayLike) -> None:
        """Learn vectors in order, ``(n, d)``. Writes: this state; what is published stays.

        Those with NaN or numbers beyond ±1e9 are counted in ``refused`` and change nothing else.

        Raises
        ------
        ShapeError
            When vectors are of another shape.
        """
        config = self.config
        given = _vectors(vectors, config.size)
        learned = self._learned
        self.refused += learn_clusters(
            given,
            config.least_step,
            config.check_every or config.count,
            config.half_life or 64 * config.count,
            config.dead_share,
            learned["values"],
            learned["values"].reshape(-1),
            learned["halves"],
            learned["wins"],
            learned["mass"],
            learned["error"],
            learned["born"],
            learned["counts"],
            given.reshape(-1),
            np.empty(CENTROIDS + PAD, dtype=np.float32),
            np.arange(config.count),
            np.empty(1, dtype=np.int64),
            np.empty(1, dtype=np.float32),
        )

    def publish(self) -> Published:
        """Make what is learned so far the version of assignments. Writes: this state.

        Raises ``ConfigError`` when nothing was learned.
        """
        seeded = len(self.values)
        if not seeded:
            raise ConfigError("there is no cluster yet; learn a vector before publishing")
        self.published = Published.of(self.values, self._learned["born"][:seeded])
        return self.published

    def hash(self) -> str:
        """Hash of the state, the published version included: equal for equal knowledge."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Save the state, the published version included, behind a checksum."""
        arrays = {f"learned/{name}": array for name, array in self._learned.items()}
        if self.published:
            arrays |= {
                "published/values": self.published.values,
                "published/born": self.published.born,
            }
        head = {"format": FORMAT, "config": asdict(self.config), "refused": self.refused}
        body = pack_arrays(head, cast("dict[str, Floats]", arrays))
        return _checksum(body) + body

    @classmethod
    def from_bytes(cls, saved: bytes) -> StreamingClusters:
        """Load what `to_bytes` saved.

        Raises
        ------
        SnapshotError
            When it is damaged, or of another format.
        """
        body = saved[CHECKSUM:]
        if saved[:CHECKSUM] != _checksum(body):
            raise SnapshotError("saved clusters fail their checksum; they are damaged")
        head, unpacked = unpack_arrays(body)
        if head.get("format") != FORMAT:
            raise SnapshotError(f"saved clusters are {head.get('format')!r}; known is {FORMAT!r}")
        arrays = cast("dict[str, NDArray[Any]]", unpacked)
        made = cls(ClusterConfig(**cast("dict[str, Any]", head["config"])))
        made.refused = cast("int", head["refused"])
        made._learned = {name: arrays[f"learned/{name}"] for name in LEARNED}
        if "published/values" in arrays:
            made.published = Published.of(arrays["published/values"], arrays["published/born"])
        return made


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM).digest()


def _vectors(vectors: ArrayLike, size: int) -> Singles:
    given = np.ascontiguousarray(vectors, dtype=np.float32)
    if given.ndim != 2 or given.shape[1] != size:
        raise ShapeError(f"vectors are {given.shape}; give (n, {size})")
    return given
