"""What a logged slate could have shown: candidates, with their rows when it was served."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.batches import Floats
from engine.embeddings.vectors import VectorSet
from engine.feature_kinds import Vector
from engine.features import Schema
from simulator.logs import CandidateSets
from streams.catalogue import Catalogue
from streams.errors import BadItemError, UnknownPoolError
from streams.events import Impression
from streams.rows import ItemRows, pick_features
from streams.vector_features import VectorFeatures

__all__ = ["ITEM_MISFIT", "Offers", "UnusableError"]

UNKNOWN = "candidates unknown"
VECTORS = "vectors of the candidates unknown, or of another version"
ITEM_MISFIT = "item features do not fit the schema"


class UnusableError(Exception):
    """Why a slate cannot be evaluated."""


class Offers:
    """Candidates of slates, with their rows as of when each was served.

    Parameters
    ----------
    sets
        Vectors that the service put among the items' features.
    """

    def __init__(
        self, catalogue: Catalogue, schema: Schema, sets: Mapping[Vector, VectorSet]
    ) -> None:
        self._schema = schema
        self._vectors = VectorFeatures(schema, sets)
        self.number: dict[str, int] = {}
        self.sets = CandidateSets()
        self._catalogue = catalogue
        self._rows = ItemRows(schema, self._vectors) if schema.item_features else None
        self._before: tuple[tuple[str, ...], int] = ((), -1)
        self._offered: frozenset[str] = frozenset()
        self._set = 0

    def take(self, impression: Impression) -> int:
        """Return the number of a slate's candidate set."""
        candidates = self._find(impression)
        ids, change = self._before
        now = self._catalogue.item_change if self._rows else 0
        # A pool gives the same object until it changes.
        if candidates is not ids or change != now:
            offered = [self.number.setdefault(item, len(self.number)) for item in candidates]
            self._set = self.sets.add(np.array(offered, dtype=np.int64), self._encode(candidates))
            self._before, self._offered = (candidates, now), frozenset(candidates)
        if not self._offered.issuperset(shown.item_id for shown in impression.slate):
            raise UnusableError(UNKNOWN)
        self._check_vectors(impression)
        return self._set

    def _check_vectors(self, impression: Impression) -> None:
        """Refuse a slate whose candidates were ranked by vectors that are not at hand."""
        wanted = [feature for feature in self._schema.vectors if feature.of == "item"]
        for shown in impression.slate if wanted else ():
            item, logged = self._catalogue.item(shown.item_id), shown.features or {}
            held = pick_features(self._schema, item, shown.item_id, self._vectors) or {}
            for feature in wanted:
                name = feature.name
                if feature.encode(logged.get(name)) != feature.encode(held.get(name)):
                    raise UnusableError(VECTORS)

    def _encode(self, candidates: tuple[str, ...]) -> Floats | None:
        try:
            return self._rows.of(self._catalogue, candidates) if self._rows else None
        except BadItemError as error:
            raise UnusableError(ITEM_MISFIT) from error

    def _find(self, impression: Impression) -> tuple[str, ...]:
        if impression.candidates is None or self._rows:
            self._catalogue.seek(impression.catalogue_version)
        if impression.candidates is not None:
            barred = set(impression.exclude)
            return tuple(item_id for item_id in impression.candidates if item_id not in barred)
        try:
            return self._catalogue.candidates(
                pool=impression.pool, exclude=impression.exclude, now_ms=impression.ts
            ).ids
        except UnknownPoolError as error:
            raise UnusableError(UNKNOWN) from error
