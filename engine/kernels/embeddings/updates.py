"""Events that claim keys, move vectors along gradients, or remove keys, one after the other."""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.embeddings.claims import claim1, reach1, ready1, remove1
from engine.kernels.embeddings.index import find1, mixed1, prefetch_bucket1
from engine.kernels.embeddings.layout import (
    ERASED,
    TABLE,
    Floats,
    Ints,
    Keys,
    Table,
    Words,
)
from engine.kernels.embeddings.optimizers import step1
from engine.kernels.embeddings.records import begin_write1, end_write1
from engine.kernels.memory import prefetch1

__all__ = ["erase_keys", "prefetch_record1", "update_keys"]

BATCH = 16


@inline_uncounted
def prefetch_record1(t: Table, key: np.uint64) -> None:
    """Ask for the memory of a key's record, once that of its buckets was asked for."""
    row = find1(t.head, t.cells, mixed1(t.head, key))
    if row >= 0:
        width = t.floats.shape[1]
        for line in range(0, width, 16):
            prefetch1(t.floats, row * width + line)


@kernel(
    "i8(i8, u8[::1], u4[::1], i8[::1], i8[::1], f4[:,::1], b1, i8[::1])", first=TABLE, counted=False
)
def update_keys(
    t: Table,
    start: int,
    keys: Keys,
    checks: Words,
    features: Ints,
    seconds: Ints,
    gradients: Floats,
    stepping: bool,
    claimed: Ints,
) -> int:
    """Writes: the table, claimed, gradients. Claims key by key, each an event of its own.

    Key i, of ``features[i]``, is claimed at ``seconds[i]``, and moved against ``gradients[i]``
    when ``stepping``; its record is told in ``claimed[i]``. Begins at ``start``; returns the first
    not done for lack of room in the index, or ``len(keys)``.
    """
    n = len(keys)
    for block in range(start, n, BATCH):
        stop = min(block + BATCH, n)
        for i in range(block, stop):
            prefetch_bucket1(t.cells, mixed1(t.head, keys[i]))
        for i in range(block, stop):
            prefetch_record1(t, keys[i])
        for i in range(block, stop):
            if not ready1(t, 1):
                return i
            reach1(t, seconds[i])
            row = claim1(t, keys[i], int(np.int64(checks[i])), features[i])
            claimed[i] = row
            if stepping:
                begin_write1(t, row)
                step1(t, row, features[i], gradients[i])
                end_write1(t, row)
    return n


@kernel("i8(u8[::1])", first=TABLE, counted=False)
def erase_keys(
    t: Table,
    keys: Keys,
) -> int:
    """Writes: the table. Removes the keys that are there; returns how many were."""
    removed = 0
    for key in keys:
        row = find1(t.head, t.cells, mixed1(t.head, key))
        if row >= 0:
            remove1(t, row)
            t.head[ERASED] += 1
            removed += 1
    return removed
