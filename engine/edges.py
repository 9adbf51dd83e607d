"""State by edge, a pair of an item and a cluster: a part of a policy's state.

An edge is two sums, a precision and a moment, under a 64-bit hash of its item and its cluster.
Two of 10 million edges share one by accident with a chance of 3 in a million; they would then be
learned as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from engine.batches import Floats, Ints, Keys, hash_key
from engine.errors import ConfigError, SnapshotError
from engine.kernels.edges import BLOCK, find_edges, put_edges, select_edges, update_edges
from engine.state import NEGLIGIBLE, Part, pack_arrays, unpack_arrays

__all__ = ["EdgeTable", "Events"]

SMALLEST = 1024  # slots
KINDS = {"keys": "uint64", "owners": "uint64", "values": "float64"}  # of what is saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What is learned of: event i has the clusters ``offsets[i]:offsets[i + 1]``."""

    item_keys: Keys  # (n,) hashes of the items
    offsets: Ints  # (n + 1,)
    clusters: Keys  # (offsets[-1],) keys of clusters
    shares: Floats  # (offsets[-1],) of the event, by cluster
    precision: Floats  # (n,) what it adds to an edge, times the share's size or square
    moment: Floats  # (n,) and times the share


class EdgeTable:
    """Sums by edge, in the hash table that `engine.kernels.edges` describes.

    Attributes
    ----------
    keys, owners
        Of every slot, ``(capacity + 1,)``: the hash of the edge, and of its item.
    values
        Precision and moment of every slot, ``(capacity + 1, 2)``.
    layout
        Grows whenever slots move.
    """

    def __init__(self) -> None:
        self.layout = 0
        self._empty(SMALLEST)

    def _empty(self, capacity: int) -> None:
        self.keys: Keys = np.zeros(capacity + 1, dtype=np.uint64)
        self.owners: Keys = np.zeros(capacity + 1, dtype=np.uint64)
        self.values: Floats = np.zeros((capacity + 1, 2))
        self._size = np.zeros(1, dtype=np.int64)

    def __len__(self) -> int:
        """Slots in use."""
        return int(self._size[0])

    def learn(self, events: Events, *, squared: bool) -> None:
        """Add events in order, by their shares' squares or sizes. Writes: this table.

        See `engine.kernels.edges.update_edges`.
        """
        done = 0
        while True:
            done = update_edges(
                self.keys,
                self.owners,
                self.values,
                self._size,
                events.item_keys,
                events.offsets,
                events.clusters,
                events.shares,
                events.precision,
                events.moment,
                squared,
                done,
            )
            if done == len(events.clusters):
                return
            self.reserve(BLOCK)

    def put(self, keys: Keys, owners: Keys, values: Floats, *, adding: bool = False) -> None:
        """Write edges ``(n,)`` over what is there, or add to it. Writes: this table."""
        self.reserve(len(keys))
        table = (self.keys, self.owners, self.values, self._size)
        put_edges(*table, keys, owners, np.ascontiguousarray(values), adding)

    def get(self, keys: Keys) -> Floats:
        """Precision and moment of edges, zeros for the unknown, ``(n, 2)``."""
        slots = np.empty(len(keys), dtype=np.int64)
        find_edges(self.keys, keys, slots)
        return np.where(slots[:, None] >= 0, self.values[slots], 0.0)

    def reserve(self, extra: int) -> None:
        """Make room for so many more edges; those faded to nothing are dropped when slots move."""
        if len(self) + extra <= (len(self.keys) - 1) // 2:
            return
        keys, owners, values = self._take()
        capacity = SMALLEST
        # Twice the room needed now, or growing would come back after a few edges.
        while capacity < max(2 * (len(keys) + extra), 4 * len(keys)):
            capacity *= 2
        self._empty(capacity)
        self.layout += 1
        put_edges(self.keys, self.owners, self.values, self._size, keys, owners, values, False)

    def edges(self, item_ids: Sequence[str] | None = None) -> tuple[Keys, Keys, Floats]:
        """Keys, owners and values of the edges that hold something, in the order of their keys.

        Of the named items only, where any are named.
        """
        found = self._take(item_ids)
        order = np.argsort(found[0])
        return found[0][order], found[1][order], found[2][order]

    def _take(self, item_ids: Sequence[str] | None = None) -> tuple[Keys, Keys, Floats]:
        """Take the same in the order of their slots."""
        wanted = np.array([hash_key(item_id) for item_id in item_ids or ()], dtype=np.uint64)
        slots = np.empty(len(self), dtype=np.int64)
        table = (self.keys, self.owners, self.values)
        slots = slots[: select_edges(*table, item_ids is None, wanted, slots)]
        keys = self.keys[slots]
        keys[slots == len(self.keys) - 1] = 0  # the slot of key 0
        return keys, self.owners[slots], self.values[slots]

    def halve(self, steps: int) -> None:
        """Multiply every sum by ``0.5 ** steps``, exactly. Writes: this table."""
        # Not a product with a power, which could underflow where the sum does not.
        self.values = np.ldexp(self.values, -steps)
        self.values[np.abs(self.values) < NEGLIGIBLE] = 0.0

    def digest(self) -> bytes:
        """Hash of the edges in the order of their keys, however they came in."""
        keys, _, values = self.edges()
        return hashlib.sha256(keys.tobytes() + values.tobytes()).digest()

    def to_bytes(self, item_ids: Sequence[str] | None) -> bytes:
        """Save every edge (None), or those of the named items."""
        arrays: dict[str, Any] = dict(zip(KINDS, self.edges(item_ids), strict=True))
        return pack_arrays({}, arrays)

    def put_bytes(self, saved: bytes) -> None:
        """Write saved edges over this table; ``SnapshotError`` when they are damaged."""
        arrays = cast("dict[str, Any]", unpack_arrays(saved)[1])
        given = [arrays.get(name, np.empty(0)) for name in KINDS]
        n = len(given[0])
        shapes = ((n,), (n,), (n, 2))
        for (name, kind), array, shape in zip(KINDS.items(), given, shapes, strict=True):
            if array.dtype != kind or array.shape != shape:
                raise SnapshotError(
                    f"saved edges have {name} of {array.dtype}, {array.shape}; "
                    f"this table keeps {kind}, {shape}"
                )
        self.put(*given)

    def mark_saved(self) -> None:
        """Do nothing: what changed is told by the items."""

    def add(self, other: Part) -> None:
        """Add another shard's edges; ``ConfigError`` when it has none. Writes: this table."""
        if not isinstance(other, EdgeTable):
            raise ConfigError(f"sums by edge cannot be added to {type(other).__name__}")
        self.put(*other.edges(), adding=True)

    def copy(self) -> EdgeTable:
        """Return an independent copy."""
        twin = EdgeTable()
        twin.layout = self.layout
        for name in ("keys", "owners", "values", "_size"):
            setattr(twin, name, getattr(self, name).copy())
        return twin
