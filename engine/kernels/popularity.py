"""How popular items are, as far as events have told: a stand-in for propensities not logged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import kernel

__all__ = ["fade_counts", "weigh_rarity"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_JUMP = 3600.0  # s, as `TableConfig.max_jump_seconds`


@kernel("void(f8[::1], f8[::1], i8[::1], f8[::1], f8, f8, f8[::1])")
def weigh_rarity(
    count: Floats, most: Floats, rows: Ints, weight: Floats, power: float, clip: float, out: Floats
) -> None:
    """Writes: count, most, out. Counts events, and weighs each by its item's rarity so far.

    The chance that an item is observed is taken for ``(count / most) ** power``, after Saito et
    al. 2020; ``out`` ``(n,)`` is one over it, at most ``clip``. ``most`` ``(1,)`` is the largest
    count of any item.
    """
    for i in range(len(rows)):
        count[rows[i]] += weight[i]
        most[0] = max(most[0], count[rows[i]])
        out[i] = min((most[0] / count[rows[i]]) ** power, clip)


@kernel("void(f8[:,::1], f8[::1], i8[::1], f8[::1], i8[::1], f8)")
def fade_counts(
    recent: Floats, clock: Floats, rows: Ints, weight: Floats, seconds: Ints, half_life: float
) -> None:
    """Writes: recent, clock. Counts events that fade by a half-life in seconds.

    ``recent`` ``(items, 2)`` holds an item's count and the time it is told for; ``clock`` ``(1,)``
    the latest time of all, which one event moves by at most an hour: a stamp from the future must
    not fade everything. An event that comes late counts what is left of it.
    """
    for i in range(len(rows)):
        row, time = recent[rows[i]], np.float64(seconds[i])
        if clock[0] > 0.0:
            time = min(time, clock[0] + MAX_JUMP)
        clock[0] = max(clock[0], time)
        if row[0] == 0.0:
            row[1] = time
        passed = time - row[1]
        if passed >= 0.0:
            row[0] = row[0] * 2.0 ** (-passed / half_life) + weight[i]
            row[1] = time
        else:
            row[0] += weight[i] * 2.0 ** (passed / half_life)
