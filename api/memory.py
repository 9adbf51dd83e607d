"""Bounded memories of one worker: replies given to request ids, and events acknowledged."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

from api.problems import ProblemError

__all__ = ["RecentKeys", "RecentReplies"]


class _Reply(NamedTuple):
    request: object
    body: asyncio.Future[bytes]


class RecentReplies:
    """Replies by request id, so that a repeated request is answered alike and logged once.

    Parameters
    ----------
    capacity
        Replies kept; the oldest is forgotten first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._replies: OrderedDict[str, _Reply] = OrderedDict()

    async def once(self, key: str, request: object, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the reply kept under ``key``, or make it; repeats wait for the first.

        Raises
        ------
        ProblemError
            ``request-id-reused`` when the reply kept answers another request.
        """
        kept = self._replies.get(key)
        if kept is not None:
            if kept.request != request:
                raise ProblemError(
                    "request-id-reused",
                    f"request_id {key!r} was answered before, for another body",
                    pointer="/request_id",
                )
            return await asyncio.shield(kept.body)
        body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._replies[key] = _Reply(request, body)
        try:
            body.set_result(await make())
        except BaseException as error:
            self._replies.pop(key, None)
            if isinstance(error, Exception):
                body.set_exception(error)
                body.exception()  # marks it as seen: there may be no one else waiting
            else:
                body.cancel()
            raise
        while len(self._replies) > self._capacity:
            self._replies.popitem(last=False)
        return body.result()


class RecentKeys:
    """A bounded set that forgets its oldest members first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def add(self, key: Hashable) -> None:
        """Remember a key."""
        self._keys[key] = None
        if len(self._keys) > self._capacity:
            self._keys.popitem(last=False)
