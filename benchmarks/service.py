"""The real service, as its own processes, on a topic of Kafka and a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.errors import SlatestreamError
from streams.config import EngineConfig
from streams.log.kafka import KafkaConfig
from streams.views import ViewReader

__all__ = ["serving"]

RUN = "from api.cli import main; main()"  # what `slatestream` runs
SETTING = "SLATESTREAM_"  # settings of the user's own service are not this one's
START_SECONDS = 180.0  # compiling included
STOP_SECONDS = 20.0


@contextmanager
def serving(log: KafkaConfig, engine: EngineConfig) -> Iterator[ViewReader]:
    """Serve until the block ends; yields a reader of its views once the first is there.

    Raises ``SlatestreamError`` when the service does not come up.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        settings = folder / "slatestream.toml"
        settings.write_text(_settings(folder, log, engine), encoding="utf-8")
        with (folder / "service.log").open("wb") as output:
            service = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", RUN, "serve", "--config", settings, "--while-stdin"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={k: v for k, v in os.environ.items() if not k.startswith(SETTING)},
                preexec_fn=_spread,  # noqa: PLW1509 - no threads run yet
            )
            try:
                views = ViewReader(folder)
                _wait(service, views, folder / "service.log")
                yield views
            finally:
                service.terminate()
                try:
                    service.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    service.kill()
                    service.wait()


def _spread() -> None:
    """Let the service have all cores: the one that measures keeps to its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _settings(folder: Path, log: KafkaConfig, engine: EngineConfig) -> str:
    given = {
        "port": 0,
        "data_dir": str(folder),
        "log": f"kafka://{','.join(log.servers)}/{log.prefix}",
        "kafka": {"partitions": log.partitions, "group_id": f"{log.prefix}bench"},
        **engine.to_dict(),
    }
    return "".join(f"{key} = {_toml(value)}\n" for key, value in given.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        entries = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return f"{{ {', '.join(entries)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _wait(service: subprocess.Popen[bytes], views: ViewReader, said: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while views.current() is None:
        if service.poll() is not None or time.monotonic() > deadline:
            lines = said.read_text(errors="replace").strip().splitlines()
            raise SlatestreamError(f"the service did not start: {lines[-1:] or 'it said nothing'}")
        time.sleep(0.05)
