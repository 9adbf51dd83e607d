"""The event log on Apache Kafka, and the group that shares its partitions."""

from streams.log.kafka.checks import Finding, TopicFacts
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.group import KafkaMembership
from streams.log.kafka.log import KafkaLog, open_kafka

__all__ = ["Finding", "KafkaConfig", "KafkaLog", "KafkaMembership", "TopicFacts", "open_kafka"]
