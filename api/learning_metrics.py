"""What learning and publishing count and time, for Prometheus.

Labels are topic, partition, event type, fate and reason, all of them few; never an id. A shard that
went to another process has 0 in every gauge here, so that sums over processes are those of the
owners.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.shared_metrics import CHECKPOINT_TIME, DELAY_BUCKETS, GAUGES
from api.table_metrics import TableGauges
from streams.errors import LogError
from streams.host import Host, Key, Watch
from streams.learner import Learner
from streams.publisher import Published
from streams.requests import DeadLetter

__all__ = ["LearningWatch", "PublishingWatch"]

SHARD = ("topic", "partition")
WORK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LearningWatch(Watch):
    """Instruments of a learner process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._make_gauges(registry)
        self._make_counters(registry)
        self._rebalances_seen = 0
        self._fates: dict[Key, set[tuple[str, str]]] = {}
        self._caught_up: dict[Key, float] = {}
        self._tables = TableGauges(registry)

    def _make_gauges(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str, labels: Sequence[str] = SHARD) -> Gauge:
            return Gauge(
                f"slatestream_{name}", meaning, labels, registry=registry, multiprocess_mode=GAUGES
            )

        self._owned = gauge("shard_owned", "1 for a shard that is learned here")
        self._troubled = gauge("shard_troubled", "1 while a shard cannot be read or committed")
        self._lag = gauge("shard_lag_events", "Records in the log that are not learned from yet")
        self._lag_seconds = gauge(
            "shard_lag_seconds", "How long records have waited to be learned from; 0 when none do"
        )
        self._offset = gauge("shard_committed_offset", "Offset up to which state is committed")
        self._open = gauge("shard_open_requests", "Impressions whose outcome is not decided yet")
        self._events = gauge(
            "shard_events",
            "Records learned from since the log began, by type and fate: how well they join",
            (*SHARD, "type", "fate"),
        )
        self._checkpoint = gauge(
            CHECKPOINT_TIME.removeprefix("slatestream_"),
            "When the shard was committed last, or nothing was left to commit; Unix time",
        )

    def _make_counters(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str, labels: Sequence[str] = SHARD) -> Counter:
            return Counter(f"slatestream_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str) -> Histogram:
            buckets = WORK_BUCKETS
            return Histogram(
                f"slatestream_{name}", meaning, ("topic",), buckets=buckets, registry=registry
            )

        self._learned = counter("learned_records", "Records learned from by this process")
        self._ticks = counter("ticks", "Ticks appended to close windows of an idle partition")
        self._bytes = counter("checkpoint_bytes", "Bytes of state committed")
        self._fenced = counter("fenced_commits", "Commits refused: another process owns the shard")
        self._dead = counter("dead_letters", "Records that could not be used", (*SHARD, "reason"))
        self._rebalances = counter("rebalances", "How often partitions were shared out anew", ())
        self._commit_time = histogram("checkpoint_seconds", "Time one commit of a shard took")
        self._recovery_time = histogram("recovery_seconds", "Time it took to take a shard over")

    def recovered(self, shard: Key, seconds: float) -> None:
        """Note a shard taken over."""
        self._recovery_time.labels(shard[0]).observe(seconds)
        self._owned.labels(*shard).set(1)

    def learned(self, shard: Key, records: int) -> None:
        """Note records learned from."""
        self._learned.labels(*shard).inc(records)

    def ticked(self, shard: Key) -> None:
        """Note a tick appended."""
        self._ticks.labels(*shard).inc()

    def committed(
        self, shard: Key, size: int, seconds: float, dead: Sequence[DeadLetter] = ()
    ) -> None:
        """Note a commit."""
        self._commit_time.labels(shard[0]).observe(seconds)
        self._bytes.labels(*shard).inc(size)
        self._checkpoint.labels(*shard).set(time.time())
        for reason, count in Tally(letter.reason for letter in dead).items():
            self._dead.labels(*shard, reason).inc(count)

    def fenced(self, shard: Key) -> None:
        """Note a commit that was refused."""
        self._fenced.labels(*shard).inc()

    def dropped(self, shard: Key) -> None:
        """Note a shard that is not learned here any more."""
        for gauge in (
            *(self._owned, self._troubled, self._lag, self._lag_seconds),
            *(self._offset, self._open, self._checkpoint),
        ):
            gauge.labels(*shard).set(0)
        for kind, fate in self._fates.pop(shard, set()):
            self._events.labels(*shard, kind, fate).set(0)
        self._caught_up.pop(shard, None)
        self._tables.drop(shard)

    def looked(self, host: Host) -> None:
        """Look at all shards."""
        self._rebalances.inc(host.rebalances - self._rebalances_seen)
        self._rebalances_seen = host.rebalances
        troubled = host.troubled
        for shard, learner in host.learners.items():
            self._troubled.labels(*shard).set(shard in troubled)
            self._offset.labels(*shard).set(learner.committed_offset)
            if learner.committed_offset == learner.next_offset:
                self._checkpoint.labels(*shard).set(time.time())
            self._look_at_counts(shard, learner.counts.to_dict())
            self._tables.look(shard, learner.shard.states)
            try:
                self._look_at_lag(shard, learner)
            except LogError:
                continue  # the log is away: how far it reaches is not known

    def _look_at_counts(self, shard: Key, counts: Mapping[str, Mapping[str, int]]) -> None:
        self._open.labels(*shard).set(counts.get("impression", {}).get("pending", 0))
        known = self._fates.setdefault(shard, set())
        for kind, by_fate in counts.items():
            for fate, count in by_fate.items():
                if count or (kind, fate) in known:
                    known.add((kind, fate))
                    self._events.labels(*shard, kind, fate).set(count)

    def _look_at_lag(self, shard: Key, learner: Learner) -> None:
        lag, age, now = learner.lag(), learner.age_ms(), time.monotonic()
        if lag <= 0 or (age is None and shard not in self._caught_up):
            self._caught_up[shard] = now
        waited = [] if age is None else [age / 1000]
        if shard in self._caught_up:
            # What waits came after all had been learned, however old the record before it is.
            waited.append(now - self._caught_up[shard])
        self._lag.labels(*shard).set(max(lag, 0))
        self._lag_seconds.labels(*shard).set(min(waited) if lag > 0 else 0)


class PublishingWatch:
    """Instruments of a publisher process; called with every view it publishes."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._seen: Mapping[int, int] = {}
        self._views = Counter("slatestream_views", "Views published", registry=registry)
        self._build_time = Histogram(
            "slatestream_view_build_seconds",
            "Time from the look at the store to the view published",
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self._delay = Histogram(
            "slatestream_event_to_view_seconds",
            "Time from the log's stamp of the newest event new in a view to its publication",
            buckets=DELAY_BUCKETS,
            registry=registry,
        )

    def __call__(self, view: Published) -> None:
        """Note a view."""
        self._views.inc()
        self._build_time.observe(view.seconds)
        now_ms = time.time_ns() // 1_000_000
        for partition, offset in view.offsets.items():
            # The first view of a process holds what was learned long ago.
            if self._seen.get(partition, offset) < offset:
                self._delay.observe(max(now_ms - view.clocks[partition], 0) / 1000)
        self._seen = view.offsets
