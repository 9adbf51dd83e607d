"""What a policy has learned: named raw sums.

State knows nothing of the policy it belongs to, so it can be hashed, saved, merged and diffed
by anyone. Rows align by item id, never by position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError, SnapshotError
from engine.pieces import Pieces, Source, pack_pieces

__all__ = ["LargePart", "Part", "State", "pack_arrays", "unpack_arrays"]

Sums = dict[str, NDArray[np.float64]]
Shapes = Mapping[str, tuple[int, ...]]

MAX_HALVINGS = 4000  # as good as any more: from the largest number to nothing
NEGLIGIBLE = 1e-280


class Part(Protocol):
    """A piece of state that is no array by item: sums by edge, say, or another library's model."""

    def halve(self, steps: int) -> None:
        """Multiply what is forgotten by ``0.5 ** steps``. Writes: this part."""
        ...

    def digest(self) -> bytes:
        """Hash of the content: equal for equal knowledge, to the bit."""
        ...

    def to_bytes(self, item_ids: Sequence[str] | None) -> bytes:
        """Save the whole part (None), or at least what belongs to the named items."""
        ...

    def put_bytes(self, saved: bytes) -> None:
        """Write what `to_bytes` saved over this part; ``SnapshotError`` when it is damaged."""
        ...

    def mark_saved(self) -> None:
        """Note that all changes so far are kept somewhere: by what `to_bytes` of some items told.

        For parts that list what changed in them; others do nothing.
        """
        ...

    def add(self, other: Part) -> None:
        """Add another shard's sums; ``ConfigError`` when such parts do not add. Writes: this."""
        ...

    def copy(self) -> Part:
        """Return an independent copy."""
        ...


@runtime_checkable
class LargePart(Protocol):
    """A part that can be saved while it goes on changing: it may be too large for one moment."""

    @property
    def size(self) -> int:
        """Bytes of its whole save, about."""
        ...

    def snapshot(self) -> Source:
        """Begin `Part.to_bytes` of this moment and the whole part. Writes: this part."""
        ...


