"""Kafka logs for tests: their own topics on the session's broker, closed at the end."""

import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any

from streams.log.base import EVENTS, Record
from streams.log.kafka import KafkaConfig, KafkaLog

PATIENCE = 60.0

numbers = itertools.count()


def config_of(servers: str, **settings: Any) -> KafkaConfig:
    """Settings with topics and a group that no other test has."""
    mark = f"{next(numbers)}-{uuid.uuid4().hex[:8]}"
    given = {
        "servers": servers,
        "prefix": f"test.{mark}.",
        "group_id": f"test-{mark}",
        "partitions": 3,
        "session_ms": 3000,
        "heartbeat_ms": 200,
        **settings,
    }
    return KafkaConfig.parse(given)


def until(condition: Callable[[], Any], what: str = "it", seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.005)


def read(
    log: KafkaLog, partition: int = 0, offset: int = 0, topic: str = EVENTS, limit: int = 1000
) -> list[Record]:
    """All records of a partition from an offset on."""
    records: list[Record] = []
    while found := log.poll(topic, offset, limit, partition):
        records += found
        offset = found[-1].offset + 1
    return records
