"""What a topic must be for its log to be learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streams.log.base import CATALOGUE, EVENTS
from streams.log.kafka.config import KafkaConfig

__all__ = ["STAMP_REMEDY", "Finding", "TopicFacts", "check_topic_facts"]

STAMP_REMEDY = (
    "set message.timestamp.type=LogAppendTime on the topic, and move the log to a new topic if it "
    "holds records already: theirs stay as they are"
)


@dataclass(frozen=True, kw_only=True)
class TopicFacts:
    """What the broker says of a topic; ``settings`` are Kafka's own, as text."""

    topic: str
    name: str
    identity: str
    partitions: int
    replication: int
    leaderless: int
    under_replicated: int
    settings: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong with a topic. With an ``error`` nothing may start; a ``warning`` is a risk.

    ``code`` is one word: ``missing``, ``stamps``, ``retention``, ``cleanup``, ``partitions``,
    ``leader``, ``replicas`` or ``unclean``.
    """

    level: Literal["error", "warning"]
    topic: str
    code: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}; {self.remedy}"


def check_topic_facts(fact: TopicFacts, window_ms: int, config: KafkaConfig) -> list[Finding]:
    """What is wrong with a topic that exists.

    Parameters
    ----------
    window_ms
        The longest reward window: records must be kept for longer.
    """
    settings = fact.settings
    stamps = settings.get("message.timestamp.type")
    kept = int(settings.get("retention.ms", -1))
    policy = settings.get("cleanup.policy", "delete")
    insync = int(settings.get("min.insync.replicas", 1))
    wanted = 1 if fact.topic == CATALOGUE else config.partitions
    checks: list[tuple[bool, Literal["error", "warning"], str, str, str]] = [
        (stamps != "LogAppendTime", "error", "stamps", f"stamps are {stamps}", STAMP_REMEDY),
        (
            fact.topic != CATALOGUE and 0 <= kept <= window_ms,
            "error",
            "retention",
            f"records are kept for {kept} ms and the longest window is {window_ms} ms",
            "set retention.ms to several windows, or shorten the windows",
        ),
        (
            fact.topic == CATALOGUE and kept >= 0,
            "warning",
            "retention",
            f"items and users are kept for {kept} ms",
            "set retention.ms=-1, or put every item anew within that time",
        ),
        (
            policy != "delete",
            "error",
            "cleanup",
            f"cleanup.policy is {policy}, which drops records from the middle",
            "set cleanup.policy=delete",
        ),
        (
            fact.topic == CATALOGUE and fact.partitions != 1,
            "error",
            "partitions",
            f"it has {fact.partitions} partitions",
            "create the catalogue anew with one",
        ),
        (
            fact.topic == EVENTS and fact.partitions != wanted,
            "warning",
            "partitions",
            f"it has {fact.partitions} partitions and the settings say {wanted}",
            "the topic's number counts; write it into the settings",
        ),
        (
            fact.leaderless > 0,
            "error",
            "leader",
            f"{fact.leaderless} partitions have no leader",
            "bring their brokers back",
        ),
        (
            fact.under_replicated > 0,
            "warning",
            "replicas",
            f"{fact.under_replicated} partitions lack replicas",
            "bring their brokers back",
        ),
        (
            fact.replication >= 3 and insync < 2,
            "warning",
            "replicas",
            f"min.insync.replicas is {insync} of {fact.replication}",
            "set it to 2, or one lost disk may lose acknowledged records",
        ),
        (
            settings.get("unclean.leader.election.enable") == "true",
            "warning",
            "unclean",
            "unclean leader elections are allowed",
            "forbid them, or acknowledged records may be lost",
        ),
    ]
    return [
        Finding(level=level, topic=fact.name, code=code, what=what, remedy=remedy)
        for wrong, level, code, what, remedy in checks
        if wrong
    ]
