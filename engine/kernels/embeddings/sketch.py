"""How often an id was met before it is admitted: counters of four bits that age.

A key has four counters in one line of 64 bytes, which holds 128; its estimate is the least of them
(count-min in blocks, with the halving of TinyLFU: Einziger, Friedman, Manes 2017). Lines are halved
one after the other, each once in ``AGEING`` counted ids a line, so nothing ever stops for it.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import inline_uncounted
from engine.kernels.embeddings.before import keep_line1
from engine.kernels.embeddings.layout import (
    CHANGED_LINES,
    SKETCH_ADDS,
    SKETCH_HAND,
    TABLE_SEED,
    Table,
)
from engine.kernels.random import combine1

__all__ = ["count1", "estimate1"]

AGEING = 128  # ids counted for every line that is halved
MOST = np.uint64(15)
HALVES = np.uint64(0x7777777777777777)
ONE = np.uint64(1)


@inline_uncounted
def spread1(t: Table, key: np.uint64) -> np.uint64:
    """Return the hash whose bits choose a key's line and counters."""
    return combine1(np.uint64(np.uint64(t.head[TABLE_SEED]) ^ np.uint64(0x5EED)), key)


@inline_uncounted
def line1(t: Table, spread: np.uint64) -> int:
    """Return a key's line; there are a power of two of them."""
    return int(np.int64((spread >> np.uint64(32)) & np.uint64((len(t.sketch) >> 3) - 1)))


@inline_uncounted
def estimate1(t: Table, key: np.uint64) -> int:
    """Return how often a key was counted, at most 15: never too few since its line was halved."""
    spread = spread1(t, key)
    at, least = line1(t, spread) << 3, MOST
    for i in range(4):
        bits = spread >> np.uint64(7 * i)
        word, shift = at + np.int64(bits & np.uint64(7)), (bits >> np.uint64(3)) & np.uint64(15)
        least = min(least, (t.sketch[word] >> (shift << np.uint64(2))) & MOST)
    return int(np.int64(least))


@inline_uncounted
def mark_line1(t: Table, line: int) -> None:
    """Writes: t. Lists a line as changed since the last save; to be called before it is."""
    if len(t.before):
        keep_line1(t, line)
    if t.line_marks[line] == 0:
        t.line_marks[line] = 1
        t.lines[t.head[CHANGED_LINES]] = line
        t.head[CHANGED_LINES] += 1


@inline_uncounted
def count1(t: Table, key: np.uint64) -> int:
    """Writes: t. Counts a key once more, by its least counters only; returns the estimate."""
    spread = spread1(t, key)
    line, least = line1(t, spread), np.uint64(estimate1(t, key))
    mark_line1(t, line)
    if least < MOST:
        for i in range(4):
            bits = spread >> np.uint64(7 * i)
            word = (line << 3) + np.int64(bits & np.uint64(7))
            shift = ((bits >> np.uint64(3)) & np.uint64(15)) << np.uint64(2)
            if (t.sketch[word] >> shift) & MOST == least:
                t.sketch[word] = np.uint64(t.sketch[word] + (ONE << shift))
    t.head[SKETCH_ADDS] += 1
    if t.head[SKETCH_ADDS] >= AGEING:
        t.head[SKETCH_ADDS] = 0
        hand = t.head[SKETCH_HAND]
        mark_line1(t, hand)
        for j in range(hand << 3, (hand << 3) + 8):
            t.sketch[j] = (t.sketch[j] >> ONE) & HALVES
        t.head[SKETCH_HAND] = (hand + 1) & ((len(t.sketch) >> 3) - 1)
    return int(np.int64(min(least + ONE, MOST)))
