"""Carrying learned sums over a change of settings: columns align by feature, never by place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import TableConfig
from engine.embeddings.part import Embeddings
from engine.features import Schema
from engine.policy import Policy
from engine.state import Part, State

__all__ = ["align_state"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def align_state(policy: Policy, before: Policy | None, state: State | None) -> State:
    """State of ``policy`` that keeps what still applies of another's.

    Sums stay when nothing they depend on changed. When only the schema did, columns of features
    that stayed as they were are kept, added ones start at zero and removed ones are dropped; an
    embedding table is kept when its own settings stayed. Any other change starts afresh.
    """
    if before is None or state is None:
        return policy.init()
    if policy.state_hash == before.state_hash:
        return state
    settings = (policy.model_settings(), policy.half_life_ms)
    if settings != (before.model_settings(), before.half_life_ms) or not policy.model.traits.aligns:
        return policy.init()
    axes = policy.model.axes()
    aligned = policy.init()
    aligned.landmark = state.landmark
    schemas = (before.schema, policy.schema)
    aligned.put(state.item_ids, _align(state.sums, axes.items, 1, *schemas))
    aligned.put_shared(_align(state.shared, axes.shared, 0, *schemas))
    for name, part in state.parts.items():
        if _settings(part) == _settings(aligned.parts.get(name)):
            aligned.parts[name] = part
    return aligned


def _settings(part: Part | None) -> TableConfig | None:
    """What a part's numbers depend on of the schema: of a table, its settings."""
    return part.table.config if isinstance(part, Embeddings) else None


def _align(
    sums: Mapping[str, Floats],
    axes: Mapping[str, tuple[int | str, ...]],
    first: int,
    old: Schema,
    new: Schema,
) -> dict[str, Floats]:
    aligned = {}
    for name, shape in axes.items():
        kept = sums[name]
        for axis, size in enumerate(shape, start=first):
            if isinstance(size, str):
                kept = _pick(kept, _places(size, old, new), axis)
        aligned[name] = kept
    return aligned


def _places(axis: str, old: Schema, new: Schema) -> Ints:
    """Where each place of the new schema's axis stood in the old one's; -1 for nowhere."""
    known = {meaning: place for place, meaning in enumerate(old.meanings(axis[0]))}
    kept = np.array([known.get(meaning, -1) for meaning in new.meanings(axis[0])], dtype=np.int64)
    return _packed(kept, len(known)) if len(axis) == 2 else kept


def _pick(sums: Floats, places: Ints, axis: int) -> Floats:
    picked = np.zeros((*sums.shape[:axis], len(places), *sums.shape[axis + 1 :]))
    kept = np.flatnonzero(places >= 0)
    picked[(slice(None),) * axis + (kept,)] = np.take(sums, places[kept], axis=axis)
    return picked


def _packed(kept: Ints, width: int) -> Ints:
    # Places in a packed upper triangle, row by row, of the pairs of columns kept.
    i, j = np.triu_indices(len(kept))
    low, high = np.minimum(kept[i], kept[j]), np.maximum(kept[i], kept[j])
    places: Ints = low * width - low * (low - 1) // 2 + high - low
    return np.where(low < 0, -1, places)
