"""What a model is: how it learns, what it derives, and what it believes of a candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.features import Schema
from engine.state import Part, State

__all__ = ["Axes", "Model", "Shape", "Traits", "resolve"]

Shape = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Axes of a model's sums: numbers, or names of `Schema.sizes` that align when it changes."""

    items: Mapping[str, Shape]  # a row an item
    shared: Mapping[str, Shape] = field(default_factory=dict)  # once
    squared: frozenset[str] = frozenset()  # sums of squared weights


def resolve(axes: Mapping[str, Shape], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Turn named axes into numbers."""
    return {
        name: tuple(size if isinstance(size, int) else sizes[size] for size in shape)
        for name, shape in axes.items()
    }


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What the rest of the engine must know of a model.

    Attributes
    ----------
    family
        Shape of the uncertainty of one candidate, see `Belief`.
    merging
        What adding shards' states gives: the whole, something near it, or nothing meaningful.
    correlated
        Whether candidates share parameters, so that their draws are not independent.
    replicated
        Whether beliefs come with bootstrap replicas.
    pooled
        Whether deriving one item's beliefs reads other items' sums.
    forgets
        Whether outcomes may fade by a half-life.
    examines
        Whether a slot's chance of being looked at can be taken into account.
    weighs
        Whether an outcome of weight w counts as w outcomes.
    importance
        Whether means are of rewards over propensities, summed over every round, as Exp3 needs.
    reads_items
        Whether beliefs read the items' rows: then every request must bring them.
    reads_ids
        Whether a schema may have ids: their columns are taken for ids, or no columns are read.
    shortlists
        Whether a score is an item's bias plus the inner product of its vector with the request's,
        so that the best of very many can be found before they are ranked.
    aligns
        Whether sums can be carried over a change of the schema, by the names of their axes.
    """

    family: str
    merging: Literal["exact", "approximate", "refused"] = "exact"
    correlated: bool = False
    replicated: bool = False
    pooled: bool = False
    forgets: bool = True
    examines: bool = True
    weighs: bool = True
    importance: bool = False
    reads_items: bool = False
    reads_ids: bool = False
    shortlists: bool = False
    aligns: bool = True


class Model(ABC):
    """What is believed of an item. Subclasses are frozen dataclasses of hyperparameters."""

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What the rest of the engine must know of this model."""

    @property
    def additive(self) -> bool:
        """Whether the states of shards add up to that of the whole."""
        return self.traits.merging == "exact"

    def check(self, schema: Schema) -> None:  # noqa: B027
        """Raise ``ConfigError`` when the model cannot work over a schema."""

    @abstractmethod
    def axes(self) -> Axes:
        """Name each sum and its axes; ``count``, the weight of an item's outcomes, is one."""

    def parts(self, schema: Schema) -> dict[str, Part]:
        """Make the empty parts of a new state."""
        return {}

    @abstractmethod
    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Learn from outcomes in order. Writes: state. No BLAS, so batch cuts leave no trace.

        ``rows`` ``(n,)`` are the items' rows in ``state.sums``; ``weight`` ``(n,)`` includes the
        landmark weight of forgetting.
        """

    @abstractmethod
    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Arrays of the posterior, ``count`` among them, of some items' rows of sums.

        ``sums`` are the rows asked for (a row of zeros gives the prior's); ``state`` is for what
        belongs to no item.
        """

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Arrays of the posterior that belong to no item."""
        return {}

    def derive_whole(
        self, sums: dict[str, Floats], state: State, schema: Schema
    ) -> tuple[dict[str, Floats], dict[str, NDArray[Any]]]:
        """`derive` of all items and `derive_shared`, for a model where they share work."""
        return self.derive(sums, state, schema), self.derive_shared(state, schema)

    def refresh_shared(
        self, shared: dict[str, NDArray[Any]], state: State, item_ids: list[str], schema: Schema
    ) -> dict[str, NDArray[Any]]:
        """What `derive_shared` gives, when only the named items were learned of since ``shared``.

        May write into ``shared`` and return it.
        """
        return self.derive_shared(state, schema)

    @abstractmethod
    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean and spread of every candidate of every request."""

    def queries(self, posterior: Posterior, x: Floats, schema: Schema) -> NDArray[np.float32]:
        """Vectors of requests ``(n, size)``, for a model that shortlists."""
        raise NotImplementedError

    def item_vectors(
        self, posterior: Posterior, rows: Ints, z: Floats, schema: Schema
    ) -> NDArray[np.float32]:
        """Vectors of items, each with its bias behind it, ``(m, size + 1)``; see `queries`.

        ``rows`` ``(m,)`` are those of the posterior, ``z`` ``(m, e)`` the items' own rows. Items
        are in the order of their means for one request as they are in that of
        ``q · vector + bias``, but for means that are clipped.
        """
        raise NotImplementedError

    def belief(self, posterior: Posterior, requests: Requests, **given: Any) -> Belief:
        """Make a `Belief` of this family; what is not given is as for a mean without spread."""
        size = len(requests.rows)
        given.setdefault("family", self.traits.family)
        given.setdefault("count", posterior.arrays["count"][requests.rows])
        given.setdefault("total", posterior.total)
        if "sd" not in given:
            given["sd"] = np.zeros(size)
        if "noise" not in given:
            given["noise"] = np.ones(size)
        return Belief(**given)
