"""The API worker process: uvicorn around the app, on the socket the supervisor bound."""

from __future__ import annotations

import socket
import sys

import uvicorn

from api.app import make_app
from api.children import EXIT_CONFIG, receive_settings, start_logging, watch_supervisor
from api.service import Service
from engine.errors import ConfigError

__all__ = ["main"]

GRACE_SECONDS = 2
KEEP_ALIVE_SECONDS = 75  # longer than load balancers wait, so that they hang up first


def main() -> int:
    """Serve until told to stop; returns the exit code."""
    start_logging("api")
    try:
        settings = receive_settings()
        service = Service(settings, first_view=int(sys.argv[2]))
    except ConfigError as error:
        sys.stderr.write(f"slatestream: {error}\n")
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
    listener = socket.socket(fileno=int(sys.argv[1]))
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
