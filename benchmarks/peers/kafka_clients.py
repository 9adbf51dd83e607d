"""Reading a topic with the clients of Kafka for Python, event by event, as their guides show it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.broker import Topic
from benchmarks.contest import Absent, Contender, absent
from streams.events import decode_event

__all__ = ["ConfluentReader", "KafkaPythonReader", "readers"]

CONFLUENT = "confluent-kafka, consume of 1,000, msgspec into typed events"
PATIENCE = 30.0  # seconds without a record until a reader gives up
PULSE = 0.1  # seconds to wait for a whole batch
BATCH = 1000


class KafkaPythonReader:
    """kafka-python's consumer, iterated."""

    def __init__(self, topic: Topic) -> None:
        from kafka import KafkaConsumer, TopicPartition  # noqa: PLC0415  (slow to load)

        logging.getLogger("kafka").setLevel(logging.ERROR)
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=list(topic.config.servers),
            enable_auto_commit=False,
            consumer_timeout_ms=1000 * PATIENCE,
        )
        partition = TopicPartition(topic.name, 0)
        self._consumer.assign([partition])
        self._consumer.seek_to_beginning(partition)

    def records(self) -> Iterator[Any]:
        """Records with ``value`` and ``timestamp``, from the first on."""
        return iter(self._consumer)

    def values(self) -> Iterator[bytes]:
        """Values of the records."""
        for record in self._consumer:
            yield record.value

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close(autocommit=False)


class ConfluentReader:
    """confluent-kafka's consumer, a thousand messages at a time."""

    def __init__(self, topic: Topic) -> None:
        from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415  (an optional extra)

        self._consumer: Any = Consumer(
            {
                "bootstrap.servers": ",".join(topic.config.servers),
                "group.id": "slatestream-bench",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign([TopicPartition(topic.name, 0, 0)])

    def values(self) -> Iterator[bytes]:
        """Values of the records, from the first on."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            messages = self._consumer.consume(BATCH, timeout=PULSE)
            if messages:
                deadline = time.monotonic() + PATIENCE
            for message in messages:
                yield message.value()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def readers(topic: Topic, records: int) -> Iterator[Contender | Absent]:
    """Each client reading that many records, and what it hands on decoded."""
    kafka = "kafka-python's iterator"
    yield _reader(f"{kafka}, json.loads", KafkaPythonReader, topic, records, json.loads)
    yield _reader(
        f"{kafka}, msgspec into typed events", KafkaPythonReader, topic, records, decode_event
    )
    missing = absent(CONFLUENT, "confluent_kafka")
    yield missing or _reader(CONFLUENT, ConfluentReader, topic, records, decode_event)


def _reader(
    name: str,
    make: Callable[[Topic], Any],
    topic: Topic,
    records: int,
    decode: Callable[[bytes], object],
) -> Contender:
    def call(reader: Any) -> None:
        try:
            for _, value in zip(range(records), reader.values(), strict=False):
                decode(value)
        finally:
            reader.close()

    return Contender(name=name, units=records, call=call, fresh=lambda: make(topic))
