"""Where everything of an embedding table lies: its arrays, and the places in them that have names.

A *record* is ``words`` uint32 of one slab, a multiple of 16, so that records begin at cache lines:
eight words of header, then float32: the vector, then the optimizer's state. Records are found by an
index over 64-bit keys. Records ``0 .. features - 1`` are the shared ones, which the ids of a
feature that are not admitted read and teach; they have no key in the index.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

__all__ = ["TABLE", "Table"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Settings = NDArray[np.float64]
Words = NDArray[np.uint32]

# Of a record's header.
VERSION = 0  # odd while the record is being written
TOUCHED = 1  # s, event time of the last claim
KEY_LOW, KEY_HIGH = 2, 3
COUNT = 4  # claims since it was admitted
KIND = 5  # number of its feature, and FREE
CHECK = 6  # the second hash of its id
STEP = 7  # the optimizer's steps; of a free record the next free one + 1
HEADER = 8

FREE = np.uint32(1 << 31)
FEATURE_MASK = np.uint32((1 << 16) - 1)

# Of `Table.head`: what is saved, …
WATERMARK = 0  # s, event time reached
FRESH = 1  # first record never used
LIVE = 2  # records in use, the shared ones left out
FREE_FIRST, FREE_LAST, FREE_LENGTH = 3, 4, 5  # the queue of freed records; first and last + 1
HAND = 6  # next record looked at for expiry
DRAWS = 7  # samples drawn for evictions
SKETCH_HAND = 8  # next line of the sketch to be halved
SKETCH_ADDS = 9  # ids counted since the last line was halved
ADMITTED, REJECTED, EXPIRED, EVICTED, ERASED, READMITTED, COLLISIONS, CLAMPED = range(10, 18)
SAVED = 24
# … and what is not: how the index stands, what was changed since the last save.
STASHED = 24  # keys in the index's stash
MOVES = 27  # grows whenever an index entry moves or goes
ZERO_ROW = 28  # record + 1 of the key that mixes to 0
SEED = 29  # of the index
CHANGED_ROWS, CHANGED_LINES = 30, 31  # how many are listed
HELD = 32  # records that the current event holds, listed in `Table.held`
STORED = 33  # entries in the index, old and new
CAPACITY = 34  # records there is room for
MAX_LIVE = 35
GRACE = 36  # freed records that wait before one is used again
TABLE_SEED = 37  # of initial values, samples and the sketch
LEFT = 38  # 1 once these arrays are no longer the table's
EXPIRES = 41  # 1 when ids of some feature expire
MAX_JUMP = 39  # s, how far one event may move the watermark
NUMBER = 40  # how often the index was mixed anew
HEAD = 64

# Of `Table.settings`, a row a feature.
DIMENSION = 0  # float32 of the vector, its bias included
BIAS = 1  # 1 when the vector's first number is a bias
OPTIMIZER = 2
RATE, BIAS_RATE = 3, 4
L2, BIAS_L2 = 5, 6
EPSILON = 7  # Adagrad's and Adam's start
BETA1, BETA2 = 8, 9  # Adam's; FTRL's alpha is RATE, its beta BETA1 and its l1 BETA2
SCALE = 10  # standard deviation of initial values; the bias begins at 0
THRESHOLD = 11  # times an id is met before it is admitted
TTL = 12  # s; 0 never expires
ACCUMULATOR, BIAS_ACCUMULATOR = 13, 14  # Adagrad's sums of squares begin here
SETTINGS = 16

MAX_HELD = 64
GUESSES = 1024  # from here on `Table.scratch` is for records that keys are guessed to have
STASH = 32  # buckets of the index's stash


class Table(NamedTuple):
    """An embedding table as kernels take it.

    Attributes
    ----------
    head
        ``(64,)``, named above.
    cells
        The index, by lines of eight words: one whose first word is how many buckets are in use;
        STASH buckets for keys that find no room in theirs; then the buckets. A bucket is four keys
        (mixed; 0 is empty) and their four records.
    before
        While a snapshot is taken, records as they were when it began: see `snapshot.py`; empty
        otherwise.
    words, floats
        ``(capacity, words)``, the slab: one memory, read as whole numbers and as numbers.
    sketch
        Counters of ids not admitted, ``(lines * 8,)``.
    row_marks, rows
        Which records changed since the last save ``(capacity,)``, and a list of them.
    line_marks, lines
        The same of the sketch's lines.
    held
        ``(MAX_HELD,)``, see HELD.
    scratch
        ``(2048,)`` for the index's search of a way to make room.
    settings
        ``(features, 16)``, named above.
    """

    head: Ints
    cells: Keys
    before: Keys
    words: Words
    floats: Floats
    sketch: Keys
    row_marks: Bytes
    rows: Ints
    line_marks: Bytes
    lines: Ints
    held: Ints
    scratch: Ints
    settings: Settings


_tuple_of: Any = types.NamedTuple  # it has no annotations
TABLE = _tuple_of(
    [
        types.int64[::1],
        types.uint64[::1],
        types.uint64[::1],
        types.uint32[:, ::1],
        types.float32[:, ::1],
        types.uint64[::1],
        types.uint8[::1],
        types.int64[::1],
        types.uint8[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.float64[:, ::1],
    ],
    Table,
)
"""Type of a `Table`, of which kernels take one before all else."""
