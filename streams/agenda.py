"""What a commit holds of the joiner: where to fold again from, and closed requests.

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

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.hashing import hash_bytes
from streams.config import EngineConfig

__all__ = ["ConfigHistory", "JoinPoint", "Remembered", "request_key"]


class JoinPoint(NamedTuple):
    """Where to fold again from, and what was in force there."""

    offset: int
    clock: int
    config: EngineConfig


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
    return hash_bytes(request_id.encode())
