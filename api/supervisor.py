"""The supervisor: a learner, a publisher of views and API workers, kept alive until told to stop.

It owns the listening socket, so that connections wait while a worker is replaced, and loads no
compiled code itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from api.children import EXIT_CONFIG
from api.settings import Settings
from api.shared_metrics import (
    VARIABLE,
    forget_gauges,
    make_room,
    restarts_family,
    shared_registry,
)
from engine.errors import ConfigError
from streams.heads import published_views

__all__ = ["STATUS_FILE", "Child", "Supervisor", "listen", "lock_data_dir"]

STATUS_FILE = "service.json"
LOCK_FILE = "service.lock"
SINGLE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
STEADY_SECONDS = 5.0  # a child that lived this long is started again at once
LONGEST_PAUSE = 2.0
TEND_SECONDS = 0.05
STOP_SECONDS = 10.0
PATIENCE = 3.0  # for the port and the lock of a service that was just killed

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen; port 0 takes a free one.

    Raises
    ------
    ConfigError
        When the address cannot be bound.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=2048)
        except OSError as error:
            if time.monotonic() > deadline or isinstance(error, socket.gaierror):
                raise ConfigError(
                    f"cannot listen on {host}:{port} ({error.strerror or error}); stop what "
                    "listens there, or give another --port"
                ) from error
            time.sleep(0.1)


def lock_data_dir(data_dir: Path) -> IO[bytes]:
    """Make the data directory and hold it for this process.

    Raises
    ------
    ConfigError
        When it cannot be made, or another service holds it.
    """
    deadline = time.monotonic() + PATIENCE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK_FILE).open("ab")
    except OSError as error:
        raise ConfigError(f"data_dir {data_dir}: {error.strerror}; give another") from error
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                lock.close()
                raise ConfigError(
                    f"data_dir {data_dir} is in use by another service; stop it, or give another"
                ) from error
            time.sleep(0.1)
        else:
            return lock


class Child:
    """A process that is started again whenever it ends."""

    def __init__(self, name: str, command: Sequence[str], fds: Sequence[int] = ()) -> None:
        self.name = name
        self.command = list(command)
        self.fds = tuple(fds)
        self.restarts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started = 0.0
        self._next_start = 0.0

    @property
    def pid(self) -> int:
        """Process id, 0 while it is not running."""
        return self.process.pid if self.process else 0

    def start(self, settings_line: bytes, environment: Mapping[str, str]) -> None:
        """Start the process and send its settings; the pipe stays open while we live."""
        self._started = time.monotonic()
        try:
            self.process = subprocess.Popen(  # noqa: S603
                self.command, stdin=subprocess.PIPE, pass_fds=self.fds, env=dict(environment)
            )
        except OSError as error:  # no memory, no file descriptors: both may pass
            told = {"child": self.name}
            logger.warning("%s cannot be started: %s; trying again", self.name, error, extra=told)
            self._back_off()
            return
        pipe = self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it died already: the loop will see
            if pipe:
                pipe.write(settings_line)
                pipe.flush()

    def ended(self) -> int | None:
        """Exit code when the process has just been found dead, else None."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        self._drop()
        self._back_off()
        return code

    def _back_off(self) -> None:
        lived = time.monotonic() - self._started
        self._failures = 0 if lived >= STEADY_SECONDS else self._failures + 1
        pause = 0.0 if self._failures <= 1 else 0.1 * 2 ** min(self._failures - 2, 10)
        self._next_start = time.monotonic() + min(pause, LONGEST_PAUSE)

    @property
    def due(self) -> bool:
        """Whether it should be started now."""
        return self.process is None and time.monotonic() >= self._next_start

    def stop(self) -> None:
        """Ask the process to end, insist when it does not, and wait for it."""
        if not self.process:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop in %.0f s: killed", self.name, STOP_SECONDS)
            self.process.kill()
            self.process.wait()
        self._drop()

    def _drop(self) -> None:
        if self.process and self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.process = None


class _Restarts(Collector):
    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children

    def collect(self) -> Iterable[Metric]:
        yield restarts_family({child.name: child.restarts for child in self._children})


class Supervisor:
    """Runs the service's processes.

    Parameters
    ----------
    settings
        Sent to every child.
    listener
        The bound socket; its file descriptor is handed to the API workers. None to learn only.
    learns
        Whether this host learns.
    """

    def __init__(
        self, settings: Settings, listener: socket.socket | None, *, learns: bool = True
    ) -> None:
        self.settings = settings
        self.address: tuple[str, int] = ("", 0)
        run = [sys.executable, "-P", "-m"]  # -P: a folder named api where we stand is not ours
        children = [Child("learner", [*run, "api.learner_process", "learner"])] if learns else []
        if listener is not None:
            self.address = listener.getsockname()[:2]
            first_view = published_views(settings.data_dir) + 1  # older ones: of an earlier run
            children.append(Child("views", [*run, "api.publisher_process", "views"]))
            fd = listener.fileno()
            for number in range(1, settings.workers + 1):
                name = "api" if number == 1 else f"api-{number}"
                command = [*run, "api.worker", name, str(fd), str(first_view)]
                children.append(Child(name, command, [fd]))
        self.children = tuple(children)
        self._stopping = False
        self._settings_line = settings.model_dump_json().encode() + b"\n"
        self._environment = os.environ | dict.fromkeys(SINGLE_THREAD, "1")
        self._environment.pop(VARIABLE, None)
        self.metrics = make_room(settings.data_dir, [child.name for child in children])
        if self.metrics is not None:
            self._environment[VARIABLE] = str(self.metrics)

    def registry(self) -> CollectorRegistry:
        """Registry of the metrics of all children, and how often they were started again."""
        registry = (shared_registry(self.metrics) if self.metrics else None) or CollectorRegistry()
        registry.register(_Restarts(self.children))
        return registry

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        code = 0
        try:
            while not self._stopping and not code:
                code = self._tend()
                time.sleep(TEND_SECONDS)
        finally:
            for child in reversed(self.children):  # the API first: the learner sees its last
                child.stop()
            with contextlib.suppress(OSError):
                (self.settings.data_dir / STATUS_FILE).unlink()
        return code

    def _tend(self) -> int:
        changed = False
        for child in self.children:
            code = child.ended()
            if code is not None and not self._stopping:
                if code == EXIT_CONFIG:
                    return EXIT_CONFIG
                changed = True
                child.restarts += 1
                logger.warning(
                    "%s ended with code %d: starting it again",
                    child.name,
                    code,
                    extra={"child": child.name, "code": code, "restarts": child.restarts},
                )
            if code is not None and self.metrics is not None:
                forget_gauges(self.metrics, child.name)
            if child.due and not self._stopping:
                changed = True
                child.start(self._settings_line, self._environment)
        if changed:
            self._write_status()
        return 0

    def _write_status(self) -> None:
        host, port = self.address
        status = {
            "pid": os.getpid(),
            "host": host,
            "port": port,
            "children": {c.name: {"pid": c.pid, "restarts": c.restarts} for c in self.children},
        }
        part = self.settings.data_dir / f"{STATUS_FILE}.part"
        try:
            part.write_text(json.dumps(status), encoding="utf-8")
            part.replace(self.settings.data_dir / STATUS_FILE)
        except OSError as error:  # a full disk must not end the service
            logger.warning("cannot write %s: %s", part, error)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True  # and nothing else: the main thread may hold any lock just now