class State:
    """Raw sums of items, sums that belong to none, and parts of other kinds.

    Parameters
    ----------
    shapes
        Name of each sum by item, and the shape of one item's row in it.
    half_life_ms
        Time (ms) after which an outcome counts half; 0 never forgets. The sums hold landmark
        weights ``2 ** ((t - landmark) / half_life_ms)``: moving the landmark by whole half-lives
        multiplies every sum by an exact power of two, so when it moves leaves no trace.
    shared
        Name and shape of each sum that belongs to no item.
    squared
        Names of sums whose weights are squared: half a life later they count a quarter.
    parts
        Empty parts, owned by this state from now on.
    """

    def __init__(
        self,
        shapes: Shapes,
        half_life_ms: int = 0,
        *,
        shared: Shapes | None = None,
        squared: Iterable[str] = (),
        parts: Mapping[str, Part] | None = None,
    ) -> None:
        self.shapes = dict(shapes)
        self.half_life_ms = half_life_ms
        self.squared = frozenset(squared)
        self.shared: Sums = {name: np.zeros(shape) for name, shape in (shared or {}).items()}
        self.parts: dict[str, Part] = dict(parts or {})
        self.item_ids: list[str] = []
        self.landmark = 0
        self._rows: dict[str, int] = {}
        self._sums: Sums = {name: np.zeros((0, *shape)) for name, shape in self.shapes.items()}

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def sums(self) -> Sums:
        """The sums by item, each float64 ``(len(self), …)``: views, writable in place."""
        return {name: sums[: len(self)] for name, sums in self._sums.items()}

    def rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of known items; -1 for the unknown ones, int64 ``(n,)``."""
        return np.array([self._rows.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def ensure_rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of the items, new ones added as zeros, int64 ``(n,)``."""
        get, given = self._rows.get, list(item_ids)
        rows = np.array([get(item_id, -1) for item_id in given], dtype=np.int64)
        new = np.flatnonzero(rows < 0)
        for place in new.tolist():
            rows[place] = self._rows.setdefault(given[place], len(self._rows))
            if rows[place] == len(self.item_ids):
                self.item_ids.append(given[place])
        self._grow()
        return rows

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
            _check_shape(name, sums.get(name), (len(rows), *shape))
            self._sums[name][rows] = sums[name]

    def put_shared(self, shared: Mapping[str, NDArray[np.float64]]) -> None:
        """Overwrite the sums that belong to no item with absolute values."""
        for name, sums in self.shared.items():
            _check_shape(name, shared.get(name), sums.shape)
            self.shared[name] = shared[name].copy()

    def advance(self, now_ms: int) -> None:
        """Move the landmark forward to the last whole half-life at or before ``now_ms``."""
        if not self.half_life_ms:
            return
        steps = (now_ms - self.landmark) // self.half_life_ms
        if steps > 0:
            self.landmark += steps * self.half_life_ms
            self.halve(steps)

    def halve(self, steps: int) -> None:
        """Multiply every sum by ``0.5 ** steps``, exactly."""
        steps = min(steps, MAX_HALVINGS)
        for sums in (self._sums, self.shared):
            for name in sums:
                # Not a product with a power, which could underflow where the sum does not.
                halved = np.ldexp(sums[name], -steps * (2 if name in self.squared else 1))
                # Below it a sum could reach the subnormal range, where halving is not exact.
                sums[name] = np.where(np.abs(halved) < NEGLIGIBLE, 0.0, halved)
        for part in self.parts.values():
            part.halve(steps)

    def add(self, other: State) -> None:
        """Add the sums of another shard, which must be at the same landmark. Writes: this state."""
        rows = self.ensure_rows(other.item_ids)
        for name, sums in self.sums.items():
            sums[rows] += other.sums[name]
        for name, sums in self.shared.items():
            np.add(sums, other.shared[name], out=sums)
        for name, part in self.parts.items():
            part.add(other.parts[name])

    def hash(self) -> str:
        """Sha-256 of the sums with items in id order: equal for equal knowledge, to the bit."""
        digest = hashlib.sha256(str(self.landmark).encode())
        order = sorted(self.item_ids)
        rows = self.rows(order)
        digest.update(msgspec.json.encode(order))
        for name in sorted(self.shapes):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self._sums[name][rows]).tobytes())
        for name in sorted(self.shared):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.shared[name]).tobytes())
        for name in sorted(self.parts):
            digest.update(name.encode())
            digest.update(self.parts[name].digest())
        return digest.hexdigest()

    def to_bytes(self, item_ids: Sequence[str] | None = None) -> bytes:
        """Save the whole state, or the named items' rows and what belongs to no item."""
        ids = self.item_ids if item_ids is None else list(item_ids)
        parts = {name: part.to_bytes(item_ids) for name, part in self.parts.items()}
        return msgspec.msgpack.encode(self._told(ids, parts))

    @property
    def largest(self) -> int:
        """Bytes of the largest part that `snapshot` leaves for later; 0 when there is none."""
        large = (part.size for part in self.parts.values() if isinstance(part, LargePart))
        return max(large, default=0)

    def snapshot(self) -> Pieces:
        """Begin `to_bytes` of this moment, whole: large parts are read while they go on changing.

        One at a time. Where it is ended early it must be closed.
        """
        parts = {
            name: part.snapshot() if isinstance(part, LargePart) else part.to_bytes(None)
            for name, part in self.parts.items()
        }
        return pack_pieces(self._told(self.item_ids, parts))

    def _told(self, ids: Sequence[str], parts: Mapping[str, object]) -> dict[str, object]:
        head = {"item_ids": ids, "landmark": self.landmark, "parts": parts}
        arrays = {f"item/{name}": sums for name, sums in self.take(ids).items()}
        arrays |= {f"shared/{name}": sums for name, sums in self.shared.items()}
        return {"head": head, "arrays": _plain(arrays)}

    def put_bytes(self, saved: bytes) -> list[str]:
        """Write rows saved by `to_bytes` over this state; returns their item ids."""
        head, arrays = unpack_arrays(saved)
        item_ids, landmark = head.get("item_ids"), head.get("landmark")
        parts = head.get("parts")
        if not (
            isinstance(item_ids, list) and isinstance(landmark, int) and isinstance(parts, dict)
        ):
            raise SnapshotError("saved state has no item ids or no landmark; it is damaged")
        self.advance(landmark)
        self.landmark = landmark
        self.put(item_ids, _below(arrays, "item/"))
        self.put_shared(_below(arrays, "shared/"))
        for name, part in self.parts.items():
            if not isinstance(parts.get(name), bytes):
                raise SnapshotError(f"saved state has no part {name!r}; it is damaged")
            part.put_bytes(parts[name])
        return item_ids

    def mark_saved(self) -> None:
        """Note that what `to_bytes` told so far is kept somewhere."""
        for part in self.parts.values():
            part.mark_saved()

    def copy(self) -> State:
        """Return an independent copy."""
        twin = State(
            self.shapes,
            self.half_life_ms,
            squared=self.squared,
            parts={name: part.copy() for name, part in self.parts.items()},
        )
        twin.shared = {name: sums.copy() for name, sums in self.shared.items()}
        twin.put(self.item_ids, self.sums)
        twin.landmark = self.landmark
        return twin


def _below(arrays: Sums, prefix: str) -> Sums:
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}


def _check_shape(name: str, given: NDArray[np.float64] | None, expected: tuple[int, ...]) -> None:
    if given is None or given.shape != expected:
        raise SnapshotError(
            f"sum {name!r} is {getattr(given, 'shape', 'absent')}; this state keeps {expected}"
        )


def pack_arrays(head: Mapping[str, object], arrays: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Encode plain data and named arrays as MessagePack, the same bytes for the same content."""
    return msgspec.msgpack.encode({"head": head, "arrays": _plain(arrays)})


def _plain(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, object]:
    return {
        name: (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in sorted(arrays.items())
    }


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
