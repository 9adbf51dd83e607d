"""What an API worker holds: the log, the catalogue, the current view, keys and memories."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Sequence

from api.auth import Keyring
from api.backends import open_log
from api.memory import RecentKeys, RecentReplies
from api.metrics import Figures, MeteredLog, Metrics, Reading
from api.problems import ProblemError
from api.ranking import Ranker
from api.settings import Settings
from api.supervisor import STATUS_FILE
from streams.catalogue import Catalogue
from streams.config import EngineConfig
from streams.errors import LogError, StoreError
from streams.log.appender import Appender
from streams.log.base import CATALOGUE, Place
from streams.views import View, ViewReader

__all__ = ["Service"]

CATALOGUE_SECONDS = 0.25  # how old another writer's item may be here

logger = logging.getLogger(__name__)


class Service:
    """Everything the routes work with.

    Parameters
    ----------
    first_view
        Views from this on were published since the service started: its state is restored.

    Raises
    ------
    ConfigError
        When the configured policies cannot be built.
    LogError
        When the log cannot be opened.
    """

    def __init__(self, settings: Settings, *, first_view: int = 1) -> None:
        self._first_view = first_view
        self.settings = settings
        self.config = EngineConfig.from_dict(settings.engine_settings())
        self.keyring = Keyring(settings.keys)
        self.log = open_log(settings)
        self.metrics = Metrics()
        self.appender = Appender(MeteredLog(self.log, self.metrics))
        self.catalogue = Catalogue(self.log)
        self.views = ViewReader(settings.data_dir)
        self._last_view: View | None = None
        self._view_since = time.monotonic()
        self.replies = RecentReplies(settings.remember_requests)
        self.events_seen = RecentKeys(settings.remember_events)
        Figures(self._figures, self.metrics.registry)
        self._ranker: Ranker | None = None
        self._log_failing = False
        self._refresher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Fold the catalogue and load the kernels, the latter while others are answered."""
        self.catalogue.refresh()
        threading.Thread(target=self._load_kernels, name="load-kernels", daemon=True).start()
        self._refresher = asyncio.create_task(self._refresh_catalogue())

    async def close(self) -> None:
        """Commit what waits and close the files."""
        if self._refresher:
            self._refresher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refresher
        await asyncio.to_thread(self.appender.close)
        self.log.close()

    @property
    def ranker(self) -> Ranker:
        """The ranker; ``ProblemError`` ``starting`` while kernels are being loaded."""
        if self._ranker is None:
            raise ProblemError("starting", "kernels are still being loaded", retry_after=1)
        return self._ranker

    def view(self) -> View | None:
        """Return the newest published view, None before the first.

        A view that cannot be read is passed over: serving goes on from the one before.
        """
        try:
            view = self.views.current()
        except StoreError as error:
            logger.warning("%s", error)
            return self._last_view
        if view is not self._last_view:
            self._last_view = view
            self._view_since = time.monotonic()
        return view

    @property
    def missing(self) -> list[str]:
        """What readiness still waits for."""
        view = self.view()
        restored = view is not None and view.version >= self._first_view
        waits = {"kernels": self._ranker is None, "view": not restored}
        return [name for name, waiting in waits.items() if waiting]

    async def append(self, topic: str, entries: Sequence[tuple[str, bytes]]) -> list[Place]:
        """Append records and wait for their commit; raises ``LogError``."""
        try:
            places = await asyncio.wrap_future(self.appender.submit_many(topic, entries))
        except LogError as error:
            if not self._log_failing:
                logger.warning("records are refused: %s", error)
            self._log_failing = True
            raise
        self._log_failing = False
        if topic == CATALOGUE:
            with contextlib.suppress(LogError):  # committed; the next refresh will read it
                self.catalogue.refresh()
        return places

    def _load_kernels(self) -> None:
        try:
            ranker = Ranker(self.config, self.catalogue)
            ranker.warm_up()
            self._ranker = ranker
        except Exception:
            logger.exception("kernels cannot be loaded; the service stays unready")
        else:
            logger.info("kernels loaded")

    async def _refresh_catalogue(self) -> None:
        while True:
            await asyncio.sleep(CATALOGUE_SECONDS)
            try:
                self.catalogue.refresh()
            except Exception:
                logger.exception("catalogue cannot be refreshed; trying again")

    def _figures(self) -> Reading:
        view = self.view()
        gauges: dict[str, tuple[float, str]] = {
            "ready": (float(not self.missing), "1 when slates are chosen by the policies"),
            "append_waiting": (self.appender.waiting, "Records submitted and not yet appended"),
            "catalogue_version": (self.catalogue.version, "Catalogue records folded in"),
        }
        if view is None:
            return Reading(gauges, {}, self._restarts())
        gauges["view_version"] = (view.version, "Number of the view served from")
        gauges["view_age_seconds"] = (
            time.monotonic() - self._view_since,
            "Time since this worker took up the view",
        )
        gauges["view_offset"] = (sum(view.offsets.values()), "Events the view includes")
        gauges["view_lag_events"] = (
            self.log.end("events") - sum(view.offsets.values()),
            "Events in the log that the view does not include yet",
        )
        return Reading(gauges, view.counts.to_dict(), self._restarts())

    def _restarts(self) -> dict[str, int]:
        try:
            status = json.loads((self.settings.data_dir / STATUS_FILE).read_text(encoding="utf-8"))
            return {name: child["restarts"] for name, child in status["children"].items()}
        except (OSError, ValueError, KeyError):
            return {}  # not run by a supervisor, or it is writing
