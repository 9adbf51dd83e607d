"""Clients of kafka-python: made with our settings, heard when they fail, closed for certain."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from engine.errors import SlatestreamError
from streams.errors import LogError
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.library import (
    KafkaAdminClient,
    KafkaConsumer,
    KafkaNetClient,
    KafkaProducer,
)

__all__ = [
    "Breaker",
    "cannot",
    "client_settings",
    "make_admin",
    "make_consumer",
    "make_producer",
    "wrapped",
]

logger = logging.getLogger(__name__)

BACKOFF_MAX_MS = 1_000  # kafka-python waits up to 30 s: a restarted broker is wanted sooner
METADATA_AGE_MS = 30_000  # also how soon a topic made anew under an old name is noticed
BATCH_BYTES = 128 << 10
BREAK_SECONDS = 1.0
REPEAT_SECONDS = 30.0  # the same complaint of kafka-python is passed on this often


class _Echo(logging.Handler):
    """Passes warnings of kafka-python on, each kind now and then, and keeps the last one.

    While a broker is away, kafka-python tells of every attempt to reach it.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "failed: " in text and not text.startswith("Bootstrap failed"):
            self.last = text
        now, kind = time.monotonic(), f"{record.name} {record.lineno}"
        due = now - self._told.get(kind, -REPEAT_SECONDS) >= REPEAT_SECONDS
        if due:
            self._told[kind] = now
        logger.log(logging.WARNING if due else logging.DEBUG, "%s: %s", record.name, text)


_echo = _Echo()
_echo_lock = threading.Lock()


def _listen() -> None:
    # Who has set up logging of kafka-python keeps what was set up.
    foreign = logging.getLogger("kafka")
    with _echo_lock:
        if _echo not in foreign.handlers:
            known = foreign.level != logging.NOTSET or any(
                not isinstance(handler, logging.NullHandler) for handler in foreign.handlers
            )
            foreign.addHandler(_echo)
            foreign.propagate = known


def client_settings(config: KafkaConfig, kind: type, **more: object) -> dict[str, Any]:
    """Settings of one client of kafka-python: those common to all that it knows, and ``more``."""
    common: dict[str, Any] = {
        "bootstrap_servers": list(config.servers),
        "client_id": config.client_id,
        "bootstrap_timeout_ms": config.connect_ms,
        "request_timeout_ms": config.request_ms,
        "reconnect_backoff_max_ms": BACKOFF_MAX_MS,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "metrics_enabled": False,
        "allow_auto_create_topics": False,
        **config.security,
    }
    known: dict[str, Any] = kind.DEFAULT_CONFIG  # type: ignore[attr-defined]
    return {**{name: value for name, value in common.items() if name in known}, **more}


def make_admin(config: KafkaConfig) -> Any:
    """Client that asks about topics. Raises LogError when no broker answers."""
    return _make(config, KafkaAdminClient)


def make_consumer(config: KafkaConfig, **more: object) -> Any:
    """Consumer that resets no offset and commits none by itself; errors as in `make_admin`."""
    settings = {
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "group_id": None,
        **more,
    }
    return _make(config, KafkaConsumer, **settings)


def make_producer(config: KafkaConfig) -> Any:
    """Idempotent producer; errors as in `make_admin`."""
    # kafka-python wants: delivery timeout >= linger + request timeout
    request_ms = max(min(config.request_ms, config.append_ms - config.linger_ms), 1)
    return _make(
        config,
        KafkaProducer,
        enable_idempotence=True,
        acks="all",
        compression_type=None if config.compression == "none" else config.compression,
        linger_ms=config.linger_ms,
        batch_size=BATCH_BYTES,
        max_block_ms=config.append_ms,
        request_timeout_ms=request_ms,
        delivery_timeout_ms=config.append_ms,
    )


def _make(config: KafkaConfig, kind: type, **more: object) -> Any:
    _listen()
    inner: list[Any] = []

    def connect(**settings: object) -> Any:
        client = KafkaNetClient(**settings)
        # Told otherwise or not, it would ask brokers to create a topic that it does not find.
        client.cluster.config["allow_auto_create_topics"] = False
        inner.append(client)
        return client

    _echo.last = ""
    try:
        return kind(kafka_client=connect, **client_settings(config, kind, **more))
    except Exception as error:
        for client in inner:  # kafka-python leaves threads and sockets of a failed client open
            with suppress(Exception):
                client.close()
        why = f" ({_echo.last})" if _echo.last else ""
        raise LogError(
            f"cannot connect to Kafka at {','.join(config.servers)}: {error}{why}"
        ) from error


class Breaker:
    """After a failure, the same answer for a second: who asks in turn does not wait in turn."""

    def __init__(self) -> None:
        self._until = 0.0
        self._told = ""

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Raise ``LogError`` at once, or go on and take note of one that is raised inside."""
        if time.monotonic() < self._until:
            raise LogError(self._told)
        try:
            yield
        except LogError as error:
            self._told = str(error)
            self._until = time.monotonic() + BREAK_SECONDS
            raise


def cannot(doing: str, error: Exception) -> LogError:
    """Make the error to raise when ``error`` kept us from doing something; ours are kept."""
    if isinstance(error, LogError):
        return error
    name, text = type(error).__name__, str(error)
    return LogError(f"cannot {doing}: {text if name in text else f'{name}: {text}'}")


@contextmanager
def wrapped(doing: str) -> Iterator[None]:
    """Raise whatever kafka-python raises inside as ``LogError``."""
    try:
        yield
    except SlatestreamError:
        raise
    except Exception as error:
        raise cannot(doing, error) from error
