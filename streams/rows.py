"""Rows of a slate and of catalogue items: named features encoded, with what does not fit named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from engine.batches import Floats
from engine.errors import SchemaError
from engine.features import Context, Schema
from streams.catalogue import Catalogue
from streams.errors import BadEventError, BadItemError
from streams.events import Features, Item
from streams.refusals import escape
from streams.vector_features import VectorFeatures

__all__ = ["ItemRows", "SlateRows", "encode_slate", "pick_features"]

ROWS_KEPT = 1 << 18
NOTHING: Features = {}


class _Slot(Protocol):
    @property
    def features(self) -> Features | None: ...


class _Slate(Protocol):
    """A slate with the features used when serving it."""

    @property
    def context(self) -> Features: ...

    @property
    def slate(self) -> Sequence[_Slot]: ...


class SlateRows(NamedTuple):
    """What a slate is learned with."""

    x: Floats  # (d,)
    z: Floats | None  # (k, e); None when the schema has no item features


def encode_slate(schema: Schema, impression: _Slate) -> SlateRows:
    """Encode the context and the items of an impression, or of some of its slots.

    Raises
    ------
    BadEventError
        With reason ``schema`` and a pointer, when a feature does not fit.
    """
    try:
        x = schema.encode([impression.context])[0]
    except SchemaError as error:
        raise BadEventError("schema", str(error), "/context") from error
    if not schema.item_features:
        return SlateRows(x, None)
    shown = [item.features or NOTHING for item in impression.slate]
    try:
        return SlateRows(x, schema.encode_items(shown))
    except SchemaError as error:
        slot, name = _find_misfit(schema, shown)
        pointer = f"/slate/{slot}/features/{escape(name)}"
        raise BadEventError("schema", str(error), pointer) from error


def _find_misfit(schema: Schema, items: Sequence[Context]) -> tuple[int, str]:
    for place, features in enumerate(items):
        for name, value in features.items():
            try:
                schema.encode_items([{name: value}])
            except SchemaError:
                return place, name
    return 0, ""


def pick_features(
    schema: Schema, item: Item | None, item_id: str = "", vectors: VectorFeatures | None = None
) -> Features | None:
    """Features of an item that the schema names; None when it names none of any item.

    With ``vectors`` those that the item lacks are among them.
    """
    if not schema.item_features:
        return None
    held = _held(item, item_id, vectors)
    return {name: held[name] for name in schema.item_features if name in held}


def _held(item: Item | None, item_id: str, vectors: VectorFeatures | None) -> Features:
    held = item.features if item else NOTHING
    return vectors.of_item(held, item_id) if vectors else held


class ItemRows:
    """Rows of catalogue items, each encoded once as long as the item stays as it was put.

    Not for several threads at once.

    Parameters
    ----------
    vectors
        Where vectors are looked up that an item's features lack.
    """

    def __init__(self, schema: Schema, vectors: VectorFeatures | None = None) -> None:
        self._schema = schema
        self._vectors = vectors
        self._width = len(schema.item_columns)
        self._known: dict[str, tuple[Item | None, Floats]] = {}

    def of(self, catalogue: Catalogue, item_ids: Sequence[str]) -> Floats:
        """Return the items' rows ``(m, e)``; an item the catalogue lacks has no features.

        Raises
        ------
        BadItemError
            When an item's features do not fit the schema.
        """
        rows = np.empty((len(item_ids), self._width))
        for place, item_id in enumerate(item_ids):
            item = catalogue.item(item_id)
            known = self._known.get(item_id)
            if known is None or known[0] is not item:
                known = self._put(item_id, item)
            rows[place] = known[1]
        return rows

    def _put(self, item_id: str, item: Item | None) -> tuple[Item | None, Floats]:
        features = _held(item, item_id, self._vectors)
        try:
            row = self._schema.encode_items([features])[0]
        except SchemaError as error:
            raise BadItemError(item_id, str(error)) from error
        if len(self._known) >= ROWS_KEPT:
            self._known.clear()
        self._known[item_id] = (item, row)
        return self._known[item_id]
