"""A learner on a topic, with a store and a host of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.broker import Topic
from benchmarks.traffic import Traffic
from streams.host import Host
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.membership import SoleOwner
from streams.store import Store

__all__ = ["Stage"]


def _nothing(_: str) -> None:
    return


class Stage:
    """A host of the topic's only partition, on an empty SQLite store; connected.

    Parameters
    ----------
    point
        Given to the learner.
    """

    def __init__(
        self, topic: Topic, traffic: Traffic, point: Callable[[str], None] = _nothing
    ) -> None:
        self._folder = TemporaryDirectory()
        self.log, self.store = topic.open(), Store(Path(self._folder.name) / "state.db")
        config = traffic.config

        def make(_: str, partition: int) -> Learner:
            return Learner(self.log, self.store, config, partition=partition, point=point)

        self.host = Host(make, SoleOwner([(EVENTS, 0)]))
        self.log.end(EVENTS)

    @property
    def learner(self) -> Learner:
        """The learner, once the host has taken a turn."""
        return self.host.learners[EVENTS, 0]

    def learn(self, records: int) -> None:
        """Learn so many records at the host's pace, and commit the last of them."""
        self.host.turn()
        while self.learner.next_offset < records:
            self.host.turn()
        self.learner.commit()

    def close(self) -> None:
        """Release all of it."""
        self.log.close()
        self.store.close()
        self._folder.cleanup()
