"""Appending to Kafka: bounded, acknowledged by all replicas that are in sync, in bounded time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from streams.errors import LogError
from streams.log.base import Place
from streams.log.kafka.clients import Breaker, cannot, make_producer
from streams.log.kafka.clock import BrokerClock, system_ms
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.library import MessageSizeTooLargeError
from streams.log.kafka.topics import Topics

__all__ = ["Writer"]

logger = logging.getLogger(__name__)

RECORD_BYTES = 100  # what a record costs in memory beside its key and value, about
FLUSH_SECONDS = 0.05
GRACE_SECONDS = 0.5  # the producer gives a batch up first, and says why


class Writer:
    """Appends with one idempotent producer; threads may share it.

    kafka-python's producer has no bound on what it holds, so the bound is kept here. After an
    append that failed the next goes through a new producer: what was under way with the old one
    may still arrive. A caller that appends the same again may then find it in the log twice.
    """

    def __init__(self, config: KafkaConfig, topics: Topics, clock: BrokerClock) -> None:
        self._config = config
        self._topics = topics
        self._clock = clock
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._breaker = Breaker()
        self._producer: Any = None
        self._retired: list[threading.Thread] = []
        self._known: set[str] = set()
        self._closed = False
        self.waiting_bytes = 0

    def append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None
    ) -> list[Place]:
        """Append ``(key, value)`` pairs; returns where they stand.

        Raises
        ------
        LogError
            At once when too much waits already; when the brokers have not acknowledged all in
            time. Some may then be in the log, or arrive there yet.
        """
        if not entries:
            return []
        size = sum(len(key) + len(value) + RECORD_BYTES for key, value in entries)
        self._reserve(size)
        try:
            return self._append(topic, entries, partition)
        finally:
            with self._lock:
                self.waiting_bytes -= size

    def close(self) -> None:
        """Give up what is not acknowledged and close; closing twice is harmless."""
        with self._lock:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is not None:
            _close(producer, 0.0)
        for thread in self._retired:
            thread.join(1.0)

    def _reserve(self, size: int) -> None:
        limit = self._config.producer_bytes
        with self._lock:
            if self._closed:
                raise LogError("the log is closed; open another")
            if self.waiting_bytes + size > limit:
                raise LogError(
                    f"{self.waiting_bytes} bytes wait to be acknowledged by Kafka, {size} come and "
                    f"{limit} may; try again later"
                )
            self.waiting_bytes += size

    def _append(
        self, topic: str, entries: Sequence[tuple[str, bytes]], partition: int | None
    ) -> list[Place]:
        name = self._config.name(topic)
        self._must_exist(topic)
        producer = self._open()
        sent_ms = system_ms()
        deadline = time.monotonic() + self._config.append_ms / 1000 + GRACE_SECONDS
        futures, failure = _send(producer, name, entries, partition)
        places = []
        stamp = 0
        for future in futures:
            try:
                done = future.get(timeout=max(deadline - time.monotonic(), 0.0))
            except Exception as error:
                failure = failure or error
            else:
                places.append(Place(done.partition, done.offset))
                stamp = done.timestamp
        if failure is not None:
            raise self._failed(producer, name, failure, len(places), len(entries)) from failure
        self._clock.acknowledged(sent_ms, stamp, system_ms())
        return places

    def _must_exist(self, topic: str) -> None:
        # The producer would look for it until the time is over.
        if topic not in self._known:
            if not self._topics.partitions(topic):
                raise self._topics.missing(topic)
            self._known.add(topic)

    def _open(self) -> Any:
        with self._opening:
            producer = self._producer
            if producer is None:
                with self._breaker.guard():
                    producer = make_producer(self._config)
                with self._lock:
                    closed, self._producer = self._closed, producer
                if closed:
                    _close(producer, 0.0)
                    raise LogError("the log is closed; open another")
        return producer

    def _failed(
        self, producer: Any, name: str, error: Exception, acknowledged: int, asked: int
    ) -> LogError:
        refused = isinstance(error, (MessageSizeTooLargeError, ValueError, TypeError))
        if not refused:
            self._retire(producer)
            self._known.clear()
        told = cannot(f"append to {name}", error)
        return LogError(f"{told} ({acknowledged} of {asked} records were acknowledged)")

    def _retire(self, producer: Any) -> None:
        # Others may wait for acknowledgements of the same producer: it ends beside them.
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
            self._retired = [thread for thread in self._retired if thread.is_alive()]
            thread = threading.Thread(
                target=_close,
                args=(producer, self._config.append_ms / 1000),
                name="kafka-producer-close",
                daemon=True,
            )
            self._retired.append(thread)
        thread.start()
        logger.warning("a producer failed; the next append opens another")


def _send(
    producer: Any, name: str, entries: Sequence[tuple[str, bytes]], partition: int | None
) -> tuple[list[Any], Exception | None]:
    futures: list[Any] = []
    for key, value in entries:
        try:
            future = producer.send(name, value=value, key=key.encode(), partition=partition)
        except Exception as error:
            return futures, error
        futures.append(future)
    return futures, None


def _close(producer: Any, seconds: float) -> None:
    # Closing begins with a flush, and one that fails leaves thread and sockets open.
    with suppress(Exception):
        producer.close(timeout=max(seconds, FLUSH_SECONDS))
        return
    with suppress(Exception):
        producer._sender.force_close()  # noqa: SLF001 - offered by no other way
        producer.close(timeout=GRACE_SECONDS)
