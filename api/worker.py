"""The API worker process: uvicorn around the app, on the socket the supervisor bound."""

from __future__ import annotations

import logging
import socket
import sys

import uvicorn

from api.app import make_app
from api.children import EXIT_CONFIG, receive_settings, watch_supervisor
from api.logs import LogFormat, start_logging, tell
from api.service import Service
from api.shared_metrics import share_metrics
from engine.errors import ConfigError

__all__ = ["main"]

GRACE_SECONDS = 2
KEEP_ALIVE_SECONDS = 75  # longer than load balancers wait, so that they hang up first


def main() -> int:
    """Serve until told to stop; returns the exit code."""
    name, listening, first_view = sys.argv[1:]
    layout: LogFormat = "text"
    try:
        settings = receive_settings()
        layout = settings.log_format
        start_logging(name, layout)
        share_metrics(name)
        service = Service(settings, first_view=int(first_view))
    except ConfigError as error:
        tell(error, layout, logging.ERROR)
        return EXIT_CONFIG
    config = uvicorn.Config(
        make_app(service),
        http="httptools",
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    watch_supervisor(stop)
    listener = socket.socket(fileno=int(listening))
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
