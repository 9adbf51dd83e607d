"""Watches over policies' rewards, and the records that a fall leads to."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from engine.drift import RewardWatch
from streams.config import EngineConfig, Forgetting
from streams.events import encode_event
from streams.log.base import EventLog

__all__ = ["log_drift", "make_watches"]

logger = logging.getLogger(__name__)


def make_watches(config: EngineConfig) -> dict[str, RewardWatch]:
    """Start a watch for every policy that shall have one, by the policy's name."""
    return {
        name: RewardWatch(policy.drift)
        for name, policy in config.policies.items()
        if policy.drift is not None
    }


def log_drift(
    log: EventLog, topic: str, partition: int, watches: Mapping[str, RewardWatch]
) -> None:
    """Log what policies whose rewards fell shall forget; it is done when it is read back.

    Raises
    ------
    LogError
        When it cannot be logged; calling again tries again.
    """
    for name, watch in watches.items():
        if not watch.fell or watch.told:
            continue
        halvings = watch.drift.halvings if watch.drift.action == "decay" else 0
        forgetting = Forgetting(policy=name, halvings=halvings, cause=watch.drift.detector)
        record = forgetting.to_control(log.now_ms())
        (place,) = log.append(topic, [("control", encode_event(record))], partition)
        watch.told = True
        logger.warning(
            "rewards of policy %r fell: %s is logged",
            name,
            record.change,
            extra={"topic": topic, "policy": name, **place._asdict()},
        )
