"""The arrays that cross the engine's boundary: what is learned from, asked and answered.

Candidates of a batch of requests are flat: request i may show those at
``offsets[i]:offsets[i + 1]``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

__all__ = [
    "Belief",
    "Candidates",
    "Flags",
    "Floats",
    "Ints",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What is learned from: one row an item shown, in log order."""

    item_ids: Sequence[str]
    x: Floats  # (n, d)
    reward: Floats  # (n,)
    weight: Floats  # (n,), 1 / sampling rate
    time_ms: Ints  # (n,)

    def __post_init__(self) -> None:
        n = len(self.item_ids)
        for name in ("reward", "weight", "time_ms"):
            if getattr(self, name).shape != (n,):
                shape = getattr(self, name).shape
                raise ShapeError(f"outcomes.{name} is {shape}; {n} items need ({n},)")
        if self.x.ndim != 2 or len(self.x) != n:
            raise ShapeError(f"outcomes.x is {self.x.shape}; {n} items need ({n}, d)")
        finite = np.isfinite(self.x).all() and np.isfinite(self.reward).all()
        if not finite or not np.all((self.weight > 0) & np.isfinite(self.weight)):
            raise ShapeError("outcomes hold a value that is not finite, or a weight not above 0")

    def take(self, part: slice) -> Outcomes:
        """Return a run of the rows."""
        return Outcomes(
            item_ids=self.item_ids[part],
            x=self.x[part],
            reward=self.reward[part],
            weight=self.weight[part],
            time_ms=self.time_ms[part],
        )


class Posterior:
    """Beliefs derived from a state: arrays whose row 0 is the prior, row i + 1 item i.

    An item without a row is read from row 0: an unseen item is believed what the prior says.
    """

    def __init__(self, item_ids: Sequence[str], arrays: dict[str, Floats]) -> None:
        self.item_ids = list(item_ids)
        self.arrays = arrays
        self._rows = {item_id: row for row, item_id in enumerate(self.item_ids, start=1)}

    def rows(self, item_ids: Sequence[str]) -> Ints:
        """Rows of the items, 0 for the unseen, int64 ``(n,)``."""
        get = self._rows.get
        return np.array([get(item_id, 0) for item_id in item_ids], dtype=np.int64)

    def put(self, item_ids: Sequence[str], arrays: dict[str, Floats]) -> None:
        """Overwrite (or add) the items' rows. Writes: this posterior's arrays."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Items that may be shown, looked up in a posterior once and used for many requests."""

    item_ids: tuple[str, ...]
    keys: Keys  # (m,)
    rows: Ints  # (m,)

    @classmethod
    def of(
        cls, posterior: Posterior, item_ids: Sequence[str], keys: Keys | None = None
    ) -> Candidates:
        """Look the items up, each given once; give ``keys`` where their hashes are known."""
        if keys is None:
            keys = np.array([hash_key(item_id) for item_id in item_ids], dtype=np.uint64)
        return cls(item_ids=tuple(item_ids), keys=keys, rows=posterior.rows(item_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """A batch of requests for slates; request i may show candidates[offsets[i]:offsets[i+1]]."""

    x: Floats  # (n, d)
    keys: Keys  # (n,) hashes of the request ids: they seed the draws
    offsets: Ints  # (n + 1,)
    item_keys: Keys  # (offsets[-1],)
    rows: Ints  # (offsets[-1],) rows of the posterior

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
        sizes = [len(each.item_ids) for each in candidates]
        single = len(candidates) == 1
        return cls(
            x=x,
            keys=np.array([hash_key(request_id) for request_id in request_ids], dtype=np.uint64),
            offsets=np.cumsum([0, *sizes], dtype=np.int64),
            item_keys=candidates[0].keys
            if single
            else np.concatenate([c.keys for c in candidates]),
            rows=candidates[0].rows if single else np.concatenate([c.rows for c in candidates]),
        )

    def check(self, k: int) -> None:
        """Raise ``ShapeError`` when some request has fewer candidates than ``k``."""
        fewest = int(np.diff(self.offsets).min(initial=np.iinfo(np.int64).max))
        if k < 1 or fewest < k:
            raise ShapeError(f"k is {k} and a request has {fewest} candidates; give 1 <= k <= that")


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What a model believes of every candidate of a batch, flat like `Requests.rows`."""

    family: str  # "normal" or "beta": the shape of the uncertainty
    mean: Floats  # expected reward
    sd: Floats  # its standard deviation, for rewards of unit noise
    noise: Floats  # variance of a reward about its mean; 1 where sd holds it already
    a: Floats  # beta: pseudo-successes; normal: empty
    b: Floats  # beta: pseudo-failures; normal: empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Slates:
    """Ordered lists, one row a request, with the probability of every choice."""

    picks: Ints  # (n, k) positions in the request's candidates
    score: Floats  # (n, k) expected reward
    propensity: Floats  # (n, k) probability of the pick given the slots before it
    error: Floats  # (n, k) 0 when exact, absolute bound when quadrature
    method: str  # "exact" or "quadrature"
    greedy: Flags  # (n, k) whether the pick had the highest mean of those left
