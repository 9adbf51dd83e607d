"""A page of metrics and a liveness answer on a port of their own, with or without an API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from engine.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    _App = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

__all__ = ["serve_metrics"]

TEXT = [("Content-Type", "text/plain; charset=utf-8")]
JSON = [("Content-Type", "application/json")]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *given: object) -> None:
        """Keep every scrape out of the log."""


class _Server(ThreadingWSGIServer):
    daemon_threads = True


@contextmanager
def serve_metrics(host: str, port: int, registry: CollectorRegistry) -> Iterator[int]:
    """Answer ``/metrics`` and ``/health/live`` from a thread; yields the port.

    Raises
    ------
    ConfigError
        When the address cannot be bound.
    """
    try:
        server = make_server(host, port, _app(registry), _Server, handler_class=_Quiet)
    except OSError as error:
        raise ConfigError(
            f"cannot serve metrics on {host}:{port} ({error.strerror or error}); give another "
            "metrics_port, or 0 for none"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _app(registry: CollectorRegistry) -> _App:
    metrics: _App = make_wsgi_app(registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/health/live":
            start_response("200 OK", JSON)
            return [b'{"status":"live"}']
        start_response("404 Not Found", TEXT)
        return [b"there are /metrics and /health/live\n"]

    return app
