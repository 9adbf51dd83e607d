"""Routes whose handlers take the raw request, described in OpenAPI by their msgspec structs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.auth import Keyring
from api.problems import Problem, ProblemError

__all__ = ["Handler", "RawRoute", "add_route", "install_openapi"]

Handler = Callable[[Request], Awaitable[Response]]

REFERENCE = "#/components/schemas/{name}"


class RawRoute(APIRoute):
    """A route that hands its endpoint the request as it came: no dependencies to solve."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint itself."""
        return self.endpoint


def add_route(
    app: FastAPI,
    method: str,
    path: str,
    handler: Handler,
    *,
    keyring: Keyring | None = None,
    scope: str = "serve",
    body: Any = None,
    query: dict[str, str] | None = None,
    replies: dict[int, Any] | None = None,
    problems: Sequence[int] = (),
) -> None:
    """Add a route.

    Parameters
    ----------
    keyring, scope
        Keys that open the route, and the scope they need; None opens it to everyone.
    body
        Type of the request's body; a dict gives one for each content type.
    query
        Name and meaning of each optional query parameter.
    replies
        Type of the reply for each status; None is an empty reply, a string a media type.
    problems
        Statuses answered with a problem document.
    """

    async def guarded(request: Request) -> Response:
        _check_path(request.scope.get("raw_path") or b"")
        if keyring:
            server = request.scope.get("server")
            keyring.refuse_foreign(request.headers, server[0] if server else "")
            keyring.authorize(request.headers, scope)
        return await handler(request)

    replies = replies or {200: None}
    extra: dict[str, Any] = {
        "responses": _responses(replies, problems),
        "parameters": _parameters(path, query or {}),
    }
    if body is not None:
        types = body if isinstance(body, dict) else {"application/json": body}
        content = {kind: {"schema": _schema(each)} for kind, each in types.items()}
        extra["requestBody"] = {"required": True, "content": content}
    if keyring:
        extra["security"] = [{"bearer": []}, {"key": []}]
    app.router.add_api_route(
        path,
        guarded,
        methods=[method],
        name=handler.__name__,
        operation_id=handler.__name__,
        summary=(handler.__doc__ or "").strip().partition("\n")[0],
        status_code=next(iter(replies)),
        response_class=Response,
        openapi_extra=extra,
        route_class_override=RawRoute,
    )


def install_openapi(app: FastAPI, types: Sequence[Any]) -> None:
    """Let ``app.openapi()`` describe raw routes with the schemas of ``types``."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            _, schemas = msgspec.json.schema_components([*types, Problem], ref_template=REFERENCE)
            components = described.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas)
            components["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _check_path(raw: bytes) -> None:
    # What was decoded of it holds U+FFFD in place of the broken bytes: another id.
    if b"%" not in raw:
        return
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise ProblemError("bad-encoding", f"the path is not UTF-8: {error}") from error
    if "\0" in path:
        raise ProblemError("bad-encoding", "the path holds the character NUL; no id does")


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=REFERENCE)
    return schema


def _responses(replies: dict[int, Any], problems: Sequence[int]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in replies.items():
        told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if isinstance(kind, str):
            told["content"] = {kind: {"schema": {"type": "string"}}}
        elif kind is not None:
            told["content"] = {"application/json": {"schema": _schema(kind)}}
        responses[str(status)] = told
    problem = {"application/problem+json": {"schema": _schema(Problem)}}
    for status in problems:
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    return responses


def _parameters(path: str, query: dict[str, str]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"{(\w+)(?::\w+)?}", path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "description": told, "schema": text}
        for name, told in query.items()
    ]
    return in_path + in_query
