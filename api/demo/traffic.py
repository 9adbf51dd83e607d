"""Visitors of a shop, browsing a service over HTTP and clicking what they like."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from api.client import Client, ClientError
from simulator.worlds.shop import Shop

__all__ = ["GROUPS", "Tally", "Traffic", "group_of"]

GROUPS = ("learner", "control")
POOL = "shop"
FLUSH_SECONDS = 0.05
MEAN_DELAY = 0.4  # seconds from slate to click
LONGEST_DELAY = 2.0
ARRIVAL_SECONDS = 0.5  # how often the shelves are looked at
DAY_SECONDS = 24.0
MOST_AT_ONCE = 64
LATENCIES_KEPT = 100_000
RESEND_SECONDS = 0.5
MOST_SENDINGS = 6


class _Click(NamedTuple):
    due: float
    number: int  # orders clicks due at once
    event: dict[str, Any]
    sendings: int = 0


@dataclass(slots=True)
class Tally:
    """What one group of visitors saw and did, by visitor."""

    slots: dict[int, int] = field(default_factory=dict)
    clicks: dict[int, int] = field(default_factory=dict)

    def add(self, visitor: int, slots: int, clicks: int) -> None:
        """Count one slate."""
        self.slots[visitor] = self.slots.get(visitor, 0) + slots
        self.clicks[visitor] = self.clicks.get(visitor, 0) + clicks

    def columns(self) -> tuple[list[float], list[float]]:
        """Clicks and slots, one entry a visitor."""
        return [self.clicks[visitor] for visitor in self.slots], list(
            map(float, self.slots.values())
        )


class Traffic:
    """Steady traffic: visits start at a fixed rate, whatever the service does.

    Parameters
    ----------
    rate
        Visits a second; fewer when 64 are under way already.
    visitors
        People in the world; each is in one group for ever.
    """

    def __init__(
        self,
        client: Client,
        shop: Shop,
        *,
        rate: float = 200.0,
        visitors: int = 2000,
        seed: int = 0,
    ) -> None:
        self.tallies = {group: Tally() for group in GROUPS}
        self.slates = 0
        self.events = 0
        self.errors: deque[str] = deque(maxlen=20)
        self.failed = 0
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._client = client
        self._shop = shop
        self._rate = rate
        self._visitors = visitors
        self._rng = np.random.default_rng([seed, 79])
        self._start_time = time.monotonic()
        self._groups = [group_of(seed, visitor) for visitor in range(visitors)]
        self._item_ids: tuple[str, ...] = ()
        self._outbox: list[_Click] = []
        self._number = itertools.count()
        self._running: set[asyncio.Task[None]] = set()

    async def open_shop(self) -> None:
        """Put the first items and the pool."""
        self._start_time = time.monotonic()
        await self._fill_shelves()

    async def run(self, stop: asyncio.Event) -> None:
        """Send visitors until told to stop; then let those under way finish."""
        clicks = asyncio.create_task(self._post_clicks(stop))
        arrivals = asyncio.create_task(self._add_items(stop))
        start, sent = time.monotonic(), 0
        while not stop.is_set():
            due = int((time.monotonic() - start) * self._rate)
            for _ in range(min(due - sent, MOST_AT_ONCE - len(self._running))):
                self._start(self._visit(int(self._rng.integers(self._visitors))))
            sent = due  # visits that found no room are not made up for
            await asyncio.sleep(1 / self._rate)
        while self._running:
            await asyncio.wait(self._running)
        arrivals.cancel()
        await clicks

    def _start(self, visit: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(visit)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _visit(self, number: int) -> None:
        group = self._groups[number]
        visitor = self._shop.visitor(number, hour=float(int(self._elapsed % DAY_SECONDS)))
        ask = {
            "recommender": group,
            "user_id": visitor.user_id,
            "context": visitor.context,
            "k": self._shop.slots,
            "pool": POOL,
        }
        start = time.perf_counter()
        slate = await self._expect(200, "POST", "/v1/slates", ask)
        if slate is None:
            return
        self.latencies_ms.append(1000 * (time.perf_counter() - start))
        shown = [slot["item_id"] for slot in slate["slate"]]
        clicked = self._shop.clicks(visitor, shown, self._rng)
        self.slates += 1
        self.tallies[group].add(number, len(shown), len(clicked))
        now = time.monotonic()
        for slot in clicked:
            delay = min(float(self._rng.exponential(MEAN_DELAY)), LONGEST_DELAY)
            event = {
                "type": "feedback",
                "event_id": str(slot),
                "request_id": slate["request_id"],
                "item_id": shown[slot],
                "slot": slot,
                "kind": "click",
            }
            heapq.heappush(self._outbox, _Click(now + delay, next(self._number), event))

    async def _post_clicks(self, stop: asyncio.Event) -> None:
        while self._outbox or self._running or not stop.is_set():
            due: list[_Click] = []
            while self._outbox and self._outbox[0].due <= time.monotonic() and len(due) < 1000:
                due.append(heapq.heappop(self._outbox))
            if due:
                await self._send_clicks(due)
            await asyncio.sleep(FLUSH_SECONDS)

    async def _send_clicks(self, due: list[_Click]) -> None:
        events = [click.event for click in due]
        if await self._expect(202, "POST", "/v1/events", events) is not None:
            self.events += len(due)
            return
        later = time.monotonic() + RESEND_SECONDS
        for click in due:  # their event ids make it safe to send them again
            if click.sendings + 1 < MOST_SENDINGS:
                again = click._replace(due=later, sendings=click.sendings + 1)
                heapq.heappush(self._outbox, again)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._start_time

    async def _add_items(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(ARRIVAL_SECONDS)
            await self._fill_shelves()

    async def _fill_shelves(self) -> None:
        present = self._shop.items_at(self._elapsed)
        if len(present) == len(self._item_ids):
            return
        for item_id in present[len(self._item_ids) :]:
            await self._expect(200, "PUT", f"/v1/items/{item_id}", {})
        await self._expect(200, "PUT", f"/v1/pools/{POOL}", {"item_ids": present})
        self._item_ids = present

    async def _expect(self, status: int, method: str, path: str, value: Any) -> Any:
        send = self._client.put if method == "PUT" else self._client.post
        try:
            reply = await send(path, value)
        except ClientError as error:
            self.failed += 1
            self.errors.append(str(error))
            return None
        if reply.status != status:
            self.failed += 1
            self.errors.append(f"{method} {path}: {reply.status} {reply.body[:300]!r}")
            return None
        return reply.json()


def group_of(seed: int, visitor: int) -> str:
    """Group of a visitor: a hash, so the same for ever and alike for all."""
    digest = hashlib.blake2b(f"{seed}/{visitor}".encode(), digest_size=1).digest()
    return GROUPS[digest[0] & 1]
