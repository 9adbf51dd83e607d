"""Topics of a Kafka log as its broker describes them: made, asked, and checked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from streams.errors import LogError
from streams.log.base import CATALOGUE, EVENTS, OUTCOMES, TOPICS
from streams.log.kafka.checks import Finding, TopicFacts, check_topic_facts
from streams.log.kafka.clients import Breaker, cannot, make_admin, wrapped
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.library import (
    ConfigResource,
    ConfigResourceType,
    IsolationLevel,
    NoError,
    OffsetSpec,
    TopicAlreadyExistsError,
    TopicPartition,
    UnknownTopicOrPartitionError,
    for_code,
)

__all__ = ["Topics"]

logger = logging.getLogger(__name__)

SETTINGS = (
    "message.timestamp.type",
    "retention.ms",
    "retention.bytes",
    "cleanup.policy",
    "min.insync.replicas",
    "unclean.leader.election.enable",
    "max.message.bytes",
)


class Topics:
    """Asks a broker about the topics of one log, over a connection of its own.

    A consumer's connection answers nothing while the broker waits for records to send over it.
    Threads may share it.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._breaker = Breaker()
        self._admin: Any = None
        self._closed = False

    def describe(self) -> list[TopicFacts]:
        """Facts of every topic that exists. Raises LogError."""
        with self._asking("describe topics") as admin:
            found = _metadata(admin, [self._config.name(topic) for topic in TOPICS])
            settings = _settings(admin, found)
        return [
            _facts(topic, found[name], settings[name])
            for topic in TOPICS
            if (name := self._config.name(topic)) in found
        ]

    def identity(self, topic: str) -> str:
        """Kafka's id of the topic. Raises LogError, also when it does not exist."""
        name = self._config.name(topic)
        with self._asking("describe topics") as admin:
            found = _metadata(admin, [name])
        if name not in found:
            raise self.missing(topic)
        return str(found[name]["topic_id"])

    def partitions(self, topic: str) -> int:
        """Number of partitions, 0 when the topic does not exist. Raises LogError."""
        name = self._config.name(topic)
        with self._asking("describe topics") as admin:
            return len(_metadata(admin, [name]).get(name, {}).get("partitions", ()))

    def missing(self, topic: str) -> LogError:
        """Error that says that a topic does not exist."""
        return LogError(f"Kafka has no topic {self._config.name(topic)}; create the topics first")

    def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Oldest offset of each partition. Raises LogError."""
        return self._offsets(topic, partitions, OffsetSpec.EARLIEST)

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Offset after the last record of each partition that may be read. Raises LogError."""
        return self._offsets(topic, partitions, OffsetSpec.LATEST)

    def create(self) -> list[str]:
        """Create the topics that are missing; returns their names. Raises LogError.

        Stamps are of the append. The catalogue has one partition and is kept for ever, being read
        from its beginning; how long the others are kept is left to the broker's default and the
        operator.
        """
        config = self._config
        settings = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
        if config.replication >= 3:
            settings["min.insync.replicas"] = str(config.replication - 1)
        kept = {CATALOGUE: {"retention.ms": "-1", "retention.bytes": "-1"}}
        wanted = {EVENTS: config.partitions, CATALOGUE: 1, OUTCOMES: config.partitions}
        with self._asking("create topics") as admin:
            found = _metadata(admin, [config.name(topic) for topic in wanted])
            missing = {
                config.name(topic): {
                    "num_partitions": partitions,
                    "replication_factor": config.replication,
                    "configs": settings | kept.get(topic, {}),
                }
                for topic, partitions in wanted.items()
                if config.name(topic) not in found
            }
            if missing:
                _create(admin, missing, config.connect_ms)
        return sorted(missing)

    def check(self, window_ms: int, needed: Iterable[str] = (EVENTS, CATALOGUE)) -> list[Finding]:
        """What is wrong with the topics, errors first. Raises LogError when nobody answers.

        Parameters
        ----------
        window_ms
            The longest reward window: records must be kept for longer.
        needed
            Topics that must exist.
        """
        facts = {fact.topic: fact for fact in self.describe()}
        findings = [
            Finding(
                level="error",
                topic=self._config.name(topic),
                code="missing",
                what="the topic does not exist",
                remedy="create it, or let slatestream create it",
            )
            for topic in needed
            if topic not in facts
        ]
        for fact in facts.values():
            findings += check_topic_facts(fact, window_ms, self._config)
        return sorted(findings, key=lambda finding: finding.level)

    def brokers(self) -> list[str]:
        """``id host:port`` of each broker. Raises LogError."""
        with self._asking("describe the cluster") as admin:
            found = admin.describe_cluster()["brokers"]
        return [f"{one['broker_id']} {one['host']}:{one['port']}" for one in found]

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._closed = True
        with self._lock:
            self._drop()

    def _offsets(self, topic: str, partitions: Iterable[int], spec: object) -> dict[int, int]:
        name = self._config.name(topic)
        specs = {TopicPartition(name, partition): spec for partition in partitions}
        unknown: Exception | None = None
        with self._asking(f"ask for offsets of {name}") as admin:
            try:
                found = admin.list_partition_offsets(
                    specs,
                    isolation_level=IsolationLevel.READ_COMMITTED,
                    timeout_ms=self._config.request_ms,
                )
            except UnknownTopicOrPartitionError as error:  # an answer
                unknown = error
        if unknown is not None:
            raise cannot(f"ask for offsets of {name}", unknown)
        return {key.partition: int(value.offset) for key, value in found.items()}

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Any]:
        with self._lock:
            if self._closed:
                raise LogError("the log is closed; open another")
            try:
                with self._breaker.guard(), wrapped(doing):
                    if self._admin is None:
                        self._admin = make_admin(self._config)
                    yield self._admin
            except LogError:
                self._drop()  # the next question is put over a new connection
                raise

    def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(Exception):
                admin.close()


def _metadata(admin: Any, names: list[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for topic in admin.describe_topics(names):
        error = for_code(topic["error_code"])
        if error is NoError:
            found[topic["name"]] = topic
        elif error is not UnknownTopicOrPartitionError:
            raise error(topic["name"])
    return found


def _settings(admin: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    found = admin.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: {key: str(given[key]["value"]) for key in SETTINGS if key in given}
        for name, given in found.items()
    }


def _create(admin: Any, topics: dict[str, dict[str, Any]], wait_ms: int) -> None:
    # Another process may create the same at the same time: it asks for the same settings.
    with suppress(TopicAlreadyExistsError):
        admin.create_topics(topics)
    admin.wait_for_topics(list(topics), timeout_ms=wait_ms)
    logger.info("created topics %s", ", ".join(sorted(topics)))


def _facts(topic: str, found: Mapping[str, Any], settings: Mapping[str, str]) -> TopicFacts:
    partitions = found["partitions"]
    return TopicFacts(
        topic=topic,
        name=found["name"],
        identity=str(found["topic_id"]),
        partitions=len(partitions),
        replication=min((len(one["replica_nodes"]) for one in partitions), default=0),
        leaderless=sum(one["leader_id"] < 0 for one in partitions),
        under_replicated=sum(
            len(one["isr_nodes"]) < len(one["replica_nodes"]) for one in partitions
        ),
        settings=dict(settings),
    )
