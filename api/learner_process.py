"""The learner process: folds the partitions it owns into state and commits it."""

from __future__ import annotations

import sys
import threading

from api.backends import open_log, open_membership, open_store
from api.children import run_child
from api.learning_metrics import LearningWatch
from api.settings import Settings
from engine.warm_up import warm_up
from streams.config import EngineConfig
from streams.host import Host, Pace
from streams.learner import Learner
from streams.warm_up import warm_up_fold

__all__ = ["main"]


def main() -> int:
    """Learn until told to stop; returns the exit code."""
    return run_child(_learn)


def _learn(settings: Settings, stop: threading.Event) -> None:
    config = EngineConfig.from_dict(settings.engine_settings())
    log, store = open_log(settings), open_store(settings)
    try:
        warm_up_fold()
        for name, policy in config.policies.items():
            warm_up(policy.build(name))
        pace = Pace(
            shortest=settings.commit_interval_ms / 1000,
            bytes_per_second=settings.commit_bytes_per_second,
        )

        def make(topic: str, partition: int) -> Learner:
            return Learner(log, store, config, topic=topic, partition=partition)

        Host(make, open_membership(settings, log), pace=pace, watch=LearningWatch()).run(stop)
    finally:
        store.close()
        log.close()


if __name__ == "__main__":
    sys.exit(main())
