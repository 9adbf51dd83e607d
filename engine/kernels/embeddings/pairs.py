"""Bayesian personalised ranking over a table: what was chosen above what was not.

Rendle et al. 2009, "BPR": each event of a chosen item i moves the vectors along the gradient of
−log σ(s_i − s_j), for some items j that were not. With x_f the weight of field f of the context,

    s_i = Σ x_f ⟨v_f, v_i⟩, and + b_i where biases are learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.embeddings.claims import claim1, expired1, reach1, ready1
from engine.kernels.embeddings.factors import claim_fields1, prefetch_events1, sigmoid1
from engine.kernels.embeddings.index import find1, mixed1, prefetch_bucket1
from engine.kernels.embeddings.layout import (
    DIMENSION,
    GUESSES,
    HEADER,
    TABLE,
    TABLE_SEED,
    Bytes,
    Floats,
    Ints,
    Keys,
    Table,
    Words,
)
from engine.kernels.embeddings.optimizers import bound1, step1
from engine.kernels.embeddings.records import begin_write1, end_write1
from engine.kernels.embeddings.updates import prefetch_record1
from engine.kernels.embeddings.vectors import inner1
from engine.kernels.random import combine1

__all__ = ["learn_pairs"]

Doubles = NDArray[np.float64]

BATCH = 16
NONE = np.uint64(0)
DRAW = np.uint64(0xD12A)


@inline_uncounted
def draw_negatives1(
    t: Table, ring: Keys, counts: Ints, own: np.uint64, wanted: int, chosen: Keys
) -> int:
    """Writes: counts, chosen. Draws items of the last chosen ones, but for the event's own.

    A draw is a hash of how many there were; one that hits the event's own item is spent. Returns
    how many negatives there are.
    """
    known = np.uint64(min(counts[0], len(ring)))
    if known == NONE:
        return 0
    found = 0
    seed = combine1(np.uint64(t.head[TABLE_SEED]), DRAW)
    for _ in range(wanted):
        key = ring[np.int64(combine1(seed, np.uint64(counts[1])) % known)]
        counts[1] += 1
        if key != own:
            chosen[found] = key
            found += 1
    return found


@inline_uncounted
def shown_negatives1(
    t: Table, slates: Ints, chosen_at: Bytes, items: Keys, counts: Ints, i: int, wanted: int,
    chosen: Keys,
) -> int:  # fmt: skip
    """Writes: counts, chosen. Events of the same slate whose items were shown and not chosen.

    At most ``wanted``, those that a draw begins with, in a ring. Returns how many there are.
    """
    first, last = i, i
    while first > 0 and slates[first - 1] == slates[i]:
        first -= 1
    while last + 1 < len(slates) and slates[last + 1] == slates[i]:
        last += 1
    size = last + 1 - first
    seed = combine1(np.uint64(t.head[TABLE_SEED]), DRAW)
    turn = np.int64(combine1(seed, np.uint64(counts[1])) % np.uint64(size))
    counts[1] += 1
    found = 0
    for k in range(size):
        at = first + (turn + k) % size
        other = items[at] != items[i] and items[at] != np.uint64(0)
        if chosen_at[at] == 0 and other and found < wanted:
            chosen[found] = np.uint64(at)
            found += 1
    return found


@inline_uncounted
def negative1(t: Table, key: np.uint64, feature: int) -> int:
    """Return the record of an item that is not learned of by itself, the shared one without."""
    row = find1(t.head, t.cells, mixed1(t.head, key))
    return feature if row < 0 or expired1(t, row) else row


@inline_uncounted
def pair1(
    t: Table, flat: Floats, rows: Ints, features: Ints, values: Doubles, other: int, w: float,
    biased: bool, work: Floats,
) -> float:  # fmt: skip
    """Writes: t, work. One pair: the event's item, its records' last, above another's.

    ``work[0]`` is Σ x_f v_f of the context as the event began. Returns the chance σ(s_i − s_j)
    before.
    """
    width, last = t.floats.shape[1], len(rows) - 1
    d = int(t.settings[0, DIMENSION]) - 1
    sums, difference, gradient = work[0], work[1], work[2]
    a = np.uint64(rows[last] * width + HEADER + 1)
    b = np.uint64(other * width + HEADER + 1)
    for j in range(d):
        difference[j] = flat[a + np.uint64(j)] - flat[b + np.uint64(j)]
    s = np.float64(inner1(sums, np.uint64(0), difference, np.uint64(0), d))
    if biased:
        s += np.float64(flat[a - np.uint64(1)]) - np.float64(flat[b - np.uint64(1)])
    g = w * sigmoid1(-s)
    down = np.float32(-g)
    gradient[0] = down if biased else np.float32(0.0)
    for j in range(d):
        gradient[j + 1] = down * sums[j]
    bound1(t, features[last], gradient)
    begin_write1(t, rows[last])
    step1(t, rows[last], features[last], gradient)
    end_write1(t, rows[last])
    gradient[0] = -down if biased else np.float32(0.0)
    for j in range(d):
        gradient[j + 1] = -down * sums[j]
    bound1(t, features[last], gradient)
    begin_write1(t, other)
    step1(t, other, features[last], gradient)
    end_write1(t, other)
    for f in range(last):
        if rows[f] >= 0:
            gradient[0] = np.float32(0.0)
            for j in range(d):
                gradient[j + 1] = np.float32(down * values[f]) * difference[j]
            bound1(t, features[f], gradient)
            begin_write1(t, rows[f])
            step1(t, rows[f], features[f], gradient)
            end_write1(t, rows[f])
    return 1.0 - g / w


@kernel(
    "i8(i8, u8[:,::1], u4[:,::1], i8[::1], f8[::1], u1[::1], f8[::1], i8[::1], i8[::1],"
    " u8[::1], i8[::1], i8, b1, u8[::1], u8[::1], i8[::1], i8[::1], f4[:,::1], f8[::1])",
    first=TABLE,
    counted=False,
)
def learn_pairs(
    t: Table,
    start: int,
    keys: Keys,
    checks: Words,
    features: Ints,
    values: Doubles,
    chosen_at: Bytes,
    weight: Doubles,
    seconds: Ints,
    slates: Ints,
    ring: Keys,
    counts: Ints,
    wanted: int,
    biased: bool,
    items: Keys,
    chosen: Keys,
    others: Ints,
    claimed: Ints,
    work: Floats,
    won: Doubles,
) -> int:
    """Writes: the table, ring, counts, chosen, others, claimed, work, won. Learns in order.

    As `learn_factors`; the item is the last field. Events with ``chosen_at[i]`` are learned, each
    against at most ``wanted`` others: drawn from the last items chosen, ``ring`` ``(size,)`` and
    its ``counts`` ``(2,)``; or, when the ring is empty of places, those of the same slate that
    were not chosen, which counts as meeting them. Other events teach nothing. ``biased``: whether
    biases of items are learned. ``items`` are the last column of ``keys``; ``chosen`` and
    ``others`` ``(wanted,)``, ``claimed`` ``(fields,)`` and ``work`` ``(3, d)`` are room.

    ``won[i]`` tells the mean chance by which the item stood above
    the others before, NaN where nothing was learned. Begins at ``start``; returns the first event
    not done for lack of room in the index, or n.
    """
    n, fields, last = len(keys), len(features), len(features) - 1
    d, width = int(t.settings[0, DIMENSION]) - 1, t.floats.shape[1]
    flat = t.floats.reshape(t.floats.size)
    for block in range(start, n, BATCH):
        stop = min(block + BATCH, n)
        prefetch_events1(t, flat, keys, block, stop)
        for i in range(block, stop):
            won[i] = np.nan
            if chosen_at[i] == 0 or items[i] == np.uint64(0):
                continue
            if not ready1(t, fields if len(ring) else fields + wanted):
                return i
            if len(ring):
                found = draw_negatives1(t, ring, counts, items[i], wanted, chosen)
            else:
                found = shown_negatives1(t, slates, chosen_at, items, counts, i, wanted, chosen)
            for k in range(found):
                if not len(ring):
                    others[k] = np.int64(chosen[k])
                    chosen[k] = items[others[k]]
                prefetch_bucket1(t.cells, mixed1(t.head, chosen[k]))
            reach1(t, seconds[i])
            guess = GUESSES + (i - block) * fields
            claim_fields1(t, keys, checks, features, i, fields, guess, claimed)
            for k in range(found):
                prefetch_record1(t, chosen[k])
            for k in range(found):
                if len(ring):
                    others[k] = negative1(t, chosen[k], features[last])
                else:
                    check = int(checks[others[k], last])
                    others[k] = claim1(t, chosen[k], check, features[last])
            for j in range(d):
                work[0, j] = np.float32(0.0)
            for f in range(last):
                if claimed[f] >= 0:
                    at = np.uint64(claimed[f] * width + HEADER + 1)
                    for j in range(d):
                        work[0, j] += np.float32(values[f]) * flat[at + np.uint64(j)]
            total, pairs = 0.0, 0
            for k in range(found):
                if others[k] != claimed[last]:
                    total += pair1(
                        t, flat, claimed, features, values, others[k], weight[i], biased, work
                    )
                    pairs += 1
            if pairs:
                won[i] = total / pairs
            if len(ring):
                ring[counts[0] % len(ring)] = items[i]
                counts[0] += 1
    return n
