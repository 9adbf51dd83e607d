"""A small asynchronous HTTP client for the service: keep-alive connections, JSON, little cost.

It speaks as much HTTP/1.1 as the service answers (status line, headers, Content-Length), so that
a load generator on the same machine does not eat the processor it measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from api.versions import format_version, merge_versions, parse_version
from engine.errors import SlatestreamError

__all__ = ["Client", "ClientError", "Reply"]


class ClientError(SlatestreamError):
    """The service could not be reached, or hung up before it answered."""


class Reply(NamedTuple):
    """Status and body of a reply."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)


IDLE_SECONDS = 3.0  # servers hang up on idle connections, often after five

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Connections to one service, reused; as many as there are requests at a time.

    Parameters
    ----------
    key
        API key sent with every request.

    Not for several event loops at once.

    Attributes
    ----------
    version
        The least version that includes all events sent by `post_events`; "" before the first.
    """

    def __init__(self, host: str, port: int, *, key: str | None = None) -> None:
        self._host = host
        self._port = port
        self._head = f"Host: {host}:{port}\r\nContent-Type: application/json\r\n"
        if key:
            self._head += f"Authorization: Bearer {key}\r\n"
        self._idle: list[tuple[float, _Connection]] = []
        self.version = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def get(self, path: str) -> Reply:
        """GET a path; raises ``ClientError``."""
        return await self.send("GET", path, b"")

    async def post(self, path: str, value: Any) -> Reply:
        """POST a value as JSON; raises ``ClientError``."""
        return await self.send("POST", path, msgspec.json.encode(value))

    async def post_events(self, events: Any) -> Reply:
        """POST one event or a list of them, and note their version; raises ``ClientError``."""
        reply = await self.post("/v1/events", events)
        known = [text for text in (self.version, _version(reply)) if text]
        if known:
            self.version = format_version(merge_versions(map(parse_version, known)))
        return reply

    async def post_slate(self, request: Mapping[str, Any], *, own_writes: bool = False) -> Reply:
        """POST a request for a slate; raises ``ClientError``.

        With ``own_writes`` its learned state includes the events sent before by `post_events`;
        the reply has status 409 when that takes the service too long.
        """
        asked = {"min_version": self.version} if own_writes and self.version else {}
        return await self.post("/v1/slates", {**request, **asked})

    async def put(self, path: str, value: Any) -> Reply:
        """PUT a value as JSON; raises ``ClientError``."""
        return await self.send("PUT", path, msgspec.json.encode(value))

    async def send(self, method: str, path: str, body: bytes) -> Reply:
        """Send one request and wait for its reply.

        Raises
        ------
        ClientError
            When there is no reply. Whether the request was carried out is then unknown.
        """
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        connection: _Connection | None = None
        try:
            connection = self._reuse() or await self._connect()
            reader, writer = connection
            writer.write(head.encode() + body)
            reply, keep = await _read_reply(reader)
        except (OSError, EOFError, ValueError, IndexError) as error:
            if connection:
                connection[1].close()
            raise ClientError(
                f"no reply from {self._host}:{self._port} to {method} {path}: {error!r}"
            ) from error
        except BaseException:
            if connection:  # cut off half way: what is left in it belongs to no one
                connection[1].close()
            raise
        if keep:
            self._idle.append((time.monotonic(), connection))
        else:
            writer.close()
        return reply

    async def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            _, (_, writer) = self._idle.pop()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _reuse(self) -> _Connection | None:
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not connection[0].at_eof():
                return connection
            connection[1].close()
        return None

    async def _connect(self) -> _Connection:
        return await asyncio.open_connection(self._host, self._port)


def _version(reply: Reply) -> str:
    return str(reply.json().get("version", "")) if reply.status in {202, 207} else ""


async def _read_reply(reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    length, keep = 0, True
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name == "content-length":
            length = int(value)
        elif name == "connection" and value.strip() == "close":
            keep = False
    return Reply(status, await reader.readexactly(length) if length else b""), keep
