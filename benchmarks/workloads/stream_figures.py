"""stream, what no peer stands beside: where time goes, how late events are served, recovery."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import numpy as np

from benchmarks.broker import Topic, make_topic
from benchmarks.contest import Figure
from benchmarks.service import serving
from benchmarks.stage import Stage
from benchmarks.traffic import Traffic
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.kafka import KafkaLog
from streams.views import ViewReader

__all__ = ["delay", "restore", "shares"]

STAGES = {  # by the point that ends each
    "polled": "fetch",
    "decoded": "decode",
    "joined": "join",
    "learned": "kernel",
    "folded": "kernel",
    "committing": "checkpoint",
    "committed": "checkpoint",
}
CLAIM = "claim"  # once, whatever the length of the log
RATE = 5000  # events a second
SECONDS = 20.0
WARM_SECONDS = 3.0
PULSE = 0.01  # seconds between two appends


class _Clock:
    """CPU time by stage, told by the points a learner passes."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys((*STAGES.values(), CLAIM), 0.0)
        self._last = time.process_time()

    def __call__(self, point: str) -> None:
        now = time.process_time()
        self.spent[STAGES.get(point, CLAIM)] += now - self._last
        self._last = now


def shares(topic: Topic, traffic: Traffic, params: str, rounds: int) -> Iterator[Figure]:
    """Share of each stage in the CPU time of a learner that reads the whole topic."""
    spent = dict.fromkeys(STAGES.values(), 0.0)
    for _ in range(rounds):
        clock = _Clock()
        with closing(Stage(topic, traffic, point=clock)) as stage:
            stage.learn(topic.records)
        for name in spent:
            spent[name] += clock.spent[name]
    total = sum(spent.values())
    for name, seconds in spent.items():
        yield Figure(
            workload="stream",
            params=f"time of {params}",
            what=name,
            value=100 * seconds / total,
            unit="%",
            note=f"{1e6 * seconds / (rounds * topic.records):.2f} µs an event",
        )


def delay(servers: tuple[str, ...], quick: bool) -> Iterator[Figure]:
    """From the acknowledgement of an event to the view, and so to slates, that it is part of."""
    traffic = Traffic(window_seconds=2.0, learn="first")
    seconds, warm = (1.0, 0.0) if quick else (SECONDS, WARM_SECONDS)
    with make_topic(servers, traffic, 0) as topic, serving(topic.config, traffic.config) as views:
        delays = _measure(topic, traffic, views, seconds, warm)
    for share in (50, 99):
        yield Figure(
            workload="stream",
            params=f"event acknowledged to slate, {RATE:,} events/s, learn='first'",
            what=f"p{share}",
            value=float(np.percentile(delays, share)),
            unit="ms",
            note=f"of {len(delays):,} events; the service's own processes, one learner",
        )


def _measure(
    topic: Topic, traffic: Traffic, views: ViewReader, seconds: float, warm: float
) -> np.ndarray:
    acknowledged: list[tuple[int, int, float]] = []  # first offset, offset after the last, when
    served: list[tuple[int, float]] = []  # offset after the last included, when
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(views, served, done))
    watcher.start()
    try:
        with closing(topic.open()) as log:
            _send(log, traffic, seconds + warm, acknowledged)
        _await(served, acknowledged[-1][1])
    finally:
        done.set()
        watcher.join()
    start = acknowledged[0][2] + warm
    offsets = np.array([offset for offset, _ in served])
    delays = []
    for first, following, when in acknowledged:
        if when >= start:
            # Within an append all were acknowledged at once, and may be served at different times.
            places = np.searchsorted(offsets, np.arange(first, following), side="right")
            delays.append(1000 * (np.array([at for _, at in served])[places] - when))
    return np.concatenate(delays)


def _send(
    log: KafkaLog, traffic: Traffic, seconds: float, acknowledged: list[tuple[int, int, float]]
) -> None:
    """Append what is due, whether or not the broker is slow."""
    entries = traffic.entries(round(RATE * seconds / 2))
    start = time.monotonic()
    sent = 0
    while (now := time.monotonic()) < start + seconds:
        due = list(islice(entries, max(int((now - start) * RATE) - sent, 0)))
        if due:
            places = log.append(EVENTS, due)
            acknowledged.append((places[0].offset, places[-1].offset + 1, time.monotonic()))
            sent += len(due)
        time.sleep(PULSE)


def _watch(views: ViewReader, served: list[tuple[int, float]], done: threading.Event) -> None:
    version = 0
    while not done.wait(0.001):
        view = views.current()
        if view is not None and view.version != version:
            version = view.version
            served.append((view.offsets[0], time.monotonic()))


def _await(served: list[tuple[int, float]], offset: int) -> None:
    deadline = time.monotonic() + 60.0
    while not served or served[-1][0] < offset:
        if time.monotonic() > deadline:
            raise TimeoutError(f"offset {offset} is not served after a minute")
        time.sleep(0.01)


def restore(servers: tuple[str, ...], quick: bool) -> Iterator[Figure]:
    """Recovery of a learner whose windows are all open."""
    traffic = Traffic(window_seconds=86_400.0, behind=10)
    with (
        make_topic(servers, traffic, 50 if quick else 250_000) as topic,
        closing(Stage(topic, traffic)) as stage,
    ):
        stage.learn(topic.records)
        again = Learner(stage.log, stage.store, traffic.config)
        start, cpu = time.monotonic(), time.process_time()
        again.recover()
        taken, worked = time.monotonic() - start, time.process_time() - cpu
        held = sum(again.counts.pending.values())
    yield Figure(
        workload="stream",
        params=f"learner restored, {held:,} open events folded again",
        what="until its first new event",
        value=taken,
        unit="s",
        note=f"{worked:.2f} s of CPU time",
    )
