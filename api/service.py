"""What an API worker holds: the log, the catalogue, the current view, keys and memories."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence

from api.auth import Keyring
from api.backends import open_log
from api.memory import RecentKeys, RecentReplies
from api.metrics import Gauged, MeteredLog, Metrics, Reading
from api.problems import ProblemError
from api.ranking import Ranker
from api.settings import Settings
from api.shortlist import make_shortlists
from api.supervisor import STATUS_FILE
from api.versions import Followers, format_version
from streams.catalogue import Catalogue
from streams.config import EngineConfig
from streams.errors import LogError, StoreError
from streams.log.appender import Appender
from streams.log.base import CATALOGUE, EVENTS, Place
from streams.vector_features import open_vectors
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

    Attributes
    ----------
    version
        What the view that `view` returned last includes, as text.

    Raises
    ------
    ConfigError
        When the configured policies cannot be built, or a set of vectors that one reads is not
        there.
    LogError
        When the log cannot be opened.
    """

    def __init__(self, settings: Settings, *, first_view: int = 1) -> None:
        self._first_view = first_view
        self.settings = settings
        self.config = EngineConfig.from_dict(settings.engine_settings())
        schemas = [policy.schema for policy in self.config.policies.values()]
        self._vectors = open_vectors(schemas, settings.data_dir)
        self.shortlists = make_shortlists(settings, self.config)
        self.keyring = Keyring(settings.keys)
        self.log = open_log(settings)
        self.metrics = Metrics()
        self.appender = Appender(MeteredLog(self.log, self.metrics))
        self.catalogue = Catalogue(self.log)
        self.views = ViewReader(settings.data_dir)
        self.followers = Followers(
            lambda: view.offsets if (view := self.view()) else None, self.metrics.servable.observe
        )
        self._last_view: View | None = None
        self._view_failing = False
        self._view_since = time.monotonic()
        self.version = ""
        self.replies = RecentReplies(settings.remember_requests)
        self.events_seen: RecentKeys[Place] = RecentKeys(settings.remember_events)
        self._ranker: Ranker | None = None
        self._log_failing = False
        self._partitions = 0  # not asked for yet
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
        await self.followers.close()
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
            if not self._view_failing:
                logger.warning("%s", error)
            self._view_failing = True
            return self._last_view
        self._view_failing = False
        if view is not self._last_view:
            self._last_view = view
            self._view_since = time.monotonic()
            self.version = format_version(view.offsets) if view else ""
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
                logger.warning("records are refused: %s", error, extra={"topic": topic})
            self._log_failing = True
            raise
        self._log_failing = False
        if topic == EVENTS:
            self.followers.acknowledged(places)
        elif topic == CATALOGUE:
            with contextlib.suppress(LogError):  # committed; the next refresh will read it
                self.catalogue.refresh()
        return places

    def _load_kernels(self) -> None:
        try:
            ranker = Ranker(self.config, self.catalogue, self._vectors)
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

    async def partitions(self) -> int:
        """Return how many partitions events have; raises ``LogError``."""
        return self._partitions or await asyncio.to_thread(self._count_partitions)

    async def ends(self) -> dict[int, int]:
        """Offset of the next event by partition; raises ``LogError``."""
        return await asyncio.to_thread(self._ends)  # a broker may take its time

    async def page(self) -> bytes:
        """Return the page of metrics."""
        ends: dict[int, int] | None = None
        with contextlib.suppress(LogError):  # the page says so by what it lacks
            ends = await self.ends()
        reading = Reading(self._gauges(self.view(), ends), self._counts(), self._restarts())
        return await asyncio.to_thread(self.metrics.page, reading)

    def _ends(self) -> dict[int, int]:
        return {part: self.log.end(EVENTS, part) for part in range(self._count_partitions())}

    def _count_partitions(self) -> int:
        if not self._partitions:
            self._partitions = self.log.partitions(EVENTS)
        return self._partitions

    def _counts(self) -> dict[str, dict[str, int]]:
        view = self.view()
        return view.counts.to_dict() if view else {}

    def _gauges(self, view: View | None, ends: Mapping[int, int] | None) -> dict[str, Gauged]:
        ready = float(not self.missing)
        gauges = {
            "ready": Gauged("1 when slates are chosen by the policies", ready),
            "append_waiting": Gauged(
                "Records submitted and not yet appended", self.appender.waiting
            ),
            "catalogue_version": Gauged("Catalogue records folded in", self.catalogue.version),
        }
        if view is None:
            return gauges
        age = time.monotonic() - self._view_since
        gauges["view_version"] = Gauged("Number of the view served from", view.version)
        gauges["view_age_seconds"] = Gauged("Time since this worker took up the view", age)
        gauges["view_offset"] = Gauged("Events the view includes", sum(view.offsets.values()))
        gauges["view_partition_offset"] = Gauged(
            "Offset of a partition up to which the view includes it", view.offsets
        )
        gauges["view_partition_timestamp_seconds"] = Gauged(
            "The log's stamp of the newest event of a partition that the view includes; Unix time",
            {part: clock / 1000 for part, clock in view.clocks.items()},
        )
        if ends is not None:
            lags = {part: max(end - view.offsets.get(part, 0), 0) for part, end in ends.items()}
            gauges["view_lag_events"] = Gauged(
                "Events in the log that the view does not include yet", sum(lags.values())
            )
            gauges["view_partition_lag_events"] = Gauged(
                "Events of a partition in the log that the view does not include yet", lags
            )
        return gauges

    def _restarts(self) -> dict[str, int]:
        try:
            status = json.loads((self.settings.data_dir / STATUS_FILE).read_text(encoding="utf-8"))
            return {name: child["restarts"] for name, child in status["children"].items()}
        except (OSError, ValueError, KeyError):
            return {}  # not run by a supervisor, or it is writing
