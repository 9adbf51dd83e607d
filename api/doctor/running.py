"""A service that runs on this data directory: its processes, and how far behind it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from api.auth import is_loopback
from api.doctor.findings import Finding, ok, problem, warning
from api.settings import Settings
from api.supervisor import STATUS_FILE

__all__ = ["check_running"]

TIMEOUT_SECONDS = 10.0
STILL_SECONDS = 60.0

PATIENCE = 15.0  # longer than two commits are apart, at most
LAG = "slatestream_view_lag_events"
SHARD_LAG = "slatestream_shard_lag_events"
AGES = (
    "slatestream_view_age_seconds",
    "slatestream_shard_lag_seconds",
    "slatestream_shard_checkpoint_age_seconds",
)

Figures = Mapping[str, float]


def check_running(settings: Settings) -> Iterator[Finding]:
    """Look at the service, if one runs."""
    try:
        status = json.loads((settings.data_dir / STATUS_FILE).read_text(encoding="utf-8"))
        pid, children = int(status["pid"]), dict(status["children"])
    except FileNotFoundError:
        yield ok("service", "none runs on this data_dir")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield warning(
            "service",
            f"{STATUS_FILE} cannot be read: {error}",
            "a file that the service wrote",
            "start the service anew: it writes the file again",
        )
        return
    if not _alive(pid):
        yield warning(
            "service",
            f"none runs; the last one, process {pid}, did not end in order",
            "an end in order",
            "start it again: nothing that was acknowledged is lost",
        )
        return
    yield ok("service", f"process {pid}, {len(children)} children")
    yield from _check_children(children)
    yield from _check_figures(settings, status)


def _check_children(children: Mapping[str, Any]) -> Iterator[Finding]:
    for name, child in sorted(children.items()):
        if not child["pid"] or not _alive(child["pid"]):
            yield problem(
                "process",
                f"{name} does not run; it was started again {child['restarts']} times",
                "a running process",
                "see in the service's log why it ended",
            )
        elif child["restarts"]:
            yield warning(
                "process",
                f"{name} was started again {child['restarts']} times",
                "none",
                "see in the service's log why it ended",
            )
        else:
            yield ok("process", f"{name} runs as {child['pid']}")


def _check_figures(settings: Settings, status: Mapping[str, Any]) -> Iterator[Finding]:
    port = status["port"] or settings.metrics_port
    if not port:
        yield ok("lag", "not known: this host only learns, and metrics_port is not set")
        return
    host = status["host"] or settings.host
    host = host if is_loopback(host) else "127.0.0.1"
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        figures = _read(url)
        deadline = time.monotonic() + PATIENCE
        while _stands_still(figures) and time.monotonic() < deadline:
            time.sleep(0.5)
            figures = _read(url)
    except (httpx.HTTPError, ValueError) as error:
        yield problem(
            "service",
            f"{url}/metrics does not answer: {error or type(error).__name__}",
            f"an answer within {TIMEOUT_SECONDS:.0f} s",
            "see the service's log",
        )
        return
    yield from _judge(figures)


def _stands_still(figures: Figures) -> bool:
    """Whether events wait and nothing has moved for long, which may just be about to."""
    ages = (figures.get(name, 0.0) for name in AGES)
    return figures.get(LAG, figures.get(SHARD_LAG, 0.0)) > 0 and max(ages) > STILL_SECONDS


def _judge(figures: Figures) -> Iterator[Finding]:
    if figures.get("slatestream_ready", 1.0) < 1:
        yield warning(
            "ready",
            "slates are not chosen by the policies",
            "a service that is ready within a minute of its start",
            "ask /health/ready what it waits for",
        )
    troubled = figures.get("slatestream_shard_troubled", 0.0)
    if troubled:
        yield problem(
            "learning",
            f"{troubled:.0f} shards cannot be read or committed",
            "none",
            "see in the service's log what the log or the database refuses",
        )
    lag = figures.get(LAG, figures.get(SHARD_LAG))
    if lag is None:
        yield warning(
            "lag",
            "not known: the log does not answer the service, or nothing is served yet",
            "a log that answers",
            "see the service's log",
        )
    elif _stands_still(figures):
        age = max(figures.get(name, 0.0) for name in AGES)
        yield problem(
            "lag",
            f"{lag:.0f} events wait to be served, and nothing has moved for {age:.0f} s",
            f"{STILL_SECONDS:.0f} s",
            "see in the service's log why learning or publishing waits; add learners if it is busy",
        )
    else:
        yield ok("lag", f"{lag:.0f} events wait to be served")


def _read(url: str) -> dict[str, float]:
    """Sums of gauges over their labels, by name; of those in seconds the largest."""
    reply = httpx.get(f"{url}/metrics", timeout=TIMEOUT_SECONDS)
    reply.raise_for_status()
    figures: dict[str, float] = {}
    for family in text_string_to_metric_families(reply.text):
        values = [sample.value for sample in family.samples if family.type == "gauge"]
        if values:
            figures[family.name] = max(values) if family.name.endswith("seconds") else sum(values)
    return figures


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
