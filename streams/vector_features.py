"""Vectors of frozen sets put among the features of a request or an item, for ranking and the log.

Only who serves reads sets. What was put in is logged with the slate, version and all, so learning
and replay need no set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.embeddings.keys import ITEM_SALT, USER_SALT, hash_ids
from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError, SnapshotError
from engine.feature_kinds import Vector
from engine.features import Schema
from streams.events import Features
from streams.vector_files import SETS, load_vectors

__all__ = ["VectorFeatures", "find_vectors", "open_vectors"]

Sets = Mapping[Vector, VectorSet]


class VectorFeatures:
    """Looks up the vectors that a schema names.

    Parameters
    ----------
    sets
        A set for each vector feature that is looked up; of the others are only what is sent.
    """

    def __init__(self, schema: Schema, sets: Sets) -> None:
        self._context, self._item = (
            tuple(
                (each, sets[each]) for each in schema.vectors if each.of == source and each in sets
            )
            for source in ("context", "item")
        )

    def of_context(self, features: Features, user_id: str | None) -> Features:
        """Features of a request with the vectors they lack, of the user or of texts among them."""
        return _fill(self._context, features, USER_SALT, user_id)

    def of_item(self, features: Features, item_id: str) -> Features:
        """Features of an item with the vectors they lack, of itself or of texts among them."""
        return _fill(self._item, features, ITEM_SALT, item_id)


def open_vectors(schemas: Iterable[Schema], data_dir: Path) -> dict[Vector, VectorSet]:
    """Map every set that schemas name, from a data folder.

    Raises
    ------
    ConfigError
        When one is missing, damaged, or has not the numbers that the feature says.
    """
    found: dict[Vector, VectorSet] = {}
    opened: dict[tuple[str, str], VectorSet] = {}
    for feature in (each for schema in schemas for each in schema.vectors):
        key = (feature.name, feature.version)
        told = f"feature {feature.name!r} reads vectors of version {feature.version!r}"
        if key not in opened:
            try:
                opened[key] = load_vectors(data_dir, *key)
            except SnapshotError as error:
                raise ConfigError(
                    f"{told}: {error}. Write that set there ('save_vectors'), or name a version "
                    f"that is in {Path(data_dir) / SETS / feature.name}"
                ) from error
        count = opened[key].count
        if count != feature.count:
            raise ConfigError(f"{told}, of {feature.count} numbers; they have {count}")
        found[feature] = opened[key]
    return found


def find_vectors(schema: Schema, data_dir: Path | None) -> dict[Vector, VectorSet]:
    """Map the sets of a schema that are in a folder; raises ``ConfigError`` as `open_vectors`."""
    if data_dir is None:
        return {}
    there = [e for e in schema.vectors if (data_dir / SETS / e.name / e.version).is_dir()]
    return open_vectors([Schema(features=tuple(there))], data_dir)


def _fill(
    wanted: tuple[tuple[Vector, VectorSet], ...], features: Features, own: str, own_id: str | None
) -> Features:
    more: Features = {}
    for feature, vectors in wanted:
        text = features.get(feature.salt)
        if text is None and feature.salt == own:
            text = own_id
        if features.get(feature.name) is None and isinstance(text, str):
            value = _value(feature, vectors, text)
            if value is not None:
                more[feature.name] = value
    return {**features, **more} if more else features


def _value(feature: Vector, vectors: VectorSet, text: str) -> dict[str, float] | None:
    found, known = vectors.lookup(hash_ids(feature.salt, [text]).keys)
    if not known[0]:
        return None
    value = {feature.mark: 1.0}
    for place, number in enumerate(found[0].tolist()):
        if number:
            value[str(place)] = float(f"{number:.7g}")  # what is told is what is ranked by
    return value
