"""A frozen set of vectors by key: what a model learned of ids, for others to read as features.

A set never changes. Vectors learned anew are another set, of another version, because numbers of
one training mean nothing in another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

__all__ = ["VectorSet"]

HEAVIEST = 1e6  # as features may be: `engine.feature_kinds`
Flags = NDArray[np.bool_]
Keys = NDArray[np.uint64]
Singles = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class VectorSet:
    """Vectors of a version, in the order of their keys.

    Parameters
    ----------
    version
        Name of the training that the numbers are of.
    keys
        uint64 ``(m,)``, ascending, each once and none 0; `engine.embeddings.keys.hash_ids` makes
        them of ids.
    vectors
        float32 ``(m, count)``, within ±1e6.

    Raises
    ------
    ShapeError
        When the arrays are not as said.
    """

    version: str
    keys: Keys
    vectors: Singles

    def __post_init__(self) -> None:
        keys, vectors = self.keys, self.vectors
        if keys.dtype != np.uint64 or keys.ndim != 1 or vectors.dtype != np.float32:
            raise ShapeError(
                f"keys are {keys.dtype} {keys.shape} and vectors {vectors.dtype}; give uint64 (m,) "
                "and float32"
            )
        if vectors.ndim != 2 or len(vectors) != len(keys) or not vectors.shape[1]:
            raise ShapeError(f"vectors are {vectors.shape}; {len(keys)} keys need as many rows")
        if np.any(keys[1:] <= keys[:-1]) or (len(keys) and keys[0] == 0):
            raise ShapeError("keys must ascend, each once and none 0; `VectorSet.of` sorts them")
        if not np.all(np.abs(vectors) <= HEAVIEST):
            raise ShapeError(f"vectors hold a number beyond ±{HEAVIEST:.0e}, or one that is none")

    @classmethod
    def of(cls, keys: Keys, vectors: Singles, version: str = "") -> VectorSet:
        """Make a set of keys in any order; named after its content when no version is given."""
        order = np.argsort(keys, kind="stable")
        keys, vectors = keys[order], np.ascontiguousarray(vectors[order], dtype=np.float32)
        return cls(version=version or _content(keys, vectors), keys=keys, vectors=vectors)

    @property
    def count(self) -> int:
        """Numbers a vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.keys)

    def lookup(self, keys: Keys) -> tuple[Singles, Flags]:
        """Vectors float32 ``(n, count)`` of keys ``(n,)``, and which are known; zeros elsewhere."""
        if not len(self):
            return np.zeros((len(keys), self.count), np.float32), np.zeros(len(keys), np.bool_)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        found: Flags = self.keys[places] == keys
        return np.where(found[:, None], self.vectors[places], np.float32(0.0)), found


def _content(keys: Keys, vectors: Singles) -> str:
    digest = hashlib.sha256(str(vectors.shape).encode())
    for array in (keys.astype("<u8", copy=False), vectors.astype("<f4", copy=False)):
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]
