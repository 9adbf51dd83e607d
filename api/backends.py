"""Log, store and group membership that the settings name: embedded files, or Kafka and SQL."""

from __future__ import annotations

from api.settings import Settings
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.log.sqlite import SqliteLog
from streams.membership import Membership, SoleOwner
from streams.store import Store

__all__ = ["open_log", "open_membership", "open_store"]


def open_log(settings: Settings) -> EventLog:
    """Open the log for reading and appending; raises ``LogError`` or ``ConfigError``."""
    return SqliteLog(settings.data_dir / "log.db", durability=settings.durability)


def open_store(settings: Settings) -> Store:
    """Open the state store; raises ``StoreError``."""
    where = settings.store or settings.data_dir / "state.db"
    return Store(where, durability=settings.durability)


def open_membership(settings: Settings, log: EventLog) -> Membership:
    """Join the group of learners; alone, every partition is ours."""
    del settings
    topics = [(topic, log.partitions(topic)) for topic in (EVENTS, OUTCOMES)]
    return SoleOwner([(topic, p) for topic, count in topics for p in range(count)])
