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

Within its window a request is known by its id, exactly. Once closed it is known by a 64-bit hash of
it: of ten million remembered requests, a new one is taken for one of them once in 10^12.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.batches import hash_key
from streams.config import EngineConfig
from streams.requests import Early, Window

__all__ = [
    "Agenda",
    "ClosedRequests",
    "ConfigHistory",
    "JoinPoint",
    "Remembered",
    "request_key",
]

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


class Remembered(NamedTuple):
    """Closed requests by `request_key`, uint64 ``(n,)``, and until when each is known, int64 ms."""

    keys: NDArray[np.uint64]
    until: NDArray[np.int64]

    @classmethod
    def of(cls, forget: Mapping[int, int]) -> Remembered:
        """Make it of keys and times."""
        n = len(forget)
        return cls(np.fromiter(forget, np.uint64, n), np.fromiter(forget.values(), np.int64, n))

    @classmethod
    def join(cls, parts: Sequence[Remembered], clock: int) -> Remembered:
        """Put parts together, later times counting, without what ``clock`` has passed."""
        keys = np.concatenate([part.keys for part in parts] or [np.empty(0, np.uint64)])
        until = np.concatenate([part.until for part in parts] or [np.empty(0, np.int64)])
        order = np.lexsort((until, keys))
        keys, until = keys[order], until[order]
        kept = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.empty(0, bool)
        kept &= until > clock
        return cls(keys[kept], until[kept])

    def to_bytes(self) -> bytes:
        """Little-endian keys, then times."""
        return self.keys.astype("<u8").tobytes() + self.until.astype("<i8").tobytes()

    @classmethod
    def from_bytes(cls, saved: bytes) -> Remembered:
        """Read what `to_bytes` wrote."""
        n = len(saved) // 16
        return cls(
            np.frombuffer(saved, "<u8", n).astype(np.uint64),
            np.frombuffer(saved, "<i8", n, 8 * n).astype(np.int64),
        )

    def to_dict(self) -> dict[int, int]:
        """Keys and times as plain data."""
        return dict(zip(self.keys.tolist(), self.until.tolist(), strict=True))


def request_key(request_id: str) -> int:
    """Return what a closed request is known by."""
    return hash_key(request_id)


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
