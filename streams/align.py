"""Carrying learned sums over a change of settings: columns align by feature, never by place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.features import Schema
from engine.policy import Policy
from engine.state import State

__all__ = ["align_state"]

PROBE = 23  # a width no sum has by chance; its packed triangle is 276

Floats = NDArray[np.float64]


def align_state(policy: Policy, before: Policy | None, state: State | None) -> State:
    """State of ``policy`` that keeps what still applies of another's.

    Sums stay when nothing they depend on changed. When only the schema did, columns of features
    that stayed as they were are kept, added ones start at zero and removed ones are dropped.
    Any other change starts afresh.
    """
    if before is None or state is None:
        return policy.init()
    if policy.state_hash == before.state_hash:
        return state
    if (policy.model_settings(), policy.half_life_ms) != (
        before.model_settings(),
        before.half_life_ms,
    ):
        return policy.init()
    old, new = _columns(before.schema), _columns(policy.schema)
    places = {column: place for place, column in enumerate(old)}
    kept = np.array([places.get(column, -1) for column in new], dtype=np.int64)
    aligned = policy.init()
    aligned.landmark = state.landmark
    probed = policy.model.shapes(PROBE)
    sums = {name: _select(state.sums[name], probed[name], kept, len(old)) for name in state.shapes}
    aligned.put(state.item_ids, sums)
    return aligned


def _columns(schema: Schema) -> list[object]:
    # A numeric feature with another center or scale is another feature: its sums differ.
    features = [(feature, column) for feature in schema.features for column in feature.columns]
    return ["intercept", *(_meaning(feature, column) for feature, column in features)]


def _meaning(feature: object, column: str) -> object:
    numeric = not hasattr(feature, "values")
    return (column, feature) if numeric else (column, "categorical")


def _select(sums: Floats, probed: tuple[int, ...], kept: NDArray[np.int64], width: int) -> Floats:
    for axis, size in enumerate(probed, start=1):
        if size == PROBE:
            sums = _pick(sums, kept, axis)
        elif size == PROBE * (PROBE + 1) // 2:
            sums = _pick(sums, _packed(kept, width), axis)
    return sums


def _pick(sums: Floats, places: NDArray[np.int64], axis: int) -> Floats:
    picked = np.take(sums, np.maximum(places, 0), axis=axis)
    absent = np.flatnonzero(places < 0)
    picked[(slice(None),) * axis + (absent,)] = 0.0
    return picked


def _packed(kept: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    # Places in a packed upper triangle, row by row, of the pairs of columns kept.
    i, j = np.triu_indices(len(kept))
    low, high = np.minimum(kept[i], kept[j]), np.maximum(kept[i], kept[j])
    places: NDArray[np.int64] = low * width - low * (low - 1) // 2 + high - low
    return np.where(low < 0, -1, places)
