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
    "put_edges",
    "refresh_edges",
    "score_edges",
    "select_edges",
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
    ``values[:, 1] += moment[i] · v``. Edges are added as zeros when new. Begins at
    ``clusters[start]``; returns the first not learned for lack of room, or how many there are.
    """
    hashed, slots = np.empty(BLOCK, dtype=np.uint64), np.empty(BLOCK, dtype=np.int64)
    precise, moved = np.empty(BLOCK), np.empty(BLOCK)
    limit, event = (len(keys) - 1) // 2, 0
    while start < len(clusters):
        stop = min(start + BLOCK, len(clusters))
        m = stop - start
        if size[0] + m > limit:
            return start
        while offsets[event + 1] <= start:
            event += 1
        first, j = event, start
        while j < stop:
            item = mix1(item_keys[event])
            for at in range(j, min(stop, offsets[event + 1])):
                v = shares[at]
                hashed[at - start] = mix1(item ^ clusters[at])
                precise[at - start] = precision[event] * (v * v if squared else abs(v))
                moved[at - start] = moment[event] * v
            j = min(stop, offsets[event + 1])
            if j < stop:
                event += 1
        for s in range(m):
            slots[s] = guess1(keys, hashed[s])
        for s in range(m):
            key = hashed[s]
            if not (keys[slots[s]] == key and key != EMPTY):
                slots[s] = find1(keys, key)
                if keys[slots[s]] == EMPTY:
                    while offsets[first + 1] <= start + s:
                        first += 1
                    claim1(keys, owners, size, key, item_keys[first])
        for s in range(m):
            values[slots[s], 0] += precise[s]
            values[slots[s], 1] += moved[s]
        start = stop
    return start


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


@kernel("i8(u8[::1], u8[::1], f8[:,::1], b1, u8[::1], i8[::1])")
def select_edges(
    keys: Keys, owners: Keys, values: Floats, every: bool, wanted: Keys, slots: Ints
) -> int:
    """Writes: slots. Slots of edges that hold something, of ``every`` item or of those wanted.

    wanted ``(n,)`` are hashes of items; slots has room for as many as are used. Returns how many
    were selected.
    """
    capacity, count = 8, 0
    while capacity < 2 * len(wanted):
        capacity *= 2
    known = np.zeros(capacity + 1, dtype=np.uint64)
    for key in wanted:
        known[find1(known, key)] = key if key != EMPTY else ONE
    for slot in range(len(keys)):
        if keys[slot] != EMPTY and (every or known[find1(known, owners[slot])] != EMPTY):
            if values[slot, 0] != 0.0 or values[slot, 1] != 0.0:
                slots[count] = slot
                count += 1
    return count


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
    room = BLOCK
    for i in range(len(starts) - 1):
        room = max(room, starts[i + 1] - starts[i])
    hashed, slots = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    for i in range(len(offsets) - 1):
        first, count = starts[i], starts[i + 1] - starts[i]
        together = room // max(count, 1)
        for start in range(offsets[i], offsets[i + 1], together):
            stop = min(start + together, offsets[i + 1])
            m = 0
            for c in range(start, stop):
                item = mix1(item_keys[c])
                for s in range(count):
                    hashed[m] = mix1(item ^ clusters[first + s])
                    m += 1
            for s in range(m):
                slots[s] = guess1(keys, hashed[s])
            for s in range(m):
                key = hashed[s]
                if not (keys[slots[s]] == key and key != EMPTY):
                    slots[s] = find1(keys, key)
                    if keys[slots[s]] == EMPTY:
                        slots[s] = -1
            m = 0
            for c in range(start, stop):
                total, value, variance = 0.0, 0.0, 0.0
                for s in range(count):
                    theta, spread = 0.0, unknown
                    if slots[m] >= 0:
                        theta, spread = beliefs[slots[m], 0], beliefs[slots[m], 1]
                    if spread < np.inf:
                        weight = weights[first + s]
                        total += abs(weight)
                        value += weight * theta
                        variance += weight * weight * spread
                    m += 1
                share = 1.0
                if normalised and total > 0.0:
                    share = 1.0 / total
                mean[c] = share * value
                sd[c] = share * np.sqrt(variance) if total > 0.0 else np.sqrt(unknown)
