"""The arrays that cross the engine's boundary: what is learned from, asked and answered.

Candidates of a batch of requests are flat: request i may show those at
``offsets[i]:offsets[i + 1]``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from engine.beliefs import Belief, Joint, Slates
from engine.errors import ShapeError

__all__ = [
    "Belief",
    "Candidates",
    "Flags",
    "Floats",
    "Ints",
    "Joint",
    "Keys",
    "Outcomes",
    "Posterior",
    "Requests",
    "Slates",
    "hash_key",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]


def hash_key(text: str) -> int:
    """Stable 64-bit hash of an id, the same on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


NOT_GIVEN: Any = None  # filled in by `Outcomes` and `Requests`
FLAT = ("reward", "weight", "time_ms")  # always given, a number an outcome

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What is learned from: one row an item shown, in log order."""

    item_ids: Sequence[str]
    x: Floats  # (n, d) context rows
    reward: Floats  # (n,)
    weight: Floats  # (n,), 1 / sampling rate
    time_ms: Ints  # (n,)
    z: Floats = NOT_GIVEN  # (n, e) item rows; (n, 0) when not given
    propensity: Floats = NOT_GIVEN  # (n,) with which the item was shown; 1 when not given
    slot: Ints = NOT_GIVEN  # (n,) place in its slate; 0 when not given
    last: Ints = NOT_GIVEN  # (n,) last slot of its slate with a reaction, -1 for none
    examination: Floats = NOT_GIVEN  # (n,) chance that the slot was looked at; 1 when not given
    slate: Ints = NOT_GIVEN  # (n,) one number for the rows of a slate, which lie side by side

    def __post_init__(self) -> None:
        n = len(self.item_ids)
        defaults = (
            ("z", np.empty((n, 0))),
            ("propensity", np.ones(n)),
            ("slot", np.zeros(n, dtype=np.int64)),
            ("last", np.full(n, -1, dtype=np.int64)),
            ("examination", np.ones(n)),
            ("slate", np.arange(n)),
        )
        told = () if self.examination is None else (self.examination,)
        placed = self.slot is not None
        for name, default in defaults:
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        for name in (*FLAT, *(name for name, default in defaults if default.ndim == 1)):
            if getattr(self, name).shape != (n,):
                shape = getattr(self, name).shape
                raise ShapeError(f"outcomes.{name} is {shape}; {n} items need ({n},)")
        for name in ("x", "z"):
            rows = getattr(self, name)
            if rows.ndim != 2 or len(rows) != n:
                raise ShapeError(f"outcomes.{name} is {rows.shape}; {n} items need ({n}, columns)")
        given = (self.x, self.z, self.reward)
        above = (self.weight, self.propensity, *told)
        if not all(np.isfinite(values).all() for values in given) or not all(
            np.all((values > 0) & np.isfinite(values)) for values in above
        ):
            raise ShapeError(
                "outcomes hold a value that is not finite, or a weight, propensity or examination "
                "not above 0"
            )
        if placed and np.any(self.slot < 0):
            raise ShapeError("outcomes.slot is below 0; slots count from 0")

    def take(self, part: slice | Ints) -> Outcomes:
        """Return some of the rows."""
        ids = self.item_ids
        item_ids = ids[part] if isinstance(part, slice) else [ids[i] for i in part]
        arrays = {f.name: getattr(self, f.name)[part] for f in fields(self) if f.name != "item_ids"}
        return Outcomes(item_ids=item_ids, **arrays)


class Posterior:
    """Beliefs derived from a state: arrays whose row 0 is the prior, row i + 1 item i.

    An item without a row is read from row 0: an unseen item is believed what the prior says.

    Parameters
    ----------
    arrays
        By item, ``(m + 1, …)``.
    shared
        What belongs to no item, of any shape and type.
    parts
        What is read where it lies, such as embedding tables, by name.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        arrays: dict[str, Floats],
        shared: dict[str, NDArray[Any]] | None = None,
        parts: dict[str, Any] | None = None,
    ) -> None:
        self.item_ids = list(item_ids)
        self.arrays = arrays
        self.shared = shared or {}
        self.parts = parts or {}
        self._rows = {item_id: row for row, item_id in enumerate(self.item_ids, start=1)}
        self._made: dict[str, object] = {}

    @property
    def total(self) -> float:
        """Weight of all outcomes these beliefs come from."""
        return self.cached("total", lambda: float(self.arrays["count"][1:].sum()))

    def rows(self, item_ids: Sequence[str]) -> Ints:
        """Rows of the items, 0 for the unseen, int64 ``(n,)``."""
        get = self._rows.get
        return np.array([get(item_id, 0) for item_id in item_ids], dtype=np.int64)

    def put(self, item_ids: Sequence[str], arrays: dict[str, Floats]) -> None:
        """Overwrite (or add) the items' rows. Writes: this posterior's arrays."""
        self._made = {}
        for item_id in item_ids:
            if item_id not in self._rows:
                self.item_ids.append(item_id)
                self._rows[item_id] = len(self.item_ids)
        rows = self.rows(item_ids)
        for name, array in self.arrays.items():
            if len(array) <= len(self.item_ids):
                spare = np.repeat(array[:1], len(self.item_ids) + 1 - len(array), axis=0)
                self.arrays[name] = np.concatenate([array, spare])
            self.arrays[name][rows] = arrays[name]

    def cached(self, name: str, make: Callable[[], Made]) -> Made:
        """Return what ``make`` gave when first asked for ``name`` since the last change."""
        if name not in self._made:
            self._made[name] = make()
        return cast("Made", self._made[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Items that may be shown, looked up in a posterior once and used for many requests."""

    item_ids: tuple[str, ...]
    keys: Keys  # (m,)
    rows: Ints  # (m,)
    z: Floats = NOT_GIVEN  # (m, e) item rows; (m, 0) when not given

    def __post_init__(self) -> None:
        if self.z is None:
            object.__setattr__(self, "z", np.empty((len(self.item_ids), 0)))

    @classmethod
    def of(
        cls,
        posterior: Posterior,
        item_ids: Sequence[str],
        keys: Keys | None = None,
        z: Floats | None = None,
    ) -> Candidates:
        """Look the items up, each given once; give ``keys`` where their hashes are known."""
        if keys is None:
            keys = np.array([hash_key(item_id) for item_id in item_ids], dtype=np.uint64)
        rows = posterior.rows(item_ids)
        return cls(item_ids=tuple(item_ids), keys=keys, rows=rows, z=NOT_GIVEN if z is None else z)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """A batch of requests for slates; request i may show candidates[offsets[i]:offsets[i+1]]."""

    x: Floats  # (n, d)
    keys: Keys  # (n,) hashes of the request ids: they seed the draws
    offsets: Ints  # (n + 1,)
    item_keys: Keys  # (offsets[-1],)
    rows: Ints  # (offsets[-1],) rows of the posterior
    z: Floats = NOT_GIVEN  # (offsets[-1], e) item rows; (…, 0) when not given

    def __post_init__(self) -> None:
        if self.z is None:
            object.__setattr__(self, "z", np.empty((len(self.rows), 0)))

    @classmethod
    def of(
        cls, x: Floats, request_ids: Sequence[str], candidates: Sequence[Candidates]
    ) -> Requests:
        """Join one `Candidates` a request into a batch."""
        if not len(x) == len(request_ids) == len(candidates):
            raise ShapeError(
                f"{len(x)} feature rows, {len(request_ids)} request ids and {len(candidates)} "
                "candidate sets; give one of each per request"
            )
        offsets = np.cumsum([0, *(len(each.item_ids) for each in candidates)], dtype=np.int64)
        keys = np.array([hash_key(request_id) for request_id in request_ids], dtype=np.uint64)
        if not candidates:
            none = np.empty(0, dtype=np.int64)
            return cls(x=x, keys=keys, offsets=offsets, item_keys=none.astype(np.uint64), rows=none)
        if len(candidates) == 1:
            only = candidates[0]
            return cls(
                x=x, keys=keys, offsets=offsets, item_keys=only.keys, rows=only.rows, z=only.z
            )
        return cls(
            x=x,
            keys=keys,
            offsets=offsets,
            item_keys=np.concatenate([c.keys for c in candidates]),
            rows=np.concatenate([c.rows for c in candidates]),
            z=np.concatenate([c.z for c in candidates]),
        )

    @property
    def of_candidate(self) -> Ints:
        """Number of the request that each candidate belongs to, ``(offsets[-1],)``."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.offsets))

    def only(self, kept: Flags) -> Requests:
        """Return these requests with the marked candidates alone, ``kept (offsets[-1],)``."""
        counts = np.add.reduceat(kept, self.offsets[:-1], dtype=np.int64)
        return Requests(
            x=self.x,
            keys=self.keys,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            item_keys=self.item_keys[kept],
            rows=self.rows[kept],
            z=self.z[kept],
        )

    def check(self, k: int) -> None:
        """Raise ``ShapeError`` when some request has fewer candidates than ``k``."""
        fewest = int(np.diff(self.offsets).min(initial=np.iinfo(np.int64).max))
        if k < 1 or fewest < k:
            raise ShapeError(f"k is {k} and a request has {fewest} candidates; give 1 <= k <= that")
