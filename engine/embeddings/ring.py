"""The last items chosen, from which negatives are drawn in proportion to recent popularity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, SnapshotError
from engine.state import Part, pack_arrays, unpack_arrays

__all__ = ["Ring"]

PUSHED, DRAWN = 0, 1  # of `head`: keys ever put in, numbers ever drawn
MOST = 1 << 24


class Ring:
    """The last ``size`` keys, and how many random numbers were drawn so far.

    Attributes
    ----------
    keys
        uint64 ``(size,)``: key number n ever put in lies at n modulo size.
    head
        int64 ``(2,)``: keys put in, numbers drawn.
    """

    def __init__(self, size: int) -> None:
        if not 1 <= size <= MOST:
            raise ConfigError(f"a ring of {size} items cannot be; give 1 to {MOST}")
        self.keys: NDArray[np.uint64] = np.zeros(size, dtype=np.uint64)
        self.head: NDArray[np.int64] = np.zeros(2, dtype=np.int64)
        self._saved = 0  # keys of which it is known that they are kept somewhere

    def halve(self, steps: int) -> None:
        """Forget nothing: later keys push out earlier ones."""

    def digest(self) -> bytes:
        """Hash of the content."""
        return hashlib.sha256(self.head.tobytes() + self.keys.tobytes()).digest()

    def to_bytes(self, item_ids: Sequence[str] | None) -> bytes:
        """Save all (None), or what was put in since `mark_saved`."""
        size, pushed = len(self.keys), int(self.head[PUSHED])
        first = max(pushed - size, 0 if item_ids is None else self._saved, 0)
        places = np.arange(first, pushed) % size
        arrays: dict[str, NDArray[Any]] = {"head": self.head, "keys": self.keys[places]}
        return pack_arrays({"first": first}, arrays)

    def put_bytes(self, saved: bytes) -> None:
        """Write what was saved over this ring; ``SnapshotError`` when it does not follow."""
        told, arrays = unpack_arrays(saved)
        head, keys, first = arrays.get("head"), arrays.get("keys"), told.get("first")
        if (
            not (isinstance(first, int) and head is not None and keys is not None)
            or head.shape != (2,)
            or head.dtype != np.int64
            or keys.dtype != np.uint64
            or keys.shape != (int(head[PUSHED]) - first,)
            or not 0 <= first <= int(head[PUSHED])
            or len(keys) > len(self.keys)
        ):
            raise SnapshotError("saved ring of items is damaged, or of another size")
        whole = first == max(int(head[PUSHED]) - len(self.keys), 0)
        if not whole and first > int(self.head[PUSHED]):
            raise SnapshotError(
                f"saved ring of items begins at {first}, and {self.head[PUSHED]} are known; load "
                "what lies between first"
            )
        if int(head[PUSHED]) < int(self.head[PUSHED]) and not whole:
            raise SnapshotError(
                f"saved ring of items ends at {head[PUSHED]}, before the {self.head[PUSHED]} that "
                "are known; load a whole save first"
            )
        if whole:
            self.keys[:] = 0
        self.keys[np.arange(first, int(head[PUSHED])) % len(self.keys)] = keys
        self.head[:] = head
        self._saved = int(head[PUSHED])

    def mark_saved(self) -> None:
        """Note that all is kept somewhere."""
        self._saved = int(self.head[PUSHED])

    def add(self, other: Part) -> None:  # noqa: ARG002
        """Refuse: what was last is told by one order."""
        raise ConfigError("rings of items are filled in order and do not add; let one learn")

    def copy(self) -> Ring:
        """Return an independent copy."""
        twin = Ring(len(self.keys))
        twin.keys[:], twin.head[:], twin._saved = self.keys, self.head, self._saved
        return twin
