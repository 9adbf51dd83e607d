"""What a joiner learned, as rows by policy, ready to be learned from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.batches import Outcomes
from engine.kernels.gather import gather_outcomes
from engine.kernels.ledger import (
    BY_OFFSET,
    CHANGED,
    LEARNED_SLOTS,
    OF_POLICY,
    OPENED,
    OUTCOMES,
    SIZE,
)
from engine.kernels.tables import move_entries
from streams.agenda import Remembered
from streams.column_plan import ColumnPlan
from streams.holdings import Holdings

__all__ = ["Joined", "Learned"]

Ints = NDArray[np.int64]

ROOM = 1 << 15  # slots learned in one call of the kernel
NAMES_KEPT = 1 << 18
NAME_BYTES = 1024  # of the longest id


class Joined(NamedTuple):
    """Slots of one policy, in the order they were learned; each array ``(n,)``.

    Outcomes of all policies are numbered in the order they were joined; slots that were learned
    together have one number.
    """

    policy: str
    outcomes: Outcomes
    number: Ints
    offset: Ints  # of the record that each was learned at
    opened: Ints  # of the impression


class Learned:
    """Takes what the kernel learned out of its memory.

    Attributes
    ----------
    table, slots, rewards, changed
        What `engine.kernels.join` writes: outcomes, their slots and rewards, and closed requests
        with new times to forget them.
    """

    def __init__(self) -> None:
        self.table = np.empty((ROOM, 8), dtype=np.int64)
        self.slots = np.empty(ROOM, dtype=np.int64)
        self.rewards = np.empty(ROOM)
        self.changed = np.empty((ROOM, 2), dtype=np.int64)
        self._number = 0
        self._names = _Names()

    def closed(self, held: Holdings) -> Remembered:
        """Return what is in ``changed``."""
        rows = self.changed[: held.state[CHANGED]]
        return Remembered(rows[:, 0].astype(np.uint64), rows[:, 1].copy())

    def gather(self, held: Holdings, plan: ColumnPlan) -> list[Joined]:
        """Rows of what was learned, by policy."""
        n = int(held.state[OUTCOMES])
        if not n:
            return []
        self._names.reserve(int(held.state[LEARNED_SLOTS]))
        policies = self.table[:n, OF_POLICY]
        joined = [self._rows(held, plan, int(place)) for place in np.unique(policies)]
        self._number += n
        return joined

    def _rows(self, held: Holdings, plan: ColumnPlan, place: int) -> Joined:
        chosen = np.flatnonzero(self.table[: held.state[OUTCOMES], OF_POLICY] == place)
        n = int(self.table[chosen, SIZE].sum())
        x, z = np.empty((n, plan.x_width[place])), np.empty((n, plan.z_width[place]))
        reward, weight, propensity = np.empty(n), np.empty(n), np.empty(n)
        time_ms, slot, last, item, row = np.empty((5, n), dtype=np.int64)
        names = self._names
        gather_outcomes(
            held.arena,
            held.numbers,
            held.texts,
            self.table,
            chosen,
            self.slots,
            self.rewards,
            names.table,
            names.spans,
            names.data,
            names.known,
            x,
            z,
            reward,
            weight,
            time_ms,
            propensity,
            slot,
            last,
            item,
            row,
        )
        number = self._number + row
        outcomes = Outcomes(
            item_ids=names.of(item),
            x=x,
            z=z,
            reward=reward,
            weight=weight,
            time_ms=time_ms,
            propensity=propensity,
            slot=slot,
            last=last,
            slate=number,
        )
        offset, opened = self.table[row, BY_OFFSET], self.table[row, OPENED]
        return Joined(plan.policies[place], outcomes, number, offset, opened)


class _Names:
    """Item ids that were learned of, each decoded once."""

    def __init__(self) -> None:
        self._start(1024, 1024 * NAME_BYTES)

    def _start(self, names: int, size: int) -> None:
        self.table = np.zeros((2 * names, 2), dtype=np.int64)
        self.spans = np.empty((names, 2), dtype=np.int64)
        self.data = np.empty(size, dtype=np.uint8)
        self.known = np.zeros(2, dtype=np.int64)  # names, and bytes of them
        self._texts: list[str] = []

    def reserve(self, extra: int) -> None:
        """Make room for so many new names, of any length."""
        n, size = self.known.tolist()
        if n > NAMES_KEPT:
            self._start(1 << (2 * extra).bit_length(), extra * NAME_BYTES)
            return
        if n + extra > len(self.spans):
            spans = np.empty((1 << (n + extra).bit_length(), 2), dtype=np.int64)
            spans[:n] = self.spans[:n]
            table = np.zeros((2 * len(spans), 2), dtype=np.int64)
            move_entries(self.table, table, 0)
            self.spans, self.table = spans, table
        if size + extra * NAME_BYTES > len(self.data):
            data = np.empty(2 * (size + extra * NAME_BYTES), dtype=np.uint8)
            data[:size] = self.data[:size]
            self.data = data

    def of(self, numbers: Ints) -> list[str]:
        """Names by their numbers."""
        texts = self._texts
        for start, length in self.spans[len(texts) : self.known[0]].tolist():
            texts.append(self.data[start : start + length].tobytes().decode())
        return list(map(texts.__getitem__, numbers.tolist()))
