"""What the processes log: lines for people, or an object a line for machines.

Everything goes through the root logger: other libraries' records, warnings and uncaught exceptions
too. Ids travel as fields, by ``extra=``; keys and passwords never do.
"""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from pythonjsonlogger.msgspec import MsgspecFormatter

__all__ = ["LogFormat", "start_logging", "tell"]

LogFormat = Literal["text", "json"]

FIELDS = ("asctime", "levelname", "name", "process", "message")
NAMES = {"asctime": "time", "levelname": "level", "name": "logger", "process": "pid"}
QUIET = "alembic"  # its INFO is of use to its authors; of Kafka's `streams.log.kafka` tells

logger = logging.getLogger("slatestream")


class _JsonFormatter(MsgspecFormatter):
    """Writes a record, and the fields it was given, as one JSON object."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Time of a record: UTC, ISO 8601, to the millisecond."""
        del datefmt
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def start_logging(role: str, layout: LogFormat = "text") -> None:
    """Log to standard error from now on, whatever was set up before.

    Parameters
    ----------
    role
        Name of this process within the service.
    """
    handler = logging.StreamHandler(sys.stderr)
    if layout == "json":
        handler.setFormatter(
            _JsonFormatter(FIELDS, rename_fields=NAMES, static_fields={"role": role})
        )
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
    else:
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s {role} %(levelname)s %(name)s: %(message)s")
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(layout == "json")
    logging.getLogger(QUIET).setLevel(logging.WARNING)


def tell(message: object, layout: LogFormat = "text", level: int = logging.INFO) -> None:
    """Tell whoever started the service: as a plain line, or as a record where lines are JSON."""
    if layout == "json":
        logger.log(level, "%s", message)
    else:
        sys.stderr.write(f"slatestream: {message}\n")


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logger.critical("ended by %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    error = given.exc_value
    if error is not None and not isinstance(error, SystemExit):
        name = given.thread.name if given.thread else "?"
        told = (given.exc_type, error, given.exc_traceback)
        logger.critical("thread %s ended by %s", name, type(error).__name__, exc_info=told)
