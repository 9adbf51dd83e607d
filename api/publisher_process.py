"""The publisher process: follows what learners commit, here or elsewhere, and publishes views."""

from __future__ import annotations

import logging
import sys
import threading

from api.backends import open_store
from api.children import run_child
from api.learning_metrics import PublishingWatch
from api.settings import Settings
from engine.warm_up import warm_up
from streams.config import EngineConfig
from streams.publisher import Publisher
from streams.views import ViewWriter

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main() -> int:
    """Publish until told to stop; returns the exit code."""
    return run_child(_publish)


def _publish(settings: Settings, stop: threading.Event) -> None:
    config = EngineConfig.from_dict(settings.engine_settings())
    views = ViewWriter(settings.data_dir)
    store = open_store(settings)
    try:
        for name, policy in config.policies.items():
            warm_up(policy.build(name))
        Publisher(store, views, config, watch=PublishingWatch()).run(stop)
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
