"""Factorisation machines over a table: one event scores, then moves the vectors of all its ids.

The model is Rendle 2010, "Factorization machines", of ids alone: with x_f the weight of field f,

    s = Σ x_f b_f + Σ_{f<g} x_f x_g ⟨v_f, v_g⟩.

Two fields, a user and an item, make it matrix factorisation with biases (Koren, Bell, Volinsky
2009). Squared loss predicts mean + spread · s, with the running mean and spread of the targets, so
that rates and scales do not depend on the unit of the reward; logistic loss predicts
σ(logit(mean) + s). No prediction leaves the range of the targets met.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.embeddings.claims import SWEPT, claim_guessed1, reach1, ready1
from engine.kernels.embeddings.index import (
    buckets1,
    mixed1,
    prefetch_first1,
    prefetch_second1,
    probe_first1,
    probe_second1,
)
from engine.kernels.embeddings.layout import (
    BIAS_L2,
    BIAS_RATE,
    DIMENSION,
    EPSILON,
    EXPIRES,
    GUESSES,
    HAND,
    HEADER,
    L2,
    OPTIMIZER,
    RATE,
    TABLE,
    Floats,
    Ints,
    Keys,
    Settings,
    Table,
    Words,
)
from engine.kernels.embeddings.optimizers import ROWWISE, bound1, step1
from engine.kernels.embeddings.records import begin_write1, end_write1
from engine.kernels.embeddings.vectors import cross1, inner1
from engine.kernels.memory import prefetch1

__all__ = [
    "LOGISTIC",
    "SQUARED",
    "TOTALS",
    "claim_fields1",
    "learn_factors",
    "prefetch_events1",
    "sigmoid1",
]

Doubles = NDArray[np.float64]

SQUARED, LOGISTIC = 0, 1
BATCH = 16
WEIGHT, MEAN, SQUARES, LEAST, MOST, EVENTS = range(6)
TOTALS = 6  # of a model: weight of the targets, mean, squares about it, their range, and how many


@inline_uncounted
def sigmoid1(s: float) -> float:
    """Return the logistic function."""
    return 1.0 / (1.0 + math.exp(-s))


@inline_uncounted
def spread1(totals: Doubles) -> float:
    """Return the standard deviation of the targets met."""
    return math.sqrt(totals[SQUARES] / totals[WEIGHT]) if totals[WEIGHT] > 0.0 else 0.0


@inline_uncounted
def predicted1(totals: Doubles, loss: int, s: float) -> float:
    """Return what a score says of the target."""
    if loss == LOGISTIC:
        wins = max(totals[WEIGHT] * totals[MEAN], 0.0) + 0.5
        losses = max(totals[WEIGHT] * (1.0 - totals[MEAN]), 0.0) + 0.5
        return float(wins / (wins + losses * math.exp(-s)))
    if totals[EVENTS] == 0.0:
        return 0.0
    value = totals[MEAN] + spread1(totals) * s
    return float(min(max(value, totals[LEAST]), totals[MOST]))


@inline_uncounted
def meet1(totals: Doubles, y: float, w: float) -> None:
    """Writes: totals. Meets one more target: mean and squares after Welford 1962."""
    if totals[EVENTS] == 0.0:
        totals[LEAST] = totals[MOST] = y
    totals[EVENTS] += 1.0
    totals[LEAST], totals[MOST] = min(totals[LEAST], y), max(totals[MOST], y)
    totals[WEIGHT] += w
    off = y - totals[MEAN]
    totals[MEAN] += off * (w / totals[WEIGHT])
    totals[SQUARES] += max(w * off * (y - totals[MEAN]), 0.0)  # rounding may pass y


@inline_uncounted
def prefetch_events1(t: Table, flat: Floats, keys: Keys, start: int, stop: int) -> None:
    """Writes: t.scratch. Asks for the memory of some events' records: ``keys[start:stop]``.

    Where they were found is told from `GUESSES` on, field by field; -1 where none was. Asks for
    the records, too, that `reach1` will look at for expiry.
    """
    width, fields, buckets = t.floats.shape[1], keys.shape[1], buckets1(t.cells)
    for k in range(SWEPT * (stop - start) * t.head[EXPIRES]):
        prefetch1(flat, (t.head[HAND] + k) * width)
    for i in range(start, stop):
        for f in range(fields):
            prefetch_first1(t.cells, mixed1(t.head, keys[i, f]), buckets)
    for i in range(start, stop):
        for f in range(fields):
            mixed = mixed1(t.head, keys[i, f])
            row = probe_first1(t.cells, mixed, buckets)
            t.scratch[GUESSES + (i - start) * fields + f] = row
            if row < 0:
                prefetch_second1(t.cells, mixed, buckets)
            else:
                prefetch_row1(t, flat, row)
    for i in range(start, stop):
        for f in range(fields):
            at = GUESSES + (i - start) * fields + f
            if t.scratch[at] < 0:
                row = probe_second1(t.head, t.cells, mixed1(t.head, keys[i, f]), buckets)
                t.scratch[at] = row
                if row >= 0:
                    prefetch_row1(t, flat, row)


@inline_uncounted
def prefetch_row1(t: Table, flat: Floats, row: int) -> None:
    """Ask for the memory of a record, and of its mark."""
    prefetch1(t.row_marks, row)
    for line in range(0, t.floats.shape[1], 16):
        prefetch1(flat, row * t.floats.shape[1] + line)


@inline_uncounted
def claim_fields1(
    t: Table, keys: Keys, checks: Words, features: Ints, i: int, fields: int, guess: int, rows: Ints
) -> int:
    """Writes: t, rows. Claims the first fields of event i; key 0 is no id and has record -1.

    Their guessed records are told in ``t.scratch`` from ``guess`` on. Returns how many ids there
    are.
    """
    present = 0
    for f in range(fields):
        rows[f] = -1
        if keys[i, f] != np.uint64(0):
            told = int(t.scratch[guess + f])
            rows[f] = claim_guessed1(t, told, keys[i, f], int(checks[i, f]), features[f])
            present += 1
    return present


@inline_uncounted
def score1(t: Table, flat: Floats, rows: Ints, values: Doubles, sums: Floats) -> float:
    """Writes: sums ``(d,)``, Σ x_f v_f. Score of an event whose fields have these records."""
    d, width = int(t.settings[0, DIMENSION]) - 1, t.floats.shape[1]
    for j in range(d):
        sums[j] = np.float32(0.0)
    biases, own = 0.0, 0.0
    for f in range(len(rows)):
        if rows[f] >= 0:
            x = np.float32(values[f])
            at = np.uint64(rows[f] * width + HEADER + 1)
            biases += values[f] * np.float64(flat[at - np.uint64(1)])
            own += values[f] * values[f] * np.float64(inner1(flat, at, flat, at, d))
            for j in range(d):
                sums[j] += x * flat[at + np.uint64(j)]
    both = np.float64(inner1(sums, np.uint64(0), sums, np.uint64(0), d))
    return biases + 0.5 * (both - own)


@inline_uncounted
def step_fields1(
    t: Table, flat: Floats, rows: Ints, features: Ints, values: Doubles, sums: Floats, g: float,
    gradient: Floats,
) -> None:  # fmt: skip
    """Writes: t, gradient. Moves every field's vector: g is the loss's derivative by the score."""
    d, width = int(t.settings[0, DIMENSION]) - 1, t.floats.shape[1]
    for f in range(len(rows)):
        if rows[f] >= 0:
            x, gx = np.float32(values[f]), np.float32(g * values[f])
            at = np.uint64(rows[f] * width + HEADER + 1)
            gradient[0] = gx
            for j in range(d):
                gradient[j + 1] = gx * (sums[j] - x * flat[at + np.uint64(j)])
            bound1(t, features[f], gradient)
            begin_write1(t, rows[f])
            step1(t, rows[f], features[f], gradient)
            end_write1(t, rows[f])


@inline_uncounted
def bias_step1(flat: Floats, at: np.uint64, s: Settings, g: np.float32) -> None:
    """Writes: flat. Row-wise Adagrad of the bias of a record whose vector begins at ``at``."""
    after = at + np.uint64(np.int64(s[DIMENSION]))
    bias = at - np.uint64(1)
    g += np.float32(s[BIAS_L2]) * flat[bias]
    flat[after] += g * g
    flat[bias] -= np.float32(s[BIAS_RATE]) * g / (np.sqrt(flat[after]) + np.float32(s[EPSILON]))


@inline_uncounted
def vector_rate1(
    flat: Floats, at: np.uint64, s: Settings, c: np.float32, own: np.float32, both: np.float32,
    other: np.float32,
) -> np.float32:  # fmt: skip
    """Writes: flat. Row-wise Adagrad of a vector v along c·o + l2·v: adds up, returns the rate.

    ``own`` is ⟨v, v⟩, ``both`` ⟨v, o⟩ and ``other`` ⟨o, o⟩, so the square of the gradient needs no
    look at it.
    """
    width, l2 = np.int64(s[DIMENSION]), np.float32(s[L2])
    after = at + np.uint64(width - 1)
    square = c * c * other + np.float32(2.0) * c * l2 * both + l2 * l2 * own
    flat[after] += max(square, np.float32(0.0)) / np.float32(width - 1)
    return np.float32(np.float32(s[RATE]) / (np.sqrt(flat[after]) + np.float32(s[EPSILON])))


@inline_uncounted
def learn_two1(
    t: Table, flat: Floats, rows: Ints, features: Ints, values: Doubles, totals: Doubles, loss: int,
    y: float, w: float,
) -> float:  # fmt: skip
    """Writes: t, totals. Learns an event of two fields by row-wise Adagrad; what was predicted."""
    width = t.floats.shape[1]
    d = int(t.settings[0, DIMENSION]) - 1
    a = np.uint64(rows[0] * width + HEADER + 1)
    b = np.uint64(rows[1] * width + HEADER + 1)
    xa, xb = np.float32(values[0]), np.float32(values[1])
    both = inner1(flat, a, flat, b, d)
    own_a, own_b = inner1(flat, a, flat, a, d), inner1(flat, b, flat, b, d)
    s = np.float64(xa * flat[a - np.uint64(1)] + xb * flat[b - np.uint64(1)] + xa * xb * both)
    predicted = predicted1(totals, loss, s)
    g = np.float32(slope1(totals, loss, predicted, y, w))
    c, one = g * xa * xb, np.float32(1.0)
    sa, sb = t.settings[features[0]], t.settings[features[1]]
    begin_write1(t, rows[0])
    begin_write1(t, rows[1])
    rate_a = vector_rate1(flat, a, sa, c, own_a, both, own_b)
    rate_b = vector_rate1(flat, b, sb, c, own_b, both, own_a)
    keep_a, keep_b = one - rate_a * np.float32(sa[L2]), one - rate_b * np.float32(sb[L2])
    cross1(flat, a, b, d, keep_a, rate_a * c, keep_b, rate_b * c)
    bias_step1(flat, a, sa, g * xa)
    bias_step1(flat, b, sb, g * xb)
    end_write1(t, rows[0])
    end_write1(t, rows[1])
    return predicted


@inline_uncounted
def slope1(totals: Doubles, loss: int, predicted: float, y: float, w: float) -> float:
    """Writes: totals. Meets the target; returns the weighted loss's derivative by the score."""
    meet1(totals, y, w)
    if loss == LOGISTIC:
        return w * (predicted - y)
    spread = spread1(totals)
    return w * (predicted - y) / spread if spread > 0.0 else 0.0


