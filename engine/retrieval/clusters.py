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
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ConfigError, SnapshotError
from engine.kernels.retrieval.clusters import SEEDED, learn_clusters
from engine.kernels.retrieval.dots import PAD
from engine.kernels.retrieval.nearest import CENTROIDS
from engine.retrieval.published import Published, as_vectors
from engine.state import pack_arrays, unpack_arrays

__all__ = ["ClusterConfig", "StreamingClusters"]

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
        given = as_vectors(vectors, config.size)
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
