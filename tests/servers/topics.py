"""Topics of a test broker, through kafka-python's administration client."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaAdminClient

WAIT_SECONDS = 60.0


@contextmanager
def administration(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """A client, closed at the end."""
    client = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        yield client
    finally:
        client.close()


def make_topic(
    bootstrap: str, name: str = "test", partitions: int = 1, **settings: str | int
) -> str:
    """A new topic stamped with LogAppendTime, ready for use; its name, made unique.

    Settings are Kafka's, dots as underscores: `retention_ms=1000`.
    """
    topic = f"{name}-{uuid.uuid4().hex[:12]}"
    configs = {"message.timestamp.type": "LogAppendTime"}
    configs |= {key.replace("_", "."): str(value) for key, value in settings.items()}
    with administration(bootstrap) as client:
        client.create_topics(
            {topic: {"num_partitions": partitions, "configs": configs}}, wait_for_metadata=True
        )
    return topic


def wait_in_sync(bootstrap: str, topic: str, replicas: int = 3) -> None:
    """Wait until every partition of a topic has a leader and this many copies up to date."""

    def in_sync(partition: dict) -> bool:
        return partition["leader_id"] >= 0 and len(partition["isr_nodes"]) == replicas

    deadline = time.monotonic() + WAIT_SECONDS
    with administration(bootstrap) as client:
        while not all(map(in_sync, client.describe_topics([topic])[0]["partitions"])):
            if time.monotonic() > deadline:
                raise AssertionError(f"not in sync: {client.describe_topics([topic])}")
            time.sleep(0.1)
