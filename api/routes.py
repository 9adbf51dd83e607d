"""The service's paths. Each handler parses, calls one function, and shapes the reply."""

from __future__ import annotations

from fastapi import FastAPI
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api import dead_letters, events, items, pages, policies, slates
from api.bodies import check_json, read_body, reply_bytes, reply_json
from api.describe import add_route, install_openapi
from api.service import Service
from streams.events import Event

__all__ = ["add_routes"]

BAD = (400, 413, 415, 422)
KEYED = (401, 403)


def add_routes(app: FastAPI, service: Service) -> None:
    """Add every path to the app and describe them all."""
    _add_serving(app, service)
    _add_items(app, service)
    _add_users_and_pools(app, service)
    _add_model(app, service)
    _add_dead_letters(app, service)
    _add_operations(app, service)
    types = [slates.SlateRequest, slates.SlateReply, events.EventsReply, Event]
    types += [items.ItemBody, items.ItemReply, items.UserBody, items.UserReply]
    types += [items.PoolBody, items.PoolReply, policies.ItemBelief, policies.ModelReply]
    types += [dead_letters.DeadLettersReply]
    install_openapi(app, [*types, pages.Health])


def _add_serving(app: FastAPI, service: Service) -> None:
    limit = service.settings.max_body_bytes

    async def make_slate(request: Request) -> Response:
        """Choose a slate, log its impression, and answer with the propensity of every slot."""
        check_json(request)
        return reply_bytes(await slates.make_slate(service, await read_body(request, limit)))

    async def post_events(request: Request) -> Response:
        """Take one event, an array of up to 1,000, or NDJSON; 207 says which were refused."""
        body = await read_body(request, limit)
        scope = service.keyring.scope_of(request.headers)
        kind = request.headers.get("content-type", "")
        status, reply = await events.take_events(service, body, kind, scope)
        return reply_bytes(reply, status)

    add_route(
        app,
        "POST",
        "/v1/slates",
        make_slate,
        keyring=service.keyring,
        body=slates.SlateRequest,
        replies={200: slates.SlateReply},
        problems=(*BAD, *KEYED, 404, 409, 503),
    )
    add_route(
        app,
        "POST",
        "/v1/events",
        post_events,
        keyring=service.keyring,
        body={"application/json": Event | list[Event], "application/x-ndjson": Event},
        replies={202: events.EventsReply, 207: events.EventsReply},
        problems=(*BAD, *KEYED, 503),
    )


def _add_items(app: FastAPI, service: Service) -> None:
    path, keyring = "/v1/items/{id:path}", service.keyring

    async def get_item(request: Request) -> Response:
        """Return an item of the catalogue."""
        return reply_json(items.get_item(service, request.path_params["id"]))

    async def put_item(request: Request) -> Response:
        """Put an item in place of what stood under the id."""
        check_json(request)
        body = await read_body(request, service.settings.max_body_bytes)
        return reply_json(await items.put_item(service, request.path_params["id"], body))

    async def delete_item(request: Request) -> Response:
        """Delete an item: no slate shows it again."""
        await items.delete_item(service, request.path_params["id"])
        return Response(status_code=204)

    found = {200: items.ItemReply}
    add_route(app, "GET", path, get_item, keyring=keyring, replies=found, problems=(*KEYED, 404))
    add_route(
        app,
        "PUT",
        path,
        put_item,
        keyring=keyring,
        scope="admin",
        body=items.ItemBody,
        replies=found,
        problems=(*BAD, *KEYED, 503),
    )
    add_route(
        app,
        "DELETE",
        path,
        delete_item,
        keyring=keyring,
        scope="admin",
        replies={204: None},
        problems=(*KEYED, 404, 503),
    )


