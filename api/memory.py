"""Bounded memories of one worker: replies given to request ids, and events acknowledged."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from api.problems import ProblemError

__all__ = ["RecentKeys", "RecentReplies"]

MAX_BYTES = 64 << 20
T = TypeVar("T")


class _Reply(NamedTuple):
    request: bytes  # digest
    body: bytes


class _Making(NamedTuple):
    request: bytes
    body: asyncio.Future[bytes]


class RecentReplies:
    """Replies by request id, so that a repeated request is answered alike and logged once.

    Parameters
    ----------
    capacity
        Replies kept, as long as they take no more than 64 MiB; the oldest is forgotten first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0  # bytes of the replies kept
        self._replies: OrderedDict[str, _Reply] = OrderedDict()
        self._making: dict[str, _Making] = {}  # never forgotten: a repeat must wait for its first

    def __len__(self) -> int:
        return len(self._replies)

    async def once(self, key: str, request: bytes, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the reply kept under ``key``, or make it; repeats wait for the first.

        ``request`` is a digest of what is asked.

        Raises
        ------
        ProblemError
            ``request-id-reused`` when the reply kept answers another request.
        """
        kept = self._replies.get(key)
        making = self._making.get(key)
        known = kept or making
        if known is not None and known.request != request:
            raise ProblemError(
                "request-id-reused",
                f"request_id {key!r} was answered before, for another body",
                pointer="/request_id",
            )
        if kept is not None:
            return kept.body
        if making is not None:
            return await asyncio.shield(making.body)
        body = await self._make(key, request, make)
        self._keep(key, _Reply(request, body))
        return body

    async def _make(self, key: str, request: bytes, make: Callable[[], Awaitable[bytes]]) -> bytes:
        body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._making[key] = _Making(request, body)
        try:
            body.set_result(await make())
        except BaseException as error:
            if isinstance(error, Exception):
                body.set_exception(error)
                body.exception()  # marks it as seen: there may be no one else waiting
            else:
                body.cancel()
            raise
        finally:
            del self._making[key]
        return body.result()

    def _keep(self, key: str, reply: _Reply) -> None:
        self._replies[key] = reply
        self._size += len(reply.body)
        while len(self._replies) > self._capacity or self._size > MAX_BYTES:
            _, oldest = self._replies.popitem(last=False)
            self._size -= len(oldest.body)


class RecentKeys(Generic[T]):
    """A bounded map that forgets its oldest keys first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Hashable, T] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def __getitem__(self, key: Hashable) -> T:
        return self._values[key]

    def add(self, key: Hashable, value: T) -> None:
        """Remember a key."""
        self._values[key] = value
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)
