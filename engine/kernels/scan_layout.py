"""How what is scanned lies in arrays: rows, counters, and marks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACTIVATION",
    "CONTROL",
    "COUNTERS",
    "DONE",
    "FEEDBACK",
    "FLAG_DEFERRED",
    "FLAG_ENCODABLE",
    "FLAG_ROWS",
    "FLOAT_REWARD",
    "FLOAT_ROWS",
    "FLOAT_WEIGHT",
    "FULL",
    "HASH_EVENT",
    "HASH_REQUEST",
    "HASH_ROWS",
    "HASH_TARGET",
    "IMPRESSION",
    "INT_ROWS",
    "ROW_EVENT",
    "ROW_KIND",
    "ROW_REACTION",
    "ROW_RECOMMENDER",
    "ROW_REQUEST",
    "ROW_SLOTS",
    "ROW_TARGET",
    "ROW_TARGET_SLOT",
    "ROW_X",
    "SEEN_USED",
    "SLOTS_USED",
    "SLOT_ROWS",
    "TICK",
    "TURN",
    "UNSURE",
    "X_USED",
    "Z_USED",
    "Sink",
]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

IMPRESSION, ACTIVATION, FEEDBACK, CONTROL, TICK = 0, 1, 2, 3, 4
UNSURE = -1
FULL = -2

# Rows of what is written; a text's start is followed by its length, first slot by how many.
INT_ROWS, HASH_ROWS, FLOAT_ROWS, FLAG_ROWS, SLOT_ROWS = 13, 3, 2, 2, 3
ROW_KIND, ROW_REQUEST, ROW_RECOMMENDER, ROW_SLOTS, ROW_X = 0, 1, 3, 4, 6
ROW_EVENT, ROW_TARGET, ROW_TARGET_SLOT, ROW_REACTION = 7, 9, 11, 12
HASH_REQUEST, HASH_EVENT, HASH_TARGET = 0, 1, 2
FLOAT_WEIGHT, FLOAT_REWARD = 0, 1
FLAG_DEFERRED, FLAG_ENCODABLE = 0, 1

# Places of the counters of what is written.
SLOTS_USED, X_USED, Z_USED, SEEN_USED, TURN, DONE = 0, 1, 2, 3, 4, 5
COUNTERS = 6


class Sink(NamedTuple):
    """What is written; `scan_events` says what each array holds."""

    ints: Ints
    hashes: Words
    floats: Floats
    flags: Flags
    slot_ints: Ints
    slot_hashes: Words
    propensity: Floats
    seen_slots: Ints
    x: Floats
    z: Floats
    marks: Ints
    used: Ints
