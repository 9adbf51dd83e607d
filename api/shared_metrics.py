"""Metrics that a host's processes share, by prometheus_client's files: one page for all of them.

Each process writes files of its own under its name, not its number: one that is started again goes
on counting where the one before it stopped, and there are never more files than names.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, values
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

__all__ = [
    "CHECKPOINT_TIME",
    "DELAY_BUCKETS",
    "GAUGES",
    "VARIABLE",
    "forget_gauges",
    "make_room",
    "restarts_family",
    "share_metrics",
    "shared_registry",
]

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
FOLDER = "metrics"
GAUGES: Literal["livesum"] = (
    "livesum"  # mode of all gauges: what a process that ended told counts no more
)
CHECKPOINT_TIME = "slatestream_shard_checkpoint_timestamp_seconds"
AGE = "slatestream_shard_checkpoint_age_seconds"
KINDS = ("counter", "histogram", f"gauge_{GAUGES}")
FILE_BYTES = 1 << 20
DELAY_BUCKETS = (
    *(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
)  # seconds: fine where views are expected, then as far as an outage

logger = logging.getLogger(__name__)


def make_room(data_dir: Path, names: Iterable[str]) -> Path | None:
    """Empty the folder and reserve every process's files; returns the folder.

    Reserved, because a write into a mapped file that finds the disk full ends the process. None
    when there is no room: then each process keeps its metrics to itself.
    """
    folder = data_dir / FOLDER
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            reserve(folder, name)
    except OSError as error:
        logger.warning("processes do not share their metrics: %s: %s", folder, error.strerror)
        return None
    return folder.absolute()


def reserve(folder: Path, name: str) -> None:
    """Reserve the files of one process. Raises ``OSError``."""
    for kind in KINDS:
        with (folder / f"{kind}_{name}.db").open("ab") as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


def forget_gauges(folder: Path, name: str) -> None:
    """Drop what a process that ended told by gauges; what it counted stays."""
    try:
        mark_process_dead(name, str(folder))  # type: ignore[no-untyped-call]
        reserve(folder, name)
    except OSError as error:
        logger.warning("metrics of %s cannot be renewed: %s", name, error.strerror)


def share_metrics(name: str) -> None:
    """Write this process's metrics to the host's folder, when the supervisor gave one."""
    if os.environ.get(VARIABLE):
        # At once, before any metric is made: it decides where they are kept.
        values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]


def shared_registry(folder: Path | None = None) -> CollectorRegistry | None:
    """Registry of all processes' metrics in a folder; None where each keeps its own."""
    where = str(folder) if folder else os.environ.get(VARIABLE)
    if not where:
        return None
    registry = CollectorRegistry()
    registry.register(_Shared(where))
    return registry


def restarts_family(restarts: Mapping[str, int]) -> Metric:
    """How often each process was started again."""
    family = CounterMetricFamily(
        "slatestream_process_restarts", "Processes started again", labels=["process"]
    )
    for process, count in sorted(restarts.items()):
        family.add_metric([process], count)
    return family


class _Shared(Collector):
    """The processes' metrics, and the age of what they told the time of."""

    def __init__(self, folder: str) -> None:
        self._files = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        for family in self._files.collect():  # type: ignore[no-untyped-call]
            yield family
            if family.name == CHECKPOINT_TIME:
                yield _ages(family)


def _ages(family: Metric) -> Metric:
    """Make ages of times. Who told them may hang: ages must go on growing."""
    now = time.time()
    ages = Metric(AGE, "Age of a shard's last commit while there is something to commit", "gauge")
    for sample in family.samples:
        age = max(now - sample.value, 0) if sample.value else 0.0
        ages.add_sample(AGE, sample.labels, age)
    return ages
