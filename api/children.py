"""What the service's processes share: their settings, and the end of their supervisor.

A child reads its settings from the first line of standard input. The pipe then stays open for
as long as the supervisor lives: its end, even by SIGKILL, is the child's order to stop.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import pydantic

from api.logs import LogFormat, start_logging, tell
from api.settings import Settings
from api.shared_metrics import share_metrics
from engine.errors import ConfigError, SlatestreamError
from streams.errors import RefusedError, UnfitTopicError

__all__ = [
    "EXIT_CONFIG",
    "receive_settings",
    "run_child",
    "stop_on_signals",
    "watch_supervisor",
]

logger = logging.getLogger(__name__)

EXIT_CONFIG = 2  # the configuration cannot work: starting again would not help
GRACE_SECONDS = 2.5  # less than a new service waits for the port


def receive_settings() -> Settings:
    """Read the settings the supervisor sent; raises ``ConfigError`` when they are none."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # unbuffered: what follows the line belongs to the watcher
        if not byte:
            break
        line += byte
    try:
        return Settings.model_validate_json(line)
    except pydantic.ValidationError as error:
        raise ConfigError(f"settings from the supervisor: {error}") from error


def watch_supervisor(stop: Callable[[], None], grace: float | None = GRACE_SECONDS) -> None:
    """Call ``stop`` when the one who started us is gone, and leave if that takes too long."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        stop()
        if grace is not None:
            timer = threading.Timer(grace, os._exit, [1])
            timer.daemon = True
            timer.start()

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` on SIGTERM and SIGINT, from a thread of its own.

    A handler runs within the main thread, which may hold any lock just then, those of ``stop``
    included; so it does nothing, and a thread reads of the signal in the interpreter's pipe.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while reader.recv(64) and writer.fileno() >= 0:  # both ends live as long as we do
            stop()

    def ignore(number: int, frame: FrameType | None) -> None:
        del number, frame

    threading.Thread(target=watch, name="signal-watch", daemon=True).start()
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ignore)


def run_child(work: Callable[[Settings, threading.Event], None]) -> int:
    """Run a child process's work with its settings until told to stop; returns the exit code.

    Its name is the first argument.
    """
    stop = threading.Event()
    stop_on_signals(stop.set)
    layout: LogFormat = "text"
    try:
        settings = receive_settings()
        layout = settings.log_format
        start_logging(sys.argv[1], layout)
        share_metrics(sys.argv[1])
        watch_supervisor(stop.set)
        work(settings, stop)
    except (ConfigError, RefusedError, UnfitTopicError) as error:
        tell(error, layout, logging.ERROR)
        return EXIT_CONFIG
    except SlatestreamError as error:
        logger.error("stopped: %s", error)  # noqa: TRY400  (expected: no traceback)
        return 1
    return 0
