"""What the columns of events depend on: an `EngineConfig` as tables for kernels to look up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.features import Schema
from streams.config import EngineConfig

__all__ = ["ColumnPlan"]

Ints = NDArray[np.int64]


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
