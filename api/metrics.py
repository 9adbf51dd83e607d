"""What the service counts and times, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.shared_metrics import DELAY_BUCKETS, restarts_family, shared_registry
from streams.log.base import EventLog, Place

__all__ = ["LATENCY_BUCKETS", "Figures", "Gauged", "MeteredLog", "Metrics", "Reading", "TimedApp"]

LATENCY_BUCKETS = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005),
    *(0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)  # seconds: fine between 0.1 and 5 ms, where the answers are
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class Metrics:
    """Instruments of one API worker, and the page of the whole host's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "slatestream_http_request_seconds",
            "Time from the first byte routed to the last byte sent, failures included",
            ["method", "route", "status"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.slots = Counter(
            "slatestream_slate_slots",
            "Slots served",
            ["recommender", "method", "reason"],
            registry=self.registry,
        )
        self.slates = Counter(
            "slatestream_slates",
            "Slates served, by why the policy itself did not choose ('' when it did)",
            ["recommender", "fallback"],
            registry=self.registry,
        )
        self.events = Counter(
            "slatestream_events_received",
            "Events posted, by what became of them at the door",
            ["type", "fate"],
            registry=self.registry,
        )
        self.commit_records = Histogram(
            "slatestream_commit_records",
            "Records of one group commit to the log",
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "slatestream_commit_seconds",
            "Time one group commit took",
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.servable = Histogram(
            "slatestream_event_to_servable_seconds",
            "Time from an event's acknowledgement until slates are chosen with it, of up to 100 "
            "events a second and worker",
            buckets=DELAY_BUCKETS,
            registry=self.registry,
        )

    def page(self, reading: Reading) -> bytes:
        """Write the page: what all processes of the host counted, and a reading taken now."""
        figures = CollectorRegistry()
        figures.register(Figures(reading))
        return generate_latest(shared_registry() or self.registry) + generate_latest(figures)


class MeteredLog:
    """A log whose group commits are counted and timed; for the appender's thread.

    Parameters
    ----------
    log
        Does the work.
    """

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self.topic_id, self.partitions, self.now_ms = log.topic_id, log.partitions, log.now_ms
        self.poll, self.begin, self.end, self.close = log.poll, log.begin, log.end, log.close

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Place]:
        """Append records; raises what the log raises."""
        start = time.perf_counter()
        places = self._log.append(topic, entries, partition)
        self._metrics.commit_seconds.observe(time.perf_counter() - start)
        self._metrics.commit_records.observe(len(entries))
        return places


class Gauged(NamedTuple):
    """A gauge's meaning and its value, or its values by partition."""

    meaning: str
    value: float | Mapping[int, float]


class Reading(NamedTuple):
    """Gauges by name; type -> fate -> records; restarts by process."""

    gauges: Mapping[str, Gauged]
    counts: Mapping[str, Mapping[str, int]]
    restarts: Mapping[str, int]


class Figures(Collector):
    """Figures of a reading: the view's age and what it counted."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterable[Metric]:
        """Yield the families, in a stable order."""
        gauges, counts, restarts = self._reading
        for name, (meaning, value) in sorted(gauges.items()):
            yield _gauge(f"slatestream_{name}", meaning, value)
        fates = GaugeMetricFamily(
            "slatestream_events",
            "Records the learner consumed, by type and fate, as of the current view",
            labels=["type", "fate"],
        )
        for kind, by_fate in sorted(counts.items()):
            for fate, count in by_fate.items():
                fates.add_metric([kind, fate], count)
        yield fates
        yield restarts_family(restarts)


def _gauge(name: str, meaning: str, value: float | Mapping[int, float]) -> Metric:
    if not isinstance(value, Mapping):
        return GaugeMetricFamily(name, meaning, value=value)
    family = GaugeMetricFamily(name, meaning, labels=["partition"])
    for partition, each in sorted(value.items()):
        family.add_metric([str(partition)], each)
    return family


class TimedApp:
    """Times every request around the app it wraps, and counts failures like the rest."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._children: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        start = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._observe(scope, status, time.perf_counter() - start)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, never the path: ids would make a label value each.
        method = scope["method"] if scope["method"] in METHODS else "other"
        key = (method, getattr(scope.get("route"), "path_format", "unmatched"), status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._metrics.requests.labels(*map(str, key))
        child.observe(seconds)
