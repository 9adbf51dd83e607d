"""Named features to float64 rows.

A schema freezes the shift and scale of every feature, so that sums kept over its rows mean the
same for ever; columns have names, and state aligns by those names when a schema changes.

Features belong to the request (``of = "context"``) or to the item. Rows of a context hold an
intercept, the context features and products of them; rows of an item the item features and
products of those; the *joint* row of both adds the declared products of the two.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, suggest
from engine.feature_kinds import (
    KINDS,
    MAX_COLUMNS,
    Base,
    Categorical,
    Clusters,
    Context,
    Feature,
    FeatureValue,
    Id,
    Interaction,
    Numeric,
    Quadratic,
    Source,
    Vector,
)

__all__ = [
    "Categorical",
    "Clusters",
    "Context",
    "FeatureValue",
    "Id",
    "Interaction",
    "Numeric",
    "Quadratic",
    "Schema",
    "Side",
    "Vector",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INTERCEPT = "intercept"


class Side(NamedTuple):
    """Columns of one source: of its features, then products ``left * right`` of those."""

    features: tuple[Base, ...]
    names: tuple[str, ...]
    meanings: tuple[object, ...]
    left: Ints
    right: Ints


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Features in declared order, after an intercept column of ones in the context's row."""

    features: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        self._refuse_products_of_ids()
        names = [INTERCEPT, *(feature.name for feature in self._bases)]
        columns = (*self.columns, *self.item_columns, *self.products)
        counted = Counter(columns) + Counter(names)
        once = set(names) & set(columns)  # a numeric feature and its column share a name
        twice = sorted(name for name, n in counted.items() if n > 1 + (name in once))
        if twice:
            raise ConfigError(f"features {twice} are declared twice; names must differ")
        if len(columns) > MAX_COLUMNS:
            raise ConfigError(f"the features have {len(columns)} columns; at most {MAX_COLUMNS}")

    @cached_property
    def _bases(self) -> tuple[Base, ...]:
        return tuple(f for f in self.features if not isinstance(f, Interaction | Quadratic))

    @cached_property
    def _context(self) -> Side:
        return self._side("context")

    @cached_property
    def _item(self) -> Side:
        return self._side("item")

    def side(self, source: Source) -> Side:
        """What the rows of one source hold."""
        return self._context if source == "context" else self._item

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a context row, the intercept first."""
        return self._context.names

    @property
    def item_columns(self) -> tuple[str, ...]:
        """Names of the columns of an item row."""
        return self._item.names

    @cached_property
    def cross(self) -> tuple[Ints, Ints]:
        """Columns of the context row and of the item row whose products a joint row adds."""
        places: list[tuple[int, int]] = []
        for feature in self.features:
            if isinstance(feature, Interaction):
                sides = {self._find(name).of: name for name in (feature.left, feature.right)}
                if len(sides) == 2:
                    here, there = self.places(sides["context"]), self.places(sides["item"])
                    places += [(i, j) for i in here for j in there]
        pairs = np.array(places, dtype=np.int64).reshape(-1, 2)
        return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])

    @property
    def products(self) -> tuple[str, ...]:
        """Names of the products that a joint row adds."""
        x, z = self.columns, self.item_columns
        return tuple(f"{x[i]}*{z[j]}" for i, j in zip(*self.cross, strict=True))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Length of every axis that a model's sums may have.

        ``x`` context columns, ``z`` item columns, ``h`` item columns and cross products, ``f``
        the joint row; ``xx``, ``hh``, ``ff`` their packed upper triangles.
        """
        d, e, p = len(self.columns), len(self.item_columns), len(self.cross[0])
        single = {"x": d, "z": e, "h": e + p, "f": d + e + p}
        return single | {name * 2: n * (n + 1) // 2 for name, n in single.items()}

    def meanings(self, axis: str) -> tuple[object, ...]:
        """What each place of an axis ``x``, ``z``, ``h`` or ``f`` means, for aligning sums."""
        context, item = self._context.meanings, self._item.meanings
        cross = tuple((context[i], item[j]) for i, j in zip(*self.cross, strict=True))
        return {
            "x": context,
            "z": item,
            "h": (*item, *cross),
            "f": (*context, *item, *cross),
        }[axis]

    def places(self, name: str) -> list[int]:
        """Columns of a feature in its source's row; ``ConfigError`` when it is unknown."""
        found = self._find(name)
        start = 1 if found.of == "context" else 0
        for feature in self._bases:
            if feature is found:
                break
            start += len(feature.columns) if feature.of == found.of else 0
        return list(range(start, start + len(found.columns)))

    @cached_property
    def item_features(self) -> tuple[str, ...]:
        """Names of the features that belong to the item."""
        return tuple(feature.name for feature in self._bases if feature.of == "item")

    @cached_property
    def ids(self) -> tuple[Id, ...]:
        """Features whose columns, at `places`, hold keys of ids."""
        return tuple(feature for feature in self._bases if isinstance(feature, Id))

    @cached_property
    def vectors(self) -> tuple[Vector, ...]:
        """Features whose columns hold vectors of frozen sets."""
        return tuple(feature for feature in self._bases if isinstance(feature, Vector))

    @cached_property
    def version(self) -> str:
        """Sixteen hex digits that change when any feature does."""
        return hashlib.sha256(msgspec.json.encode(self.to_list())).hexdigest()[:16]

    def encode(self, contexts: Sequence[Context]) -> Floats:
        """Encode context features as rows, float64 ``(n, d)``.

        Raises
        ------
        SchemaError
            When a value has the wrong type or is not finite. Undeclared names are ignored.
        """
        return _encode(self._context, contexts, [1.0])

    def encode_items(self, items: Sequence[Context]) -> Floats:
        """Encode item features as rows, float64 ``(m, e)``; raises ``SchemaError``."""
        return _encode(self._item, items, [])

    def joint(self, x: Floats, z: Floats) -> Floats:
        """Joint rows ``(n, f)`` of context rows ``(n, d)`` and item rows ``(n, e)``."""
        left, right = self.cross
        return np.concatenate([x, z, x[:, left] * z[:, right]], axis=1)

    def to_list(self) -> list[dict[str, object]]:
        """Plain data that `from_list` turns back into this schema."""
        return [
            {"type": type(feature).__name__.lower(), **msgspec.to_builtins(feature)}
            for feature in self.features
        ]

    @classmethod
    def from_list(cls, declared: Iterable[Mapping[str, object]]) -> Schema:
        """Build a schema from ``[{"type": "numeric", "name": …}, …]``.

        Types: ``numeric``, ``categorical``, ``clusters``, ``id``, ``vector``,
        ``interaction``, ``quadratic``.
        """
        return cls(features=tuple(_feature(dict(entry)) for entry in declared))

    def _find(self, name: str) -> Base:
        for feature in self._bases:
            if feature.name == name:
                return feature
        names = [feature.name for feature in self._bases]
        raise ConfigError(f"feature {name!r} is not declared{suggest(name, names)}")

    def _refuse_products_of_ids(self) -> None:
        ids = {feature.name for feature in self.ids}
        for feature in self.features:
            named: tuple[str, ...] = ()
            if isinstance(feature, Interaction):
                named = (feature.left, feature.right)
            elif isinstance(feature, Quadratic):
                named = feature.names
            for name in ids.intersection(named):
                kind = type(feature).__name__.lower()
                raise ConfigError(
                    f"{kind}: feature {name!r} is an id, which is no number to multiply; name "
                    "other features, and leave ids to a model with an embedding table"
                )

    def _side(self, source: Source) -> Side:
        bases = tuple(feature for feature in self._bases if feature.of == source)
        names = [column for feature in bases for column in feature.columns]
        meanings = [f.meaning(column) for f in bases for column in f.columns]
        if source == "context":
            names, meanings = [INTERCEPT, *names], [INTERCEPT, *meanings]
        pairs = [pair for f in self.features for pair in self._pairs(f, source)]
        return Side(
            bases,
            (*names, *(f"{names[i]}*{names[j]}" for i, j in pairs)),
            (*meanings, *((meanings[i], meanings[j]) for i, j in pairs)),
            np.array([i for i, _ in pairs], dtype=np.int64),
            np.array([j for _, j in pairs], dtype=np.int64),
        )

    def _pairs(self, feature: Feature, source: Source) -> list[tuple[int, int]]:
        """Pairs of columns of one source whose products a feature declares."""
        if isinstance(feature, Interaction):
            if {self._find(feature.left).of, self._find(feature.right).of} == {source}:
                left, right = self.places(feature.left), self.places(feature.right)
                return [(i, j) for i in left for j in right]
        elif isinstance(feature, Quadratic) and source == "context":
            for name in feature.names:
                if self._find(name).of != source:
                    raise ConfigError(
                        f"quadratic: feature {name!r} belongs to the item; name features of the "
                        "context, or declare an interaction of item features"
                    )
            numeric = [f.name for f in self._bases if isinstance(f, Numeric) and f.of == source]
            places = [i for name in feature.names or numeric for i in self.places(name)]
            return [(i, j) for at, i in enumerate(places) for j in places[at:]]
        return []


def _encode(side: Side, rows: Sequence[Context], first: list[float]) -> Floats:
    width = len(side.names) - len(side.left)
    encoded = np.empty((len(rows), len(side.names)))
    for row, named in zip(encoded, rows, strict=True):
        entries = first.copy()
        for feature in side.features:
            entries += feature.encode(named.get(feature.name))
        row[:width] = entries
    if len(side.left):
        encoded[:, width:] = encoded[:, side.left] * encoded[:, side.right]
    return encoded


def _feature(entry: dict[str, object]) -> Feature:
    kind = entry.pop("type", None)
    told = f"feature {entry.get('name', kind)!r}"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{told} has type {kind!r}; give one of {sorted(KINDS)}")
    unknown = sorted(set(entry) - {field.name for field in fields(KINDS[kind])})
    if unknown:
        raise ConfigError(f"{told} has unknown settings {unknown}")
    try:
        return msgspec.convert(entry, KINDS[kind])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{told}: {error}") from error