def _add_users_and_pools(app: FastAPI, service: Service) -> None:
    limit = service.settings.max_body_bytes

    async def get_user(request: Request) -> Response:
        """Return a user's features."""
        return reply_json(items.get_user(service, request.path_params["id"]))

    async def put_user(request: Request) -> Response:
        """Put a user's features in place of those held."""
        check_json(request)
        body = await read_body(request, limit)
        return reply_json(await items.put_user(service, request.path_params["id"], body))

    async def get_pool(request: Request) -> Response:
        """Return a named candidate set."""
        return reply_json(items.get_pool(service, request.path_params["name"]))

    async def put_pool(request: Request) -> Response:
        """Put a named candidate set in place of the one held."""
        check_json(request)
        body = await read_body(request, limit)
        return reply_json(await items.put_pool(service, request.path_params["name"], body))

    for path, get, put, body, reply in (
        ("/v1/users/{id:path}", get_user, put_user, items.UserBody, items.UserReply),
        ("/v1/pools/{name:path}", get_pool, put_pool, items.PoolBody, items.PoolReply),
    ):
        add_route(
            app,
            "GET",
            path,
            get,
            keyring=service.keyring,
            replies={200: reply},
            problems=(*KEYED, 404),
        )
        add_route(
            app,
            "PUT",
            path,
            put,
            keyring=service.keyring,
            scope="admin",
            body=body,
            replies={200: reply},
            problems=(*BAD, *KEYED, 503),
        )


def _add_model(app: FastAPI, service: Service) -> None:
    async def get_item_belief(request: Request) -> Response:
        """Return what a policy believes of an item: count, mean and 95 % interval."""
        name, item_id = request.path_params["name"], request.path_params["id"]
        context = request.query_params.get("context", "")
        return reply_json(policies.item_belief(service, name, item_id, context))

    async def get_model(request: Request) -> Response:
        """Return which policies are served, and how much of the log they have learned."""
        del request
        return reply_json(policies.model(service, await service.ends()))

    add_route(
        app,
        "GET",
        "/v1/policies/{name}/items/{id:path}",
        get_item_belief,
        keyring=service.keyring,
        query={"context": "JSON object of features; absent ones are 0"},
        replies={200: policies.ItemBelief},
        problems=(400, 422, *KEYED, 404, 503),
    )
    add_route(
        app,
        "GET",
        "/v1/model",
        get_model,
        keyring=service.keyring,
        replies={200: policies.ModelReply},
        problems=(*KEYED, 503),
    )


def _add_dead_letters(app: FastAPI, service: Service) -> None:
    async def get_dead_letters(request: Request) -> Response:
        """Return the records that could not be learned from, and why: the latest first."""
        limit = request.query_params.get("limit", "")
        return reply_json(await dead_letters.dead_letters(service, limit))

    add_route(
        app,
        "GET",
        "/v1/dead-letters",
        get_dead_letters,
        keyring=service.keyring,
        scope="admin",
        query={"limit": "How many, 1 to 1,000; 100 when absent"},
        replies={200: dead_letters.DeadLettersReply},
        problems=(422, *KEYED, 503),
    )


def _add_operations(app: FastAPI, service: Service) -> None:
    async def health_live(request: Request) -> Response:
        """Say that the process answers."""
        del request
        return reply_json(pages.Health(status="live"))

    async def health_ready(request: Request) -> Response:
        """Say whether kernels are loaded and learned state is served: 200, or 503."""
        del request
        status, health = pages.readiness(service)
        return reply_json(health, status)

    async def metrics(request: Request) -> Response:
        """Return the metrics of all processes of this host in Prometheus' text format."""
        del request
        return Response(await service.page(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def home(request: Request) -> Response:
        """Show a page of live figures."""
        del request
        return Response(pages.home(), media_type="text/html")

    async def problem(request: Request) -> Response:
        """Explain a kind of problem."""
        return Response(pages.problem(request.path_params["kind"]), media_type="text/plain")

    health = {200: pages.Health, 503: pages.Health}
    add_route(app, "GET", "/health/live", health_live, replies={200: pages.Health})
    add_route(app, "GET", "/health/ready", health_ready, replies=health)
    for path, handler in (("/health/live", health_live), ("/health/ready", health_ready)):
        app.router.add_route(path, handler, methods=["HEAD"], include_in_schema=False)
    add_route(app, "GET", "/metrics", metrics, replies={200: "text/plain"})
    add_route(app, "GET", "/", home, replies={200: "text/html"})
    add_route(app, "GET", "/problems/{kind}", problem, replies={200: "text/plain"}, problems=(404,))
