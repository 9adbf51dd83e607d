"""A topic of events on the Kafka that was named, for as long as it is measured."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

from benchmarks.machine import KAFKA
from benchmarks.traffic import Entry, Traffic
from engine.errors import SlatestreamError
from streams.events import encode_event
from streams.log.base import EVENTS, TOPICS
from streams.log.kafka import KafkaConfig, KafkaLog
from streams.log.kafka.clients import make_admin, wrapped

__all__ = ["ADVICE", "Topic", "address", "make_topic"]

ADVICE = "no Kafka is named; start one with 'make kafka' and give --kafka localhost:9092"
CHUNK = 5000  # records appended at once: the producer fills its batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Events in one partition, behind the control record of their settings."""

    config: KafkaConfig
    records: int
    value_bytes: int

    @property
    def name(self) -> str:
        """What Kafka calls it."""
        return self.config.name(EVENTS)

    @property
    def mean_bytes(self) -> int:
        """Of a record's value."""
        return round(self.value_bytes / self.records)

    def open(self) -> KafkaLog:
        """Open a log that holds it; connects when it is first used."""
        return KafkaLog(self.config)


def address() -> tuple[str, ...] | None:
    """Brokers to measure with, None when none is named."""
    return tuple(filter(None, os.environ.get(KAFKA, "").split(","))) or None


@contextmanager
def make_topic(
    servers: tuple[str, ...], traffic: Traffic, slates: int, *, together: int = CHUNK
) -> Iterator[Topic]:
    """A topic of its own, filled, and deleted afterwards. Raises LogError.

    Parameters
    ----------
    together
        Records appended at once; a few of them are one batch of Kafka's.
    """
    config = KafkaConfig(servers=servers, prefix=f"bench-{uuid.uuid4().hex[:12]}-", partitions=1)
    log = KafkaLog(config)
    try:
        log.create_topics()
    except SlatestreamError:
        log.close()
        raise
    try:
        control = encode_event(traffic.config.to_control(log.now_ms()))
        log.append(EVENTS, [("control", control)])
        topic = Topic(config=config, records=1, value_bytes=len(control))
        yield _fill(log, topic, traffic.entries(slates), together)
    finally:
        log.close()
        _delete(config)


def _fill(log: KafkaLog, topic: Topic, entries: Iterable[Entry], together: int) -> Topic:
    records, size = topic.records, topic.value_bytes
    left = iter(entries)
    while chunk := list(islice(left, together)):
        log.append(EVENTS, chunk)
        records += len(chunk)
        size += sum(len(value) for _, value in chunk)
    return replace(topic, records=records, value_bytes=size)


def _delete(config: KafkaConfig) -> None:
    try:
        admin = make_admin(config)
    except SlatestreamError:
        return  # no broker, no topics
    try:
        with wrapped("delete topics"):
            admin.delete_topics([config.name(topic) for topic in TOPICS])
    except SlatestreamError:
        return
    finally:
        admin.close()
