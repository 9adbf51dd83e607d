"""A host that learns in a thread while a test makes trouble, and traffic for it."""

import random
import threading
import time
from collections.abc import Callable

from streams.config import EngineConfig
from streams.events import encode_event
from streams.host import Host, Pace
from streams.learner import Learner
from streams.log.base import EVENTS, EventLog
from streams.membership import SoleOwner
from streams.shard import replay_log
from streams.store import Store
from tests.streams.cases import click, impression


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what must come about; how long is not asserted."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{true} did not come about in {seconds} s"
        time.sleep(0.01)


def traffic(rng: random.Random, start: int, slates: int = 25, items: int = 6) -> list:
    """Slates with clicks on some, some of them twice."""
    entries = []
    for number in range(start, start + slates):
        request_id = f"r{number}"
        shown = [f"i{item}" for item in rng.sample(range(items), 3)]
        slate = impression(request_id, shown, context={"hour": rng.random() * 24})
        entries.append((request_id, encode_event(slate)))
        reply = click(request_id, rng.choice(shown), f"e{number}")
        entries += [(request_id, encode_event(reply))] * rng.choice([0, 1, 2])
    return entries


class Hosting:
    """A host of every partition of a log's events, in a thread."""

    def __init__(self, log: EventLog, store: Store, config: EngineConfig) -> None:
        self.log = log
        self.host = Host(
            lambda _, partition: Learner(log, store, config, partition=partition),
            SoleOwner([(EVENTS, part) for part in range(log.partitions(EVENTS))]),
            pace=Pace(shortest=0.2),
            clock=lambda: 10 * time.monotonic(),  # what a host waits for comes sooner
        )
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Hosting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self.host.run(self._stop)
        except BaseException as error:
            self._failure = error

    def committed(self) -> int:
        """Records committed, of all partitions."""
        learners = list(self.host.owned.values())
        return sum(owned.learner.committed_offset for owned in learners)

    def appended(self) -> int:
        """Records in the log, of all partitions."""
        return sum(self.log.end(EVENTS, part) for part in range(self.log.partitions(EVENTS)))

    def wait_committed(self) -> None:
        """Wait until all that is in the log is committed."""
        wait_until(lambda: self._failure is not None or self.committed() == self.appended())


def check_against_replay(log: EventLog, store: Store, config: EngineConfig) -> None:
    """What a new learner restores is what one pass over the log gives, bit for bit."""
    for partition in range(log.partitions(EVENTS)):
        learner = Learner(log, store, config, partition=partition)
        learner.recover()
        whole = replay_log(log, partition=partition)
        assert learner.next_offset == whole.next_offset
        assert (learner.hash(), learner.counts) == (whole.hash, whole.counts)
        assert learner.counts.exact
