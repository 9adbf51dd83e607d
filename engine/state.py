"""What a policy has learned: named raw sums, one row an item.

State knows nothing of the policy it belongs to, so it can be hashed, saved, merged and diffed
by anyone. Rows align by item id, never by position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError, SnapshotError

__all__ = ["State", "pack_arrays", "unpack_arrays"]

Sums = dict[str, NDArray[np.float64]]

MAX_HALVINGS = 1000
NEGLIGIBLE = 1e-280


class State:
    """Raw sums of items.

    Parameters
    ----------
    shapes
        Name of each sum and the shape of one item's row in it.
    half_life_ms
        Time (ms) after which an outcome counts half; 0 never forgets. The sums hold landmark
        weights ``2 ** ((t - landmark) / half_life_ms)``: moving the landmark by whole half-lives
        multiplies every sum by an exact power of two, so when it moves leaves no trace.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], half_life_ms: int = 0) -> None:
        self.shapes = dict(shapes)
        self.half_life_ms = half_life_ms
        self.item_ids: list[str] = []
        self.landmark = 0
        self._rows: dict[str, int] = {}
        self._sums: Sums = {name: np.zeros((0, *shape)) for name, shape in self.shapes.items()}

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def sums(self) -> Sums:
        """The sums, each float64 ``(len(self), …)``: views, writable in place."""
        return {name: sums[: len(self)] for name, sums in self._sums.items()}

    def rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of known items; -1 for the unknown ones, int64 ``(n,)``."""
        return np.array([self._rows.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def ensure_rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of the items, new ones added as zeros, int64 ``(n,)``."""
        found = []
        for item_id in item_ids:
            row = self._rows.get(item_id)
            if row is None:
                row = self._rows[item_id] = len(self.item_ids)
                self.item_ids.append(item_id)
            found.append(row)
        self._grow()
        return np.array(found, dtype=np.int64)

    def _grow(self) -> None:
        for name, sums in self._sums.items():
            if len(sums) < len(self):
                larger = np.zeros((max(2 * len(sums), len(self), 16), *sums.shape[1:]))
                larger[: len(sums)] = sums
                self._sums[name] = larger

    def take(self, item_ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Copies of the named items' rows, each ``(n, …)``; unknown items raise ``ShapeError``."""
        rows = self.rows(item_ids)
        if np.any(rows < 0):
            unknown = [item_ids[i] for i in np.flatnonzero(rows < 0)[:3]]
            raise ShapeError(f"items {unknown} have no row; ask for items of this state")
        return {name: sums[rows] for name, sums in self._sums.items()}

    def put(self, item_ids: Sequence[str], sums: Mapping[str, NDArray[np.float64]]) -> None:
        """Overwrite (or add) the named items' rows with absolute values."""
        rows = self.ensure_rows(item_ids)
        for name, shape in self.shapes.items():
            if name not in sums or sums[name].shape != (len(rows), *shape):
                raise SnapshotError(
                    f"sum {name!r} is {getattr(sums.get(name), 'shape', 'absent')}; "
                    f"this state keeps rows of shape {shape}"
                )
            self._sums[name][rows] = sums[name]

    def advance(self, now_ms: int) -> None:
        """Move the landmark forward to the last whole half-life at or before ``now_ms``."""
        if not self.half_life_ms:
            return
        steps = (now_ms - self.landmark) // self.half_life_ms
        if steps <= 0:
            return
        self.landmark += steps * self.half_life_ms
        for name, sums in self._sums.items():
            halved = sums * 0.5 ** min(steps, MAX_HALVINGS)
            # Below this a sum could reach the subnormal range, where halving is no longer exact.
            halved[np.abs(halved) < NEGLIGIBLE] = 0.0
            self._sums[name] = halved

    def hash(self) -> str:
        """Sha-256 of the sums with items in id order: equal for equal knowledge, to the bit."""
        digest = hashlib.sha256(str(self.landmark).encode())
        order = sorted(self.item_ids)
        rows = self.rows(order)
        digest.update(msgspec.json.encode(order))
        for name in sorted(self.shapes):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self._sums[name][rows]).tobytes())
        return digest.hexdigest()

    def to_bytes(self, item_ids: Sequence[str] | None = None) -> bytes:
        """Save the whole state, or the named items' rows."""
        ids = self.item_ids if item_ids is None else list(item_ids)
        head = {"item_ids": ids, "landmark": self.landmark}
        return pack_arrays(head, self.take(ids))

    def put_bytes(self, saved: bytes) -> list[str]:
        """Write rows saved by `to_bytes` over this state; returns their item ids."""
        head, sums = unpack_arrays(saved)
        item_ids = head.get("item_ids")
        landmark = head.get("landmark")
        if not isinstance(item_ids, list) or not isinstance(landmark, int):
            raise SnapshotError("saved state has no item ids or no landmark; it is damaged")
        self.advance(landmark)
        self.landmark = landmark
        self.put(item_ids, sums)
        return item_ids

    def copy(self) -> State:
        """Return an independent copy."""
        twin = State(self.shapes, self.half_life_ms)
        twin.put(self.item_ids, self.sums)
        twin.landmark = self.landmark
        return twin


def pack_arrays(head: Mapping[str, object], arrays: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Encode plain data and named arrays as MessagePack, the same bytes for the same content."""
    body = {
        name: (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in sorted(arrays.items())
    }
    return msgspec.msgpack.encode({"head": head, "arrays": body})


def unpack_arrays(saved: bytes) -> tuple[dict[str, object], dict[str, NDArray[np.float64]]]:
    """Decode what `pack_arrays` made.

    Raises
    ------
    SnapshotError
        When the bytes are damaged or of another format.
    """
    try:
        parts = msgspec.msgpack.decode(saved)
        arrays = {
            name: np.frombuffer(data, dtype=dtype).reshape(shape).copy()
            for name, (dtype, shape, data) in parts["arrays"].items()
        }
        return dict(parts["head"]), arrays
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SnapshotError(f"saved arrays cannot be read: {error}") from error
