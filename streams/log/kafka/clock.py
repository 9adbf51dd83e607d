"""The brokers' clock, as far as their stamps tell it: a host whose own clock is off still ticks."""

from __future__ import annotations

import threading
import time

__all__ = ["BrokerClock", "system_ms"]


def system_ms() -> int:
    """Milliseconds since the epoch, by the system's clock."""
    return time.time_ns() // 1_000_000


class BrokerClock:
    """The system's clock, corrected by as little as the stamps seen allow. Threads may share it."""

    def __init__(self) -> None:
        self.correction_ms = 0
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return system_ms() + self.correction_ms

    def acknowledged(self, sent_ms: int, stamp: int, received_ms: int) -> None:
        """Learn from a record stamped between two readings of the system's clock."""
        with self._lock:
            least = max(self.correction_ms, stamp - received_ms)
            self.correction_ms = min(least, stamp - sent_ms)

    def read(self, stamp: int) -> None:
        """Learn from a record that was stamped at some time before now."""
        with self._lock:
            self.correction_ms = max(self.correction_ms, stamp - system_ms())
