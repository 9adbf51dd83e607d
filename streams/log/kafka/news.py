"""What a consumer group told a member that its owner has not taken yet."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from streams.log.kafka.library import ConsumerRebalanceListener

__all__ = ["News"]


class News(ConsumerRebalanceListener):  # type: ignore[misc]
    """Listener of kafka-python's, which calls it in a thread of its own.

    Parameters
    ----------
    turn
        Held while news are kept and taken.
    assignor
        What says which partitions are owned when the member joins.

    Attributes
    ----------
    told
        Whether it told anything in the step under way, taken or not: no other join before the
        next step.
    """

    def __init__(self, turn: threading.Condition, assignor: Any) -> None:
        self._turn = turn
        self._assignor = assignor
        self._kept: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self.told = False

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return any(self._kept)

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Keep partitions that came."""
        self._keep(0, assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Keep partitions that go when the member joins again."""
        self._keep(1, revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Keep partitions that are gone."""
        # Or this member would join again as the owner of what others own by now.
        self._assignor.member_assignment = None
        self._keep(2, lost)

    def take(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Assigned, revoked and lost since the last time."""
        taken, self._kept = self._kept, ([], [], [])
        return taken

    def _keep(self, kind: int, keys: Iterable[Any]) -> None:
        with self._turn:
            self._kept[kind].extend(keys)
            self.told = True
