"""Named features to float64 rows.

A schema freezes the shift and scale of every feature, so that sums kept over its rows mean the
same for ever; columns have names, and state aligns by those names when a schema changes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, SchemaError

__all__ = ["Categorical", "Context", "FeatureValue", "Numeric", "Schema"]

FeatureValue = float | int | str | bool | None
Context = Mapping[str, FeatureValue]

INTERCEPT = "intercept"
LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """A number, entered as ``clip((value - center) / scale, -clip, clip)``; absent means 0."""

    name: str
    center: float = 0.0
    scale: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        given = (self.center, self.scale, self.clip)
        if not all(map(math.isfinite, given)) or self.scale <= 0 or self.clip <= 0:
            raise ConfigError(
                f"feature {self.name!r}: center, scale and clip are {given}; they must be finite, "
                "scale and clip above 0"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of this feature."""
        return (self.name,)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        if value is None:
            return [0.0]
        if isinstance(value, str) or not abs(value) <= LARGEST:
            raise SchemaError(f"feature {self.name!r} is {value!r}; it must be a finite number")
        return [min(max((value - self.center) / self.scale, -self.clip), self.clip)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """One of the declared values, entered one-hot; an undeclared or absent value is all zeros."""

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) != len(self.values):
            raise ConfigError(
                f"feature {self.name!r}: values are {self.values}; give one or more, each once"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of this feature."""
        return tuple(f"{self.name}={value}" for value in self.values)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        if not isinstance(value, str | None):
            raise SchemaError(f"feature {self.name!r} is {value!r}; it must be a string")
        return [float(value == known) for known in self.values]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Features in declared order, after an intercept column of ones."""

    features: tuple[Numeric | Categorical, ...] = ()

    def __post_init__(self) -> None:
        names = [INTERCEPT, *(feature.name for feature in self.features)]
        twice = sorted(
            {name for name in names if names.count(name) > 1}
            | {name for name in self.columns if self.columns.count(name) > 1}
        )
        if twice:
            raise ConfigError(f"features {twice} are declared twice; names must differ")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, the intercept first."""
        return (INTERCEPT, *(name for feature in self.features for name in feature.columns))

    @cached_property
    def version(self) -> str:
        """Sixteen hex digits that change when any feature does."""
        return hashlib.sha256(msgspec.json.encode(self.to_list())).hexdigest()[:16]

    def encode(self, contexts: Sequence[Context]) -> NDArray[np.float64]:
        """Encode named features as rows, float64 ``(n, d)``.

        Raises
        ------
        SchemaError
            When a value has the wrong type or is not finite. Undeclared names are ignored.
        """
        x = np.empty((len(contexts), len(self.columns)))
        for row, context in zip(x, contexts, strict=True):
            entries = [1.0]
            for feature in self.features:
                entries += feature.encode(context.get(feature.name))
            row[:] = entries
        return x

    def to_list(self) -> list[dict[str, object]]:
        """Plain data that `from_list` turns back into this schema."""
        return [
            {"type": type(feature).__name__.lower(), **msgspec.to_builtins(feature)}
            for feature in self.features
        ]

    @classmethod
    def from_list(cls, declared: Iterable[Mapping[str, object]]) -> Schema:
        """Build a schema from ``[{"name", "type": "numeric"|"categorical", …}, …]``."""
        return cls(features=tuple(_feature(dict(entry)) for entry in declared))


def _feature(entry: dict[str, object]) -> Numeric | Categorical:
    kinds: dict[str, type[Numeric] | type[Categorical]]
    kinds = {"numeric": Numeric, "categorical": Categorical}
    kind = entry.pop("type", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(
            f"feature {entry.get('name')!r} has type {kind!r}; give one of {sorted(kinds)}"
        )
    unknown = sorted(set(entry) - {field.name for field in fields(kinds[kind])})
    if unknown:
        raise ConfigError(f"feature {entry.get('name')!r} has unknown settings {unknown}")
    try:
        return msgspec.convert(entry, kinds[kind])
    except msgspec.ValidationError as error:
        raise ConfigError(f"feature {entry.get('name')!r}: {error}") from error
