"""The learner process: folds the log into state, commits it and publishes views."""

from __future__ import annotations

import logging
import sys
import threading

from api.children import (
    EXIT_CONFIG,
    receive_settings,
    start_logging,
    stop_on_signals,
    watch_supervisor,
)
from api.settings import Settings
from engine.errors import ConfigError, SlatestreamError
from engine.warm_up import warm_up
from streams.config import EngineConfig
from streams.learner import Learner
from streams.log.sqlite import SqliteLog
from streams.store import Store
from streams.views import ViewWriter

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main() -> int:
    """Learn until told to stop; returns the exit code."""
    start_logging("learner")
    stop = threading.Event()
    stop_on_signals(stop.set)
    try:
        settings = receive_settings()
        watch_supervisor(stop.set)
        _learn(settings, stop)
    except ConfigError as error:
        sys.stderr.write(f"slatestream: {error}\n")
        return EXIT_CONFIG
    except SlatestreamError as error:
        logger.error("stopped: %s", error)  # noqa: TRY400  (expected: no traceback)
        return 1
    return 0


def _learn(settings: Settings, stop: threading.Event) -> None:
    config = EngineConfig.from_dict(settings.engine_settings())
    folder, durability = settings.data_dir, settings.durability
    log = SqliteLog(folder / "log.db", durability=durability)
    store = Store(folder / "state.db", durability=durability)
    try:
        for name, policy in config.policies.items():
            warm_up(policy.build(name))
        learner = Learner(log, store, ViewWriter(folder), config)
        learner.start()
        logger.info("restored up to offset %d", learner.next_offset)
        learner.run(stop, settings.commit_interval_ms / 1000)
    finally:
        store.close()
        log.close()


if __name__ == "__main__":
    sys.exit(main())
