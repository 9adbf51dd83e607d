"""Deadlines, oldest records and closed requests by heaps and dicts."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping

from tests.naive.windows import Early, Window

Entry = tuple[int, int, int, Window | Early]


class Agenda:
    """Everything open or early, by deadline and by the oldest record it is made of."""

    def __init__(self) -> None:
        self._deadlines: list[Entry] = []
        self._starts: list[Entry] = []
        self._serial = itertools.count()

    def track(self, held: Window | Early, offset: int, clock: int) -> None:
        """Add what is made of the record at ``offset``, read at ``clock``, and later ones."""
        heapq.heappush(self._starts, (offset, clock, next(self._serial), held))
        self.expect(held)

    def expect(self, held: Window | Early) -> None:
        """Note a deadline, in place of any earlier one."""
        entry = (held.deadline, held.offset, next(self._serial), held)
        heapq.heappush(self._deadlines, entry)

    def next_deadline(self) -> int | None:
        """Return the first deadline, None without any."""
        while self._deadlines and not _current(self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def pop_due(self, clock: int) -> Window | Early | None:
        """Take the next that is due at ``clock``, in the order (deadline, offset)."""
        while self._deadlines and self._deadlines[0][0] <= clock:
            entry = heapq.heappop(self._deadlines)
            if _current(entry):
                entry[3].alive = False
                return entry[3]
        return None

    def start(self) -> tuple[int, int] | None:
        """Offset of the oldest record needed, and the clock there; None when none is."""
        while self._starts and not self._starts[0][3].alive:
            heapq.heappop(self._starts)
        return self._starts[0][:2] if self._starts else None


class ClosedRequests:
    """Closed requests by `request_key`, each until it is to be forgotten (ms).

    ``changes`` collects what was set since the caller last cleared it.
    """

    def __init__(self, forget: Mapping[int, int] | None = None) -> None:
        self.changes: dict[int, int] = {}
        self._forget = dict(forget or {})
        self._queue = [(at, key) for key, at in self._forget.items()]
        heapq.heapify(self._queue)

    def __contains__(self, key: int) -> bool:
        return key in self._forget

    def remember(self, key: int, until: int) -> None:
        """Remember at least until ``until``."""
        until = max(until, self._forget.get(key, 0))
        self._forget[key] = self.changes[key] = until
        heapq.heappush(self._queue, (until, key))

    def forget(self, clock: int) -> None:
        """Forget what is remembered no longer than ``clock``."""
        while self._queue and self._queue[0][0] <= clock:
            _, key = heapq.heappop(self._queue)
            if self._forget.get(key, clock + 1) <= clock:
                del self._forget[key]

    def to_dict(self) -> dict[int, int]:
        """Keys and forget times, a copy."""
        return dict(self._forget)


def _current(entry: Entry) -> bool:
    return entry[3].alive and entry[3].deadline == entry[0]
