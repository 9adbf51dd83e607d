"""What the columns of events depend on: an `EngineConfig` as tables for kernels to look up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.keys import id_seeds
from engine.feature_kinds import Categorical, Clusters, Id, Numeric, Source, Vector
from engine.features import Schema, Side
from engine.kernels.lexicon import make_lexicon
from engine.kernels.scan_features import (
    CATEGORICAL,
    CLUSTERS,
    FIRST_SIDE,
    ID,
    NUMERIC,
    VECTOR,
    Plan,
)
from engine.kernels.scan_fields import FIELDS, KINDS, RECOMMENDERS, TYPES
from streams.config import EngineConfig

__all__ = ["ColumnPlan"]

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

SOURCES: tuple[Source, ...] = ("context", "item")
EVENT_TYPES = ("impression", "activation", "feedback", "control", "tick")


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """Names in the order that columns number them; ``of`` makes one from settings.

    Parameters
    ----------
    recommenders
        Names, in the order of the settings.
    policies
        Names, in the order of the settings.
    policy_of
        ``(recommenders,)`` int64: place of each recommender's policy.
    kinds
        All kinds of feedback that some recommender weighs, sorted.
    schemas
        Of the policies.
    """

    recommenders: tuple[str, ...]
    policies: tuple[str, ...]
    policy_of: Ints
    kinds: tuple[str, ...]
    schemas: tuple[Schema, ...]

    @classmethod
    def of(cls, config: EngineConfig) -> ColumnPlan:
        """Make the plan of an engine's settings."""
        policies = tuple(config.policies)
        recommenders = config.recommenders
        kinds = {kind for recommender in recommenders.values() for kind in recommender.kinds}
        places = [policies.index(recommender.policy) for recommender in recommenders.values()]
        return cls(
            recommenders=tuple(recommenders),
            policies=policies,
            policy_of=np.array(places, dtype=np.int64),
            kinds=tuple(sorted(kinds)),
            schemas=tuple(policy.schema for policy in config.policies.values()),
        )

    @cached_property
    def x_width(self) -> Ints:
        """Columns of a context row, by policy, ``(policies,)``."""
        return np.array([len(schema.columns) for schema in self.schemas], dtype=np.int64)

    @cached_property
    def z_width(self) -> Ints:
        """Columns of an item row, by policy, ``(policies,)``; 0 without item features."""
        return np.array([len(schema.item_columns) for schema in self.schemas], dtype=np.int64)

    @cached_property
    def tables(self) -> Plan:
        """The plan as kernels read it: the context's side of each policy, then its items'."""
        sides = [schema.side(source) for schema in self.schemas for source in SOURCES]
        lexicon = make_lexicon((*_fixed_names(self), *_feature_names(sides)))
        products = np.array([len(side.left) for side in sides], dtype=np.int64)
        last = np.cumsum(products)
        widths = np.array([len(side.names) for side in sides], dtype=np.int64)
        intercept = np.arange(len(sides)) % 2 == 0
        features = [
            row for side, first in zip(sides, intercept, strict=True) for row in _rows(side, first)
        ]
        return Plan(
            table=lexicon.table,
            names=lexicon.text,
            policy_of=self.policy_of,
            sides=np.stack(
                [widths - products, widths, last - products, last, intercept], axis=1
            ).astype(np.int64),
            kinds=np.array([row[:3] for row in features], dtype=np.int64).reshape(-1, 3),
            scalings=np.array([row[3:] for row in features], dtype=np.float64).reshape(-1, 3),
            seeds=_seeds(sides),
            pairs=_pairs(sides),
        )


def _fixed_names(plan: ColumnPlan) -> Iterator[tuple[int, str, int]]:
    spaces = {TYPES: EVENT_TYPES, RECOMMENDERS: plan.recommenders, KINDS: plan.kinds, **FIELDS}
    for space, names in spaces.items():
        for number, name in enumerate(names):
            yield space, name, number


def _feature_names(sides: Sequence[Side]) -> Iterator[tuple[int, str, int]]:
    feature = 0
    for number, side in enumerate(sides):
        for base in side.features:
            yield FIRST_SIDE + number, base.name, feature
            if isinstance(base, Categorical):
                for place, value in enumerate(base.values):
                    yield FIRST_SIDE + len(sides) + feature, value, place
            elif isinstance(base, Vector):
                yield FIRST_SIDE + len(sides) + feature, base.mark, 0
            feature += 1


def _rows(side: Side, first: int) -> Iterator[tuple[float, ...]]:
    """Kind, first column, clusters or places, center, scale and clip of each feature."""
    column = int(first)
    for base in side.features:
        if isinstance(base, Numeric):
            yield NUMERIC, column, 0, base.center, base.scale, base.clip
        elif isinstance(base, Clusters):
            yield CLUSTERS, column, base.count, 0.0, 1.0, 1.0
        elif isinstance(base, Vector):
            yield VECTOR, column, base.count, 0.0, base.scale, base.clip
        elif isinstance(base, Id):
            yield ID, column, 0, 0.0, 1.0, 1.0
        else:
            yield CATEGORICAL, column, 0, 0.0, 1.0, 1.0
        column += len(base.columns)


def _seeds(sides: Sequence[Side]) -> Keys:
    none = np.zeros(2, dtype=np.uint64)
    return np.array(
        [
            id_seeds(base.space) if isinstance(base, Id) else none
            for side in sides
            for base in side.features
        ],
        dtype=np.uint64,
    ).reshape(-1, 2)


def _pairs(sides: Sequence[Side]) -> Ints:
    columns = [np.empty((2, 0), dtype=np.int64), *(np.stack([s.left, s.right]) for s in sides)]
    return np.ascontiguousarray(np.concatenate(columns, axis=1))
