"""Log, store and group membership that the settings name: embedded files, or Kafka and SQL."""

from __future__ import annotations

import logging
from pathlib import Path

from api.settings import Settings
from engine.errors import ConfigError
from streams.config import EngineConfig
from streams.errors import UnfitTopicError
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.log.kafka import KafkaConfig, KafkaLog, KafkaMembership
from streams.log.sqlite import SqliteLog
from streams.membership import Membership, SoleOwner
from streams.states import build_policies, learns_in_order
from streams.store import Store

__all__ = ["kafka_config", "open_log", "open_membership", "open_store", "store_place"]

logger = logging.getLogger(__name__)


def kafka_config(settings: Settings) -> KafkaConfig | None:
    """Return what the settings say of Kafka, None when the log is embedded."""
    if not settings.log:
        if settings.kafka:
            raise ConfigError(
                f"[kafka] sets {min(settings.kafka)!r} and the log is embedded; "
                'set log = "kafka://host:port" or leave [kafka] out'
            )
        return None
    return KafkaConfig.from_url(settings.log, settings.kafka)


def open_log(settings: Settings) -> EventLog:
    """Open the log for reading and appending; topics of Kafka that are missing are created.

    Raises
    ------
    LogError
        When it cannot be reached, or a topic of it must not be learned from.
    ConfigError
        When the settings cannot work.
    """
    config = kafka_config(settings)
    if config is None:
        return SqliteLog(settings.data_dir / "log.db", durability=settings.durability)
    log = KafkaLog(config)
    try:
        _prepare_topics(log, EngineConfig.from_dict(settings.engine_settings()).longest_window_ms)
    except BaseException:
        log.close()
        raise
    return log


def _prepare_topics(log: KafkaLog, window_ms: int) -> None:
    for name in log.create_topics():
        logger.info("topic %s created", name)
    for finding in log.check_topics(window_ms):
        if finding.level == "error":
            raise UnfitTopicError(str(finding))
        logger.warning("%s", finding)


def store_place(settings: Settings) -> str | Path:
    """Where the state store is: a URL, or a file."""
    return settings.store or settings.data_dir / "state.db"


def open_store(settings: Settings) -> Store:
    """Open the state store; raises ``StoreError``."""
    return Store(store_place(settings), durability=settings.durability)


def open_membership(settings: Settings, log: EventLog) -> Membership:
    """Join the group of learners; with the embedded log, everything is ours."""
    topics = [EVENTS, OUTCOMES] if _learns_in_order(settings, log) else [EVENTS]
    config = kafka_config(settings)
    if config is not None:
        return KafkaMembership(config, topics)
    return SoleOwner([(topic, p) for topic in topics for p in range(log.partitions(topic))])


def _learns_in_order(settings: Settings, log: EventLog) -> bool:
    """Whether a policy cannot be added up over the partitions of events."""
    policies = build_policies(EngineConfig.from_dict(settings.engine_settings()))
    return log.partitions(EVENTS) > 1 and any(map(learns_in_order, policies.values()))
