"""A log of several partitions, a store, and a learner for each shard."""

from collections.abc import Callable, Sequence

from streams.config import EngineConfig
from streams.events import Event, Tick, encode_event
from streams.learner import Learner
from streams.log.base import EVENTS, OUTCOMES
from streams.log.memory import MemoryLog
from streams.publisher import Publisher
from streams.store import Store
from streams.views import View, ViewReader, ViewWriter
from tests.streams.cases import START

Key = tuple[str, int]


class Fleet:
    """Learners of all shards that step and commit when told."""

    def __init__(self, folder, config: EngineConfig, partitions: int = 3) -> None:
        self.folder = folder
        self.config = config
        self.log = MemoryLog(START, partitions=partitions)
        self.store = Store(folder / "state.db")
        self.keys: list[Key] = [(t, p) for t in (EVENTS, OUTCOMES) for p in range(partitions)]
        self.learners: dict[Key, Learner] = {}
        self.publisher = self.new_publisher()

    def new_publisher(self) -> Publisher:
        self.publisher = Publisher(self.store, ViewWriter(self.folder), self.config)
        return self.publisher

    def start(self, *keys: Key, **options: object) -> None:
        """Let new learners take shards over, all of them when none is named."""
        for key in keys or self.keys:
            topic, partition = key
            learner = Learner(
                self.log, self.store, self.config, topic=topic, partition=partition, **options
            )
            learner.start()
            self.learners[key] = learner

    def happen(self, *events: Event, seconds: float = 0.0) -> None:
        self.log.time_ms += round(1000 * seconds)
        self.log.append(EVENTS, [(event.request_id, encode_event(event)) for event in events])

    def tick(self, seconds: float = 0.0) -> None:
        """Move the clocks of all partitions of events."""
        self.log.time_ms += round(1000 * seconds)
        for partition in range(self.log.partitions(EVENTS)):
            value = encode_event(Tick(ts=self.log.time_ms))
            self.log.append(EVENTS, [("tick", value)], partition)

    def learn(self, *keys: Key) -> None:
        """Learn and commit all there is, of the shards named or of all: events come first."""
        for key in keys or self.keys:
            learner = self.learners[key]
            while learner.step(50):
                pass
            learner.commit()

    def hashes(self) -> dict[Key, str]:
        return {key: learner.hash() for key, learner in sorted(self.learners.items())}

    def view(self) -> View:
        """Publish what was committed; returns the current view."""
        self.publisher.refresh()
        view = ViewReader(self.folder).current()
        assert view is not None
        return view

    def close(self) -> None:
        self.store.close()


def feed(fleet: Fleet, make: Callable[[int], Sequence[Event]], numbers: range) -> None:
    """Let requests happen 0.9 s apart, learned from and committed after every fourth."""
    for number in numbers:
        fleet.happen(*make(number), seconds=0.9)
        if number % 4 == 3:
            fleet.learn()
