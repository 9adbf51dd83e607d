"""What the joiner must come back to: deadlines, the oldest record needed, requests to forget.

What a request is remembered for, and why recovery is exact
-----------------------------------------------------------
A request is *early* (feedback without its impression), *open* (its window runs) or *closed and
remembered*, so that late feedback and repeated impressions are told apart from new ones. Every
record that touches an open or remembered request at time t, while the longest configured window
is W, keeps it remembered at least until ``t + W + max(W, 60 s)``; that time depends on the
record and the configuration in force alone, never on when the window was found expired.

A commit stores the remembered requests, but not the early and open ones: those are folded again
from ``join_offset``, the oldest record any of them is made of. Folding a suffix of the log makes
the same open and early requests as folding all of it, because

* a request in the stored set is skipped: it was closed by then, so no part of it is open;
* any other request whose earlier records were cut off had been forgotten when the commit was
  made, and what the rest of its records t1, t2, … wrongly start in the second fold (an early
  record, or a window opened by a repeated impression) ends by ``ti + 2 W``, the longest a
  deferred slate can wait and then run, and is forgotten no later than the original was: before
  a new request under the same id, or the commit, comes;
* requests do not influence each other, and the clock and the configuration at ``join_offset``
  are stored with it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import NamedTuple

from streams.config import EngineConfig
from streams.requests import Early, Window

__all__ = ["Agenda", "ClosedRequests", "ConfigHistory", "JoinPoint"]

Entry = tuple[int, int, int, Window | Early]


class JoinPoint(NamedTuple):
    """Where to fold again from, and what was in force there."""

    offset: int
    clock: int
    config: EngineConfig


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


class ConfigHistory:
    """Configurations and the offsets they hold from, as far back as any fold may start."""

    def __init__(self, offset: int, config: EngineConfig) -> None:
        self._entries = deque([(offset, config)])

    def put(self, offset: int, config: EngineConfig) -> None:
        """Add what holds from ``offset`` on."""
        self._entries.append((offset, config))

    def at(self, offset: int) -> EngineConfig:
        """Return what holds at an offset; nobody asks for an earlier one again."""
        while len(self._entries) > 1 and self._entries[1][0] <= offset:
            self._entries.popleft()
        return self._entries[0][1]


class ClosedRequests:
    """Closed requests by id, each until it is to be forgotten (ms).

    ``changes`` collects what was set since the caller last cleared it.
    """

    def __init__(self, forget: dict[str, int] | None = None) -> None:
        self.changes: dict[str, int] = {}
        self._forget = dict(forget or {})
        self._queue = [(at, request_id) for request_id, at in self._forget.items()]
        heapq.heapify(self._queue)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._forget

    def remember(self, request_id: str, until: int) -> None:
        """Remember at least until ``until``."""
        until = max(until, self._forget.get(request_id, 0))
        self._forget[request_id] = self.changes[request_id] = until
        heapq.heappush(self._queue, (until, request_id))

    def forget(self, clock: int) -> None:
        """Forget what is remembered no longer than ``clock``."""
        while self._queue and self._queue[0][0] <= clock:
            _, request_id = heapq.heappop(self._queue)
            if self._forget.get(request_id, clock + 1) <= clock:
                del self._forget[request_id]

    def to_dict(self) -> dict[str, int]:
        """Request ids and forget times, a copy."""
        return dict(self._forget)


def _current(entry: Entry) -> bool:
    return entry[3].alive and entry[3].deadline == entry[0]
