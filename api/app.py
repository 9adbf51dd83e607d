"""The HTTP application: its paths, its errors and its life."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import reply_problem
from api.metrics import TimedApp
from api.problems import OF_STATUS, ProblemError, problem_of
from api.routes import add_routes
from api.service import Service
from engine.errors import SlatestreamError

__all__ = ["make_app"]

DESCRIPTION = """Slates that learn: every slot carries the probability of its item, every event
moves the policy. Times are integer milliseconds since the epoch, UTC; an event posted without
`ts` gets the server's time. Errors are problem documents (RFC 9457)."""


def make_app(service: Service) -> FastAPI:
    """Make the application of one API worker around its service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        await service.start()
        yield
        await service.close()

    app = FastAPI(
        title="slatestream",
        version=importlib.metadata.version("slatestream"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # ids may end in one
    )
    app.add_middleware(TimedApp, metrics=service.metrics)
    app.add_exception_handler(SlatestreamError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_status)
    app.add_exception_handler(Exception, _answer_bug)
    add_routes(app, service)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = (
        problem_of(error) if isinstance(error, SlatestreamError) else ProblemError("internal", "")
    )
    return reply_problem(problem, request.url.path)


async def _answer_status(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = OF_STATUS.get(status, "internal")
    detail = f"{request.method} {request.url.path} is not served; /docs lists what is"
    response = reply_problem(ProblemError(kind, detail), request.url.path)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _answer_bug(request: Request, error: Exception) -> Response:
    del error  # the server logs it with its traceback; it may hold what is not the client's
    problem = ProblemError("internal", "the request could not be answered; the log says more")
    return reply_problem(problem, request.url.path)
