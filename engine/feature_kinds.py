"""Kinds of features: what each may be sent as, and the columns it becomes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.embeddings.keys import COLUMNS, ITEM_SALT, USER_SALT, hash_ids
from engine.errors import ConfigError, SchemaError

__all__ = [
    "KINDS",
    "MAX_COLUMNS",
    "Base",
    "Categorical",
    "Clusters",
    "Context",
    "Feature",
    "FeatureValue",
    "Id",
    "Interaction",
    "Numeric",
    "Quadratic",
    "Source",
    "Vector",
]

FeatureValue = float | int | str | bool | None | Mapping[str, float]
Context = Mapping[str, FeatureValue]
Source = Literal["context", "item"]
LARGEST = 1e300
HEAVIEST = 1e6  # products of four such weights stay far from overflow
MAX_COLUMNS = 100_000
MAX_VECTOR = 999  # an event's maps hold a thousand names, of which one is the version
VERSION = "v:"  # begins the name of a version in a vector's value
FOLDER = "[0-9A-Za-z][0-9A-Za-z._-]{0,63}"  # what may name a folder anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """A number, entered as ``clip((value - center) / scale, -clip, clip)``; absent means 0."""

    name: str
    of: Source = "context"
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

    def meaning(self, column: str) -> object:
        """What a column's entries mean: equal for columns whose sums may be carried over."""
        return (column, self)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        if value is None:
            return [0.0]
        if isinstance(value, str | Mapping) or not abs(value) <= LARGEST:
            raise SchemaError(f"feature {self.name!r} is {value!r}; it must be a finite number")
        return [min(max((value - self.center) / self.scale, -self.clip), self.clip)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """One of the declared values, entered one-hot; an undeclared or absent value is all zeros."""

    name: str
    of: Source = "context"
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

    def meaning(self, column: str) -> object:
        """What a column's entries mean: a value added later leaves the others' as they were."""
        return (column, "categorical", self.of)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        if not isinstance(value, str | None):
            raise SchemaError(f"feature {self.name!r} is {value!r}; it must be a string")
        return [float(value == known) for known in self.values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Weights of a few of ``count`` clusters: ``{"17": 0.6, "3": 0.4}``, or one cluster's number.

    What is not named weighs 0; weights lie within ±1e6. Source of the use: Diag-LinUCB, arXiv
    2307.15893.
    """

    name: str
    of: Source = "context"
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COLUMNS:
            raise ConfigError(
                f"feature {self.name!r}: count is {self.count}; give 1 to {MAX_COLUMNS}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of this feature."""
        return tuple(f"{self.name}={number}" for number in range(self.count))

    def meaning(self, column: str) -> object:
        """What a column's entries mean: clusters added later leave the others as they were."""
        return (column, "clusters", self.of)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        entries = [0.0] * self.count
        if value is None:
            return entries
        named = value if isinstance(value, Mapping) else {str(value): 1.0}
        for number, weight in named.items():
            place = _cluster(number, self.count)
            if place is None or not isinstance(weight, int | float) or not abs(weight) <= HEAVIEST:
                raise SchemaError(
                    f"feature {self.name!r} has {number!r}: {weight!r}; give numbers of clusters "
                    f"below {self.count} with weights within ±{HEAVIEST:.0e}"
                )
            entries[place] = float(weight)
        return entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Id:
    """An id, any text: for models that keep a vector an id in an embedding table.

    It enters as the halves of its key and a check, see `engine.embeddings.keys`; an absent or
    empty text is all zeros. The columns are no numbers to reckon with.

    Parameters
    ----------
    salt
        Ids of features of one salt are the same ids, and have the same vectors: the last items a
        user looked at, say, one after the other. The feature's own name when it is not given.
    """

    name: str
    of: Source = "context"
    salt: str = ""

    @property
    def space(self) -> str:
        """What its ids are ids of."""
        return self.salt or self.name

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of this feature."""
        return (f"{self.name}#high", f"{self.name}#low", f"{self.name}#check")

    def meaning(self, column: str) -> object:
        """What a column's entries mean: an id's key depends on what it is an id of."""
        return (column, "id", self.of, self.space)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        if value is None:
            return [0.0] * COLUMNS
        if not isinstance(value, str):
            raise SchemaError(f"feature {self.name!r} is {value!r}; an id must be a string")
        keys, checks = hash_ids(self.space, [value])
        high, low = divmod(int(keys[0]), 1 << 32)
        return [float(high), float(low), float(checks[0])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A vector of a frozen set: ``{"v:VERSION": 1, "0": 0.12, "1": -0.3}``, entered as numbers.

    Places not named are 0. A number enters as ``clip(number / scale, -clip, clip)``. The numbers
    of one version mean nothing in another: a value of another version counts as absent, which is
    all zeros, and what was learned of the columns of one version is not carried over to the next.

    Parameters
    ----------
    name
        Also of the set.
    version
        Of the set that the schema's numbers are of.
    id
        What the set is looked up by where a value is not sent: ``user_id`` or ``item_id``, or the
        name of a text among the features; the user's or the item's own when empty.
    """

    name: str
    of: Source = "context"
    count: int
    version: str
    id: str = ""
    scale: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_VECTOR:
            raise ConfigError(
                f"feature {self.name!r}: count is {self.count}; give 1 to {MAX_VECTOR}"
            )
        for named, told in (("name", self.name), ("version", self.version)):
            if not re.fullmatch(FOLDER, told):
                raise ConfigError(
                    f"feature {self.name!r}: {named} is {told!r}; give up to 64 letters, digits, "
                    "'.', '_' and '-', a letter or digit first: it names a folder"
                )
        given = (self.scale, self.clip)
        if not (all(map(math.isfinite, given)) and min(given) > 0):
            raise ConfigError(
                f"feature {self.name!r}: scale and clip are {given}; they must be finite and "
                "above 0"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of this feature."""
        return tuple(f"{self.name}#{place}" for place in range(self.count))

    @property
    def mark(self) -> str:
        """Name that says, in a value, of which version it is."""
        return f"{VERSION}{self.version}"

    @property
    def salt(self) -> str:
        """What the ids are ids of."""
        return self.id or (USER_SALT if self.of == "context" else ITEM_SALT)

    def meaning(self, column: str) -> object:
        """What a column's entries mean: nothing beyond its version."""
        return (column, "vector", self.of, self.version, self.salt, self.scale, self.clip)

    def encode(self, value: FeatureValue) -> list[float]:
        """Entries of the feature's columns; raises ``SchemaError``."""
        entries = [0.0] * self.count
        if value is None:
            return entries
        if not isinstance(value, Mapping):
            raise SchemaError(
                f"feature {self.name!r} is {value!r}; a vector is sent with its version, like "
                f'{{"{self.mark}": 1, "0": 0.5}}'
            )
        marks = [name for name in value if name.startswith(VERSION)]
        if len(marks) != 1 or value[marks[0]] != 1:
            raise SchemaError(
                f'feature {self.name!r} names the versions {marks}; name one, like "{self.mark}": 1'
            )
        for name, number in value.items():
            if name == marks[0]:
                continue
            place = _cluster(name, self.count if marks[0] == self.mark else MAX_VECTOR)
            if place is None or not isinstance(number, int | float) or not abs(number) <= HEAVIEST:
                raise SchemaError(
                    f"feature {self.name!r} has {name!r}: {number!r}; give places below "
                    f"{self.count} with numbers within ±{HEAVIEST:.0e}"
                )
            if marks[0] == self.mark:
                entries[place] = min(max(number / self.scale, -self.clip), self.clip)
        return entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """Products of every column of one feature with every column of another."""

    left: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadratic:
    """Squares and products of the named context features; of all numeric ones when none is."""

    names: tuple[str, ...] = ()


Base = Numeric | Categorical | Clusters | Id | Vector
Feature = Base | Interaction | Quadratic

KINDS: dict[str, type[Feature]] = {
    "numeric": Numeric,
    "categorical": Categorical,
    "clusters": Clusters,
    "id": Id,
    "vector": Vector,
    "interaction": Interaction,
    "quadratic": Quadratic,
}


def _cluster(number: str, count: int) -> int | None:
    """Number of a cluster, None when it is none: written one way only, or one could count twice."""
    written = number.isascii() and number.isdigit() and len(number) <= len(str(count))
    place = int(number) if written else count
    return place if place < count and str(place) == number else None
