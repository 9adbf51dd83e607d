"""What became of the ids in policies' embedding tables, for Prometheus: by policy, never by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge

from api.shared_metrics import GAUGES
from engine.embeddings.lookups import TableStatistics
from engine.embeddings.part import tables_of
from engine.state import State
from streams.host import Key

__all__ = ["FATES", "TableGauges"]

FATES = (
    "admitted",
    "rejected",
    "expired",
    "evicted",
    "readmitted",
    "erased",
    "collisions",
    "clamped",
)
TABLE = ("policy", "table")
Name = tuple[str, str]  # policy and part


class TableGauges:
    """Gauges of all tables that a process learns; 0 in those of shards that went elsewhere."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str, labels: Sequence[str] = TABLE) -> Gauge:
            full = f"slatestream_table_{name}"
            return Gauge(full, meaning, labels, registry=registry, multiprocess_mode=GAUGES)

        self._numbers = {
            "rows": gauge("rows", "Ids that have a vector of their own"),
            "bytes": gauge("bytes", "Memory of the table's records, index and counters"),
            "load": gauge("load_ratio", "Share of the index's cells in use"),
            "watermark": gauge(
                "watermark_timestamp_seconds", "Event time that ids expire by; Unix time"
            ),
        }
        self._ids = gauge(
            "ids", "What became of ids since the log began, by fate", (*TABLE, "fate")
        )
        self._known: dict[Key, set[Name]] = {}

    def look(self, shard: Key, states: Mapping[str, State]) -> None:
        """Tell of the tables of a shard's states."""
        told = {
            (policy, part): statistics
            for policy, state in states.items()
            for part, table in tables_of(state.parts).items()
            # Shards that leave a policy's outcomes to its owner have an empty table of it.
            if (statistics := table.statistics()).admitted or statistics.rejected
        }
        for name in self._known.get(shard, set()) - told.keys():
            self._set(name, None)
        self._known[shard] = set(told)
        for name, statistics in told.items():
            self._set(name, statistics)

    def drop(self, shard: Key) -> None:
        """Tell nothing more of a shard."""
        for name in self._known.pop(shard, set()):
            self._set(name, None)

    def _set(self, name: Name, statistics: TableStatistics | None) -> None:
        for number, gauge in self._numbers.items():
            gauge.labels(*name).set(getattr(statistics, number) if statistics else 0)
        for fate in FATES:
            self._ids.labels(*name, fate).set(getattr(statistics, fate) if statistics else 0)
