"""Sums by edge, an item and a cluster: an open-addressing hash table, learned and looked up.

A table of capacity c, a power of two, is arrays of c + 1 slots: ``keys`` apart from ``values``, for
probing reads keys alone. A key probes linearly from its low bits; 0 marks an empty slot, so key 0
itself has the last slot, whose entry in ``keys`` is then 1. At most half of the slots are used.

Work is done in blocks: hash all keys, read the two slots where a key most likely is, settle the
rest, then touch the values. Misses of the cache overlap that way; a key at a time waits for each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline, kernel
from engine.kernels.random import mix1

__all__ = [
    "BLOCK",
    "find_edges",
    "mark_owned",
    "put_edges",
    "refresh_edges",
    "score_edges",
    "update_edges",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]

BLOCK = 256  # edges settled at a time
EMPTY = np.uint64(0)
ONE = np.uint64(1)


@inline
def find1(keys: Keys, key: np.uint64) -> np.int64:
    """Slot that holds a key, or would: then its entry is `EMPTY`."""
    last = len(keys) - 1
    if key == EMPTY:
        return np.int64(last)
    mask = np.uint64(last - 1)
    at = key & mask
    while keys[at] != EMPTY and keys[at] != key:
        at = (at + ONE) & mask
    return np.int64(at)


@inline
def guess1(keys: Keys, key: np.uint64) -> np.int64:
    """Return the first slot of a key or the one after it, without a branch."""
    mask = np.uint64(len(keys) - 2)
    at = key & mask
    return np.int64(at) if keys[at] == key else np.int64((at + ONE) & mask)


@inline
def claim1(keys: Keys, owners: Keys, size: Ints, key: np.uint64, owner: np.uint64) -> np.int64:
    """Writes: keys, owners, size. Slot of a key, which is added when it is new."""
    slot = find1(keys, key)
    if keys[slot] == EMPTY:
        keys[slot] = key if key != EMPTY else ONE
        owners[slot] = owner
        size[0] += 1
    return slot


@kernel(
    "i8(u8[::1], u8[::1], f8[:,::1], i8[::1], u8[::1], i8[::1], u8[::1], f8[::1], f8[::1],"
    " f8[::1], b1, i8)"
)
def update_edges(
    keys: Keys,
    owners: Keys,
    values: Floats,
    size: Ints,
    item_keys: Keys,
    offsets: Ints,
    clusters: Keys,
    shares: Floats,
    precision: Floats,
    moment: Floats,
    squared: bool,
    start: int,
) -> int:
    """Writes: keys, owners, values, size. Add events to the edges of their items, in order.

    Event i, of ``item_keys[i]``, has the clusters ``offsets[i]:offsets[i + 1]`` with shares v:
    ``values[:, 0] += precision[i] · v²`` (``|v|`` unless ``squared``) and
    ``values[:, 1] += moment[i] · v``. Edges are added as zeros when new. Begins at event
    ``start``; returns the first event not learned for lack of room, n when all are.
    """
    n, limit = len(item_keys), (len(keys) - 1) // 2
    largest = BLOCK
    for i in range(start, n):
        largest = max(largest, offsets[i + 1] - offsets[i])
    hashed = np.empty(largest, dtype=np.uint64)
    slots, event = np.empty(largest, dtype=np.int64), np.empty(largest, dtype=np.int64)
    i = start
    while i < n:
        first, m = i, 0
        while i < n and m + offsets[i + 1] - offsets[i] <= largest:
            item = mix1(item_keys[i])
            for j in range(offsets[i], offsets[i + 1]):
                hashed[m] = mix1(item ^ clusters[j])
                event[m] = i
                m += 1
            i += 1
        if size[0] + m > limit:
            return first
        for s in range(m):
            slots[s] = guess1(keys, hashed[s])
        for s in range(m):
            if hashed[s] == EMPTY or keys[slots[s]] != hashed[s]:
                slots[s] = claim1(keys, owners, size, hashed[s], item_keys[event[s]])
        j = offsets[first]
        for s in range(m):
            v = shares[j + s]
            values[slots[s], 0] += precision[event[s]] * (v * v if squared else abs(v))
            values[slots[s], 1] += moment[event[s]] * v
    return n


@kernel("void(u8[::1], u8[::1], f8[:,::1], i8[::1], u8[::1], u8[::1], f8[:,::1], b1)")
def put_edges(
    keys: Keys,
    owners: Keys,
    values: Floats,
    size: Ints,
    new_keys: Keys,
    new_owners: Keys,
    new_values: Floats,
    adding: bool,
) -> None:
    """Writes: keys, owners, values, size. Write edges, or add to what is there when ``adding``.

    There must be room for all of them; the new ones are ``(n,)``, values ``(n, 2)``.
    """
    for i in range(len(new_keys)):
        slot = claim1(keys, owners, size, new_keys[i], new_owners[i])
        for p in range(2):
            values[slot, p] = new_values[i, p] + (values[slot, p] if adding else 0.0)


@kernel("void(u8[::1], u8[::1], i8[::1])")
def find_edges(keys: Keys, wanted: Keys, slots: Ints) -> None:
    """Writes: slots. Slot of every key wanted, -1 where it is absent; both ``(n,)``."""
    for i in range(len(wanted)):
        slot = find1(keys, wanted[i])
        slots[i] = slot if keys[slot] != EMPTY else -1


@kernel("void(u8[::1], u8[::1], u8[::1], b1[::1])")
def mark_owned(keys: Keys, owners: Keys, wanted: Keys, owned: Flags) -> None:
    """Writes: owned. Whether each slot holds an edge of one of the items ``wanted`` ``(n,)``."""
    capacity = 8
    while capacity < 2 * len(wanted):
        capacity *= 2
    known = np.zeros(capacity + 1, dtype=np.uint64)
    for key in wanted:
        known[find1(known, key)] = key if key != EMPTY else ONE
    for slot in range(len(keys)):
        owned[slot] = keys[slot] != EMPTY and known[find1(known, owners[slot])] != EMPTY


@kernel("i8(u8[::1], f8[:,::1], f8, u8[::1], u8[::1], u8[::1], f8[:,::1])")
def refresh_edges(
    keys: Keys,
    values: Floats,
    prior: float,
    item_keys: Keys,
    clusters: Keys,
    known: Keys,
    beliefs: Floats,
) -> int:
    """Writes: known, beliefs. Derive again every edge that the items may have.

    ``known`` is a copy of ``keys`` of an earlier time, beliefs ``(slots, 2)`` what was derived
    then: mean and variance. Returns how many slots hold another key now, 0 when all is well.
    """
    moved = 0
    for item_key in item_keys:
        item = mix1(item_key)
        for cluster in clusters:
            slot = find1(keys, mix1(item ^ cluster))
            if keys[slot] == EMPTY:
                continue
            if known[slot] != EMPTY and known[slot] != keys[slot]:
                moved += 1
                continue
            known[slot] = keys[slot]
            precision = prior + values[slot, 0]
            beliefs[slot, 0], beliefs[slot, 1] = 0.0, np.inf
            if precision > 0.0:
                beliefs[slot, 0] = values[slot, 1] / precision
                beliefs[slot, 1] = 1.0 / precision
    return moved


@kernel(
    "void(u8[::1], f8[:,::1], i8[::1], u8[::1], f8[::1], i8[::1], u8[::1], f8, b1, f8[::1],"
    " f8[::1])",
    scoring=True,
)
def score_edges(
    keys: Keys,
    beliefs: Floats,
    starts: Ints,
    clusters: Keys,
    weights: Floats,
    offsets: Ints,
    item_keys: Keys,
    unknown: float,
    normalised: bool,
    mean: Floats,
    sd: Floats,
) -> None:
    """Writes: mean, sd. ``Σ w θ`` and ``√(Σ w² v)`` over the edges of every candidate.

    Request i has the clusters ``starts[i]:starts[i + 1]`` with weights w and the candidates
    ``offsets[i]:offsets[i + 1]``; beliefs are θ and its variance v by slot. An edge not in the
    table has θ = 0 and variance ``unknown``; edges of infinite variance are left out. When
    ``normalised``, weights are divided by the sum of their sizes over the edges not left out. A
    candidate without edges has mean 0 and variance ``unknown``.
    """
    most = 1
    for i in range(len(starts) - 1):
        most = max(most, starts[i + 1] - starts[i])
    hashed, slots = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.int64)
    for i in range(len(offsets) - 1):
        first, count = starts[i], starts[i + 1] - starts[i]
        for c in range(offsets[i], offsets[i + 1]):
            item = mix1(item_keys[c])
            for s in range(count):
                hashed[s] = mix1(item ^ clusters[first + s])
            for s in range(count):
                slots[s] = guess1(keys, hashed[s])
            for s in range(count):
                if hashed[s] == EMPTY or keys[slots[s]] != hashed[s]:
                    slots[s] = find1(keys, hashed[s])
            total, value, variance = 0.0, 0.0, 0.0
            for s in range(count):
                theta, spread = 0.0, unknown
                if keys[slots[s]] != EMPTY:
                    theta, spread = beliefs[slots[s], 0], beliefs[slots[s], 1]
                if spread < np.inf:
                    weight = weights[first + s]
                    total += abs(weight)
                    value += weight * theta
                    variance += weight * weight * spread
            if total > 0.0:
                share = 1.0 / total if normalised else 1.0
                mean[c], sd[c] = share * value, share * np.sqrt(variance)
            else:
                mean[c], sd[c] = 0.0, np.sqrt(unknown)
