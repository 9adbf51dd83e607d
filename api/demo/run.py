"""One demo from start to end: service up, visitors in, last windows closed, summary."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import webbrowser
from pathlib import Path

from api.client import Client
from api.demo.host import host_service, write_settings
from api.demo.show import Summary, settle, show_live, summarise
from api.demo.traffic import Traffic
from simulator.worlds.shop import Shop

__all__ = ["run_demo"]


async def run_demo(port: int, seconds: float | None, *, browse: bool, same: bool) -> Summary:
    """Run the demo.

    Parameters
    ----------
    seconds
        How long visitors come; None until SIGINT or SIGTERM.
    browse
        Open a browser at the service's page.
    same
        Serve both groups at random: an A/A test.

    Raises
    ------
    ConfigError
        When the service refuses to start, for instance because the port is taken.
    DemoError
        When it does not become ready.
    """
    shop = Shop()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="slatestream-demo-") as name:
        folder = Path(name)
        file = write_settings(folder, port, shop.schema.to_list(), same=same)
        async with host_service(folder, file) as (host, bound), Client(host, bound) as client:
            _say(f"slatestream: http://{host}:{bound}" + ("" if seconds else " (Ctrl-C ends it)"))
            if browse:
                webbrowser.open(f"http://{host}:{bound}/")
            traffic = Traffic(client, shop)
            await traffic.open_shop()
            live = asyncio.create_task(show_live(traffic, stop))
            sending = asyncio.create_task(traffic.run(stop))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)
            stop.set()
            await asyncio.gather(live, sending)
            loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C does not wait
            for error in traffic.errors:
                _say(f"error: {error}")
            _say("traffic stopped; waiting for the last reward windows to close …")
            return summarise(traffic, await settle(client))


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
