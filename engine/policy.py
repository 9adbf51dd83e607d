"""A policy: what is believed (model), how it explores, and how a list is made of it.

`Policy` is frozen configuration; `State` holds the raw sums it learned; `Posterior` holds what
is derived from them and is all that ranking reads. Ranking is pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.features import Schema
from engine.state import State

__all__ = [
    "Belief",
    "Candidates",
    "Exploration",
    "Model",
    "Outcomes",
    "Policy",
    "Posterior",
    "Requests",
    "SlateRule",
    "Slates",
    "hash_key",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]


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

    def __init__(self, item_ids: Sequence[str], arrays: dict[str, NDArray[np.float64]]) -> None:
        self.item_ids = list(item_ids)
        self.arrays = arrays
        self._rows = {item_id: row for row, item_id in enumerate(self.item_ids, start=1)}

    def rows(self, item_ids: Sequence[str]) -> Ints:
        """Rows of the items, 0 for the unseen, int64 ``(n,)``."""
        get = self._rows.get
        return np.array([get(item_id, 0) for item_id in item_ids], dtype=np.int64)


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
        """Look the items up; give ``keys`` where their hashes are already known."""
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
    sd: Floats  # its standard deviation, same unit
    a: Floats  # beta: pseudo-successes; normal: empty
    b: Floats  # beta: pseudo-failures; normal: empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Slates:
    """Ordered lists, one row a request, with the probability of every choice."""

    picks: Ints  # (n, k) positions in the request's candidates
    score: Floats  # (n, k) expected reward
    propensity: Floats  # (n, k) probability of the pick given the slots before it
    error: Floats  # (n, k) 0 when exact, bound when quadrature, standard error when Monte Carlo
    method: str  # "exact", "quadrature" or "monte_carlo"
    greedy: NDArray[np.bool_]  # (n, k) whether the pick had the highest mean of those left


class Model(Protocol):
    """What is believed of an item. ``additive``: merging shards' sums gives the whole."""

    additive: bool

    def shapes(self, d: int) -> dict[str, tuple[int, ...]]:
        """Name of each sum and the shape of an item's row in it, for ``d`` columns."""
        ...

    def update(
        self, sums: dict[str, Floats], rows: Ints, outcomes: Outcomes, weight: Floats
    ) -> None:
        """Add outcomes to the sums. Writes: sums. No BLAS, so batch cuts leave no trace."""
        ...

    def derive(self, sums: dict[str, Floats], d: int) -> dict[str, Floats]:
        """Posterior arrays of the given rows of sums, derived from them alone."""
        ...

    def believe(self, posterior: Posterior, requests: Requests) -> Belief:
        """Mean and spread of every candidate of every request."""
        ...


class Exploration(Protocol):
    """How beliefs become choices; knows the probability of each."""

    def check(self, family: str) -> None:
        """Raise ``ConfigError`` when propensities cannot be stated for beliefs of a family."""
        ...

    def draw(
        self, belief: Belief, requests: Requests, picks: Ints, *, seed: int, floor: float
    ) -> Slates:
        """Fill ``picks`` (-1: draw; else: taken as given) and state each one's propensity."""
        ...


class SlateRule(Protocol):
    """How a list is made of an exploration."""

    floor: float

    def rank(
        self, exploration: Exploration, belief: Belief, requests: Requests, k: int, seed: int
    ) -> Slates:
        """Make a list of ``k`` for every request."""
        ...

    def score(
        self, exploration: Exploration, belief: Belief, requests: Requests, picks: Ints, seed: int
    ) -> Slates:
        """State the propensities of given lists."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Model × exploration × slate rule over a schema.

    Parameters
    ----------
    half_life_ms
        Outcomes this old count half; 0 never forgets.
    seed
        Seeds the draws, together with request id, slot and item id.
    """

    name: str
    model: Model
    exploration: Exploration
    slate: SlateRule
    schema: Schema = field(default_factory=Schema)
    half_life_ms: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.half_life_ms < 0:
            raise ConfigError(f"half_life_ms is {self.half_life_ms}; give 0 (never) or more")

    @property
    def width(self) -> int:
        """Number of columns of a context row."""
        return len(self.schema.columns)

    @property
    def state_hash(self) -> str:
        """Sixteen hex digits of the settings that learned state depends on."""
        return _digest([self.model_settings(), self.schema.to_list(), self.half_life_ms])

    @property
    def hash(self) -> str:
        """Sixteen hex digits of every setting: what an impression logs."""
        parts = [self.exploration, self.slate]
        return _digest(
            [
                self.state_hash,
                [[type(p).__name__, msgspec.to_builtins(p)] for p in parts],
                self.seed,
            ]
        )

    def model_settings(self) -> list[object]:
        """Name the model and its settings as plain data."""
        return [type(self.model).__name__, msgspec.to_builtins(self.model)]

    def init(self) -> State:
        """Return the state of a policy that has seen nothing."""
        return State(self.model.shapes(self.width), self.half_life_ms)

    def update(self, state: State, outcomes: Outcomes) -> None:
        """Learn from outcomes, in order. Writes: state."""
        if outcomes.x.shape[1] != self.width:
            raise ShapeError(
                f"outcomes.x has {outcomes.x.shape[1]} columns; the schema has {self.width}"
            )
        for part in self._segments(state, outcomes):
            rows = state.ensure_rows(part.item_ids)
            weight = part.weight
            if self.half_life_ms:
                age = (part.time_ms - state.landmark) / self.half_life_ms
                weight = weight * np.exp2(age)
            self.model.update(state.sums, rows, part, weight)

    def _segments(self, state: State, outcomes: Outcomes) -> list[Outcomes]:
        # Landmark weights are kept below 2 ** 256 whatever the span of a batch.
        if not self.half_life_ms or not len(outcomes.item_ids):
            return [outcomes]
        if not len(state):
            state.landmark = int(outcomes.time_ms[0]) // self.half_life_ms * self.half_life_ms
        return [outcomes]

    def derive(self, state: State) -> Posterior:
        """Derive the beliefs of every item, and of the prior, from the sums alone."""
        arrays = self.model.derive(self._with_prior(state.sums), self.width)
        return Posterior(state.item_ids, arrays)