@kernel(
    "i8(i8, u8[:,::1], u4[:,::1], i8[::1], f8[::1], f8[::1], f8[::1], i8[::1], i8,"
    " f8[::1], i8[::1], f4[:,::1], f8[::1])",
    first=TABLE,
    counted=False,
)
def learn_factors(
    t: Table,
    start: int,
    keys: Keys,
    checks: Words,
    features: Ints,
    values: Doubles,
    target: Doubles,
    weight: Doubles,
    seconds: Ints,
    loss: int,
    totals: Doubles,
    claimed: Ints,
    work: Floats,
    predicted: Doubles,
) -> int:
    """Writes: the table, totals, claimed, work, predicted. Learns events in order.

    Event i has ids ``keys[i]`` ``(fields,)``, 0 where there is none, of the table's
    ``features`` ``(fields,)``, which enter with weights ``values`` ``(fields,)``. What was
    predicted before learning is told in ``predicted`` ``(n,)``. ``totals`` ``(6,)`` is the rest of
    the model; ``claimed`` ``(fields,)`` and ``work`` ``(2, d)`` are room, with d the vectors'
    length, biases included, the same for all. Begins at ``start``; returns the first event not
    done for lack of room in the index, or n.
    """
    n, fields, flat = len(keys), len(features), t.floats.reshape(t.floats.size)
    two = fields == 2
    for f in range(fields):
        two &= np.int64(t.settings[features[f], OPTIMIZER]) == ROWWISE
    for block in range(start, n, BATCH):
        stop = min(block + BATCH, n)
        prefetch_events1(t, flat, keys, block, stop)
        for i in range(block, stop):
            if not ready1(t, fields):
                return i
            reach1(t, seconds[i])
            guess = GUESSES + (i - block) * fields
            present = claim_fields1(t, keys, checks, features, i, fields, guess, claimed)
            if two and present == 2 and claimed[0] != claimed[1]:
                predicted[i] = learn_two1(
                    t, flat, claimed, features, values, totals, loss, target[i], weight[i]
                )
            else:
                s = score1(t, flat, claimed, values, work[0])
                predicted[i] = predicted1(totals, loss, s)
                g = slope1(totals, loss, predicted[i], target[i], weight[i])
                step_fields1(t, flat, claimed, features, values, work[0], g, work[1])
    return n
