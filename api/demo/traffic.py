"""Visitors of a shop, browsing a service over HTTP and clicking what they like."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from api.client import Client, ClientError

__all__ = ["GROUPS", "Shop", "Tally", "Traffic"]

GROUPS = ("learner", "control")
POOL = "shop"
SLOTS = 5
FLUSH_SECONDS = 0.05
MEAN_DELAY = 0.4  # seconds from slate to click
LONGEST_DELAY = 2.0
ARRIVAL_SECONDS = 4.0
MOST_AT_ONCE = 64
LATENCIES_KEPT = 100_000


class Shop(Protocol):
    """What visitors are like, and what they click."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Items on sale at the start."""
        ...

    def context(self, visitor: int) -> Mapping[str, float | str]:
        """Features of a visitor that a recommender may see."""
        ...

    def new_item(self) -> str | None:
        """Return the next item to arrive, None when there are no more."""
        ...

    def clicks(self, visitor: int, slate: Sequence[str], rng: random.Random) -> list[int]:
        """Slots a visitor clicks on."""
        ...


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
        visitors: int = 4000,
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
        self._rng = random.Random(seed)  # noqa: S311
        self._groups = [_group(seed, visitor) for visitor in range(visitors)]
        self._item_ids = list(shop.item_ids)
        self._outbox: list[tuple[float, int, dict[str, Any]]] = []
        self._number = itertools.count()
        self._running: set[asyncio.Task[None]] = set()

    async def open_shop(self) -> None:
        """Put the first items and the pool."""
        for item_id in self._item_ids:
            await self._expect(200, "PUT", f"/v1/items/{item_id}", {})
        await self._put_pool()

    async def run(self, stop: asyncio.Event) -> None:
        """Send visitors until told to stop; then let those under way finish."""
        clicks = asyncio.create_task(self._post_clicks(stop))
        arrivals = asyncio.create_task(self._add_items(stop))
        start, sent = time.monotonic(), 0
        while not stop.is_set():
            due = int((time.monotonic() - start) * self._rate)
            for _ in range(min(due - sent, MOST_AT_ONCE - len(self._running))):
                self._start(self._visit(self._rng.randrange(self._visitors)))
            sent = due  # visits that found no room are not made up for
            await asyncio.sleep(1 / self._rate)
        while self._running:
            await asyncio.wait(self._running)
        arrivals.cancel()
        await clicks

    def _start(self, visit: Any) -> None:
        task = asyncio.create_task(visit)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _visit(self, visitor: int) -> None:
        group = self._groups[visitor]
        ask = {
            "recommender": group,
            "user_id": f"visitor-{visitor}",
            "context": self._shop.context(visitor),
            "k": SLOTS,
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
        self.tallies[group].add(visitor, len(shown), len(clicked))
        now = time.monotonic()
        for slot in clicked:
            delay = min(self._rng.expovariate(1 / MEAN_DELAY), LONGEST_DELAY)
            event = {
                "type": "feedback",
                "event_id": str(slot),
                "request_id": slate["request_id"],
                "item_id": shown[slot],
                "slot": slot,
                "kind": "click",
            }
            heapq.heappush(self._outbox, (now + delay, next(self._number), event))

    async def _post_clicks(self, stop: asyncio.Event) -> None:
        while self._outbox or self._running or not stop.is_set():
            due: list[dict[str, Any]] = []
            while self._outbox and self._outbox[0][0] <= time.monotonic() and len(due) < 1000:
                due.append(heapq.heappop(self._outbox)[2])
            if due and await self._expect(202, "POST", "/v1/events", due) is not None:
                self.events += len(due)
            await asyncio.sleep(FLUSH_SECONDS)

    async def _add_items(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(ARRIVAL_SECONDS)
            item_id = self._shop.new_item()
            if item_id is None:
                return
            await self._expect(200, "PUT", f"/v1/items/{item_id}", {})
            self._item_ids.append(item_id)
            await self._put_pool()

    async def _put_pool(self) -> None:
        await self._expect(200, "PUT", f"/v1/pools/{POOL}", {"item_ids": self._item_ids})

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


def _group(seed: int, visitor: int) -> str:
    digest = hashlib.blake2b(f"{seed}/{visitor}".encode(), digest_size=1).digest()
    return GROUPS[digest[0] & 1]
