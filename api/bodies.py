"""Reading requests and writing replies: raw bodies in, msgspec out."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.problems import KINDS, ProblemError

__all__ = ["read_body", "reply_bytes", "reply_json", "reply_problem"]

_ENCODER = msgspec.json.Encoder()


async def read_body(request: Request, limit: int) -> bytes:
    """Read a body of at most ``limit`` bytes; what goes beyond is not read.

    Raises
    ------
    ProblemError
        ``body-too-large``.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect as error:
        raise ProblemError("bad-request", "the client hung up within the body") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_json(request: Request) -> None:
    """Raise ``ProblemError`` when the body is declared to be anything but JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Without it a web page could write to a service on its visitor's machine, unasked.
    if kind != "application/json":
        raise ProblemError(
            "unsupported-media-type", f"content type is {kind!r}; send application/json"
        )


def reply_bytes(body: bytes, status: int = 200) -> Response:
    """Answer with JSON that is encoded already."""
    return Response(body, status, media_type="application/json")


def reply_json(value: Any, status: int = 200) -> Response:
    """Answer with a struct as JSON."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def reply_problem(error: ProblemError, instance: str) -> Response:
    """Answer with a problem document."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.kind == "unauthenticated":
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        _ENCODER.encode(error.to_problem(instance)),
        KINDS[error.kind].status,
        headers=headers,
        media_type="application/problem+json",
    )


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        "body-too-large", f"the body is larger than {limit} bytes; send it in parts"
    )
