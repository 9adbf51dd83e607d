"""Visitors that keep a service busy from a thread of their own, and remember its promises."""

import asyncio
import random
import threading
import uuid

from api.client import Client, ClientError


class Load:
    """Slates asked for and clicks sent, until stopped; what was acknowledged is kept.

    A click that was not acknowledged is sent again, as a careful client would. A slate is not:
    whether it was logged is unknown, and nobody saw it.
    """

    def __init__(self, running, *, visitors=4, seed=0, users=0):
        self.running = running
        self.slates = {}  # request_id -> item ids, acknowledged
        self.clicks = set()  # (request_id, event_id), acknowledged
        self.resent = 0
        self.errors = []
        self._seed = seed
        self._visitors = visitors
        self._users = users  # that ask, some more often than others; 0 for slates of nobody
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    async def _run(self):
        await asyncio.gather(*(self._visit(number) for number in range(self._visitors)))

    async def _visit(self, number):
        rng = random.Random(f"{self._seed}/{number}")
        client = None
        port = None
        while not self._stop.is_set():
            try:
                if port != self.running.port:
                    port = self.running.port
                    client = Client("127.0.0.1", port)
                await self._browse(client, rng)
            except (ClientError, OSError, ValueError, KeyError):
                await asyncio.sleep(0.05)  # being killed, or coming back
        if client:
            await client.close()

    async def _browse(self, client, rng):
        name = rng.choice(["default", "control"])
        ask = {"k": 2, "pool": "base", "recommender": name}
        if self._users:
            ask["user_id"] = f"u{int(self._users * rng.random() ** 2)}"
        reply = await client.post("/v1/slates", ask)
        if not self._fine(reply, 200):
            await asyncio.sleep(0.05)
            return
        slate = reply.json()
        shown = [slot["item_id"] for slot in slate["slate"]]
        self.slates[slate["request_id"]] = shown
        if rng.random() < 0.5:
            await self._click(client, slate["request_id"], rng.choice(shown))
        await asyncio.sleep(rng.random() * 0.01)

    async def _click(self, client, request_id, item_id):
        event = {"type": "feedback", "event_id": uuid.uuid4().hex, "request_id": request_id}
        event |= {"item_id": item_id, "kind": "click"}
        for _ in range(200):
            try:
                if self._fine(await client.post("/v1/events", event), 202):
                    self.clicks.add((request_id, event["event_id"]))
                    return
            except ClientError:
                self.resent += 1
            await asyncio.sleep(0.05)

    def _fine(self, reply, status):
        if reply.status not in {status, 503}:
            self.errors.append(reply)
        return reply.status == status
