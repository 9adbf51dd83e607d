"""Versions: how much of the log's events a view includes, as clients pass it back, and waiting.

A version is an opaque text, ``partition:offset`` pairs with commas between. A view includes it when
for each pair it includes every record of the partition before the offset.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from streams.log.base import Place

__all__ = [
    "MAX_LENGTH",
    "PATTERN",
    "Followers",
    "format_version",
    "includes",
    "merge_versions",
    "parse_version",
    "version_of",
]

PATTERN = "^[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18})*$"
MAX_LENGTH = 100_000

POLL_SECONDS = 0.01
SAMPLE_SECONDS = 0.01  # between two events that are timed
SAMPLES = 4096
COARSER = 100  # an event that waits is looked after every hundredth of its age

Offsets = Mapping[int, int]


def format_version(offsets: Offsets) -> str:
    """Write a version, its partitions in order; "" when there are none."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))


def parse_version(text: str) -> dict[int, int]:
    """Read a version that matches `PATTERN`."""
    return merge_versions(
        {int(partition): int(offset)}
        for partition, _, offset in (pair.partition(":") for pair in text.split(","))
    )


def merge_versions(versions: Iterable[Offsets]) -> dict[int, int]:
    """Return the least version that includes all of them."""
    merged: dict[int, int] = {}
    for version in versions:
        for partition, offset in version.items():
            merged[partition] = max(offset, merged.get(partition, 0))
    return merged


def version_of(places: Iterable[Place]) -> dict[int, int]:
    """Return the least version that includes the records at some places."""
    return merge_versions({place.partition: place.offset + 1} for place in places)


def includes(offsets: Offsets | None, version: Offsets) -> bool:
    """Whether a view up to ``offsets`` includes a version; no view includes none."""
    if offsets is None:
        return False
    return all(offsets.get(partition, 0) >= offset for partition, offset in version.items())


class _Sample(NamedTuple):
    place: Place
    since: float


class Followers:
    """What waits for views: slates that ask for a version, and events that are timed.

    One task looks at the current view for all of them, and only while there are any. For one
    event loop.

    Parameters
    ----------
    current
        Offsets of the view served from, None before the first.
    servable
        Told, of some events, the seconds from their acknowledgement to a view that includes them.
    """

    def __init__(
        self, current: Callable[[], Offsets | None], servable: Callable[[float], None]
    ) -> None:
        self._current = current
        self._servable = servable
        self._waiting: dict[asyncio.Future[None], Offsets] = {}
        self._samples: deque[_Sample] = deque()
        self._sampled = 0.0
        self._task: asyncio.Task[None] | None = None

    async def until(self, version: Offsets, seconds: float) -> bool:
        """Wait until the current view includes a version; False when ``seconds`` were too few."""
        if includes(self._current(), version):
            return True
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[met] = version
        self._follow()
        try:
            await asyncio.wait_for(met, seconds)
        except TimeoutError:
            return includes(self._current(), version)
        finally:
            self._waiting.pop(met, None)
        return True

    def acknowledged(self, places: Iterable[Place]) -> None:
        """Time one of these events, unless another was taken just now or many wait already."""
        now = time.monotonic()
        if now - self._sampled < SAMPLE_SECONDS or len(self._samples) >= SAMPLES:
            return
        for place in places:
            self._sampled = now
            self._samples.append(_Sample(place, now))
            self._follow()
            return

    async def close(self) -> None:
        """Stop looking; whoever waits waits in vain."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _follow(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        seen: Offsets | None = None
        while self._waiting or self._samples:
            offsets = self._current()
            if offsets is not None and offsets is not seen:
                seen = offsets
                self._meet(offsets)
            await asyncio.sleep(self._pause())

    def _meet(self, offsets: Offsets) -> None:
        for met, version in self._waiting.items():
            if includes(offsets, version) and not met.done():
                met.set_result(None)
        now = time.monotonic()
        left: deque[_Sample] = deque()
        for sample in self._samples:
            if offsets.get(sample.place.partition, 0) > sample.place.offset:
                self._servable(now - sample.since)
            else:
                left.append(sample)
        self._samples = left

    def _pause(self) -> float:
        if self._waiting or not self._samples:
            return POLL_SECONDS
        age = time.monotonic() - self._samples[0].since
        return min(max(age / COARSER, POLL_SECONDS), 1.0)
