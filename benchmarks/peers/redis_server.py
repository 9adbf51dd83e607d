"""A Redis server of our own for as long as it is needed, and edges kept in its hashes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.contest import Absent, Contender, absent
from benchmarks.machine import spare_cores

__all__ = ["redis_client", "redis_edges"]

NAME = "Redis, HINCRBYFLOAT, 100 events a pipeline"
PATIENCE = 10.0  # seconds until the server must answer
EVENTS = 100


@contextmanager
def redis_client() -> Iterator[Any]:
    """A client of a fresh server on a socket in a folder of its own, on another core if any.

    Yields an `Absent` where there is no server or no client to start one with.
    """
    missing = absent(NAME, "redis")
    program = shutil.which("redis-server")
    if missing or program is None:
        yield missing or Absent(name=NAME, reason="no redis-server on PATH")
        return
    import redis  # noqa: PLC0415  (an optional extra)

    with TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        settings = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(  # noqa: S603
            [program, *settings, "--dir", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _move(server.pid)
            client = redis.Redis(unix_socket_path=str(socket))
            _wait(client)
            yield client
        finally:
            server.terminate()
            server.wait()


def _move(pid: int) -> None:
    """Away from the core we are measured on: waiting for a turn is not Redis's speed."""
    if hasattr(os, "sched_setaffinity"):
        others = spare_cores(max(os.sched_getaffinity(0)))
        with contextlib.suppress(OSError):  # none that we may use
            os.sched_setaffinity(pid, others)


def _wait(client: Any) -> None:
    import redis  # noqa: PLC0415  (an optional extra)

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def redis_edges(client: Any, edges: Any) -> Contender | Absent:
    """Two increments an edge: a hash per cluster, two fields per item."""
    if isinstance(client, Absent):
        return client
    for cluster in range(edges.clusters):
        fields = {f"{item}:{name}": 0.0 for item in range(edges.items) for name in "pb"}
        client.hset(f"c{cluster}", mapping=fields)
    at = 0

    def call(_: object) -> None:
        nonlocal at
        pipeline = client.pipeline(transaction=False)
        for _ in range(EVENTS):
            item, weight, reward = int(edges.item[at]), edges.weight[at], float(edges.reward[at])
            for cluster, w in zip(edges.cluster[at].tolist(), weight.tolist(), strict=True):
                pipeline.hincrbyfloat(f"c{cluster}", f"{item}:p", w * w)
                pipeline.hincrbyfloat(f"c{cluster}", f"{item}:b", w * reward)
            at = (at + 1) % len(edges.item)
        pipeline.execute()

    return Contender(
        name=NAME,
        units=EVENTS,
        call=call,
        clock="wall",
        note="both by wall clock; the server on another core where there is one",
    )
