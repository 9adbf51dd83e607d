"""``slatestream demo``: the real service, and simulated visitors who browse it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from api import kernel_cache
from api.client import Client
from api.commands.output import print_json, print_table, say
from api.demo.host import host_service, write_settings
from api.demo.show import Summary, settle, show_live, summarise
from api.demo.traffic import Traffic

__all__ = ["demo"]


def demo(
    *,
    port: Annotated[int, typer.Option(help="Where the service listens; 0 is any.")] = 8000,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End by itself; else Ctrl-C ends it.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the service's page.")
    ] = False,
    aa: Annotated[
        bool, typer.Option("--aa", help="Two random controls: no uplift should be found.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Start the service with simulated visitors, and watch it learn."""
    directory = kernel_cache.use(None)
    if not kernel_cache.is_filled(directory):
        say("compiling kernels (once for this release and CPU) …")
        kernel_cache.fill(directory)
    browse = not no_browser and seconds is None
    summary = asyncio.run(_run(port, seconds, browse=browse, same=aa))
    if json:
        print_json(summary)
    else:
        _print(summary)


async def _run(port: int, seconds: float | None, *, browse: bool, same: bool) -> Summary:
    shop = make_shop()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="slatestream-demo-") as name:
        folder = Path(name)
        file = write_settings(folder, port, shop.features, same=same)
        async with host_service(folder, file) as (host, bound), Client(host, bound) as client:
            say(f"slatestream: http://{host}:{bound}" + ("" if seconds else " (Ctrl-C ends it)"))
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
            say("traffic stopped; waiting for the last reward windows to close …")
            return summarise(traffic, await settle(client))


def _print(summary: Summary) -> None:
    low, high = summary.uplift_ci
    print_table(
        "demo",
        ["", "figure"],
        [
            ("slates", summary.slates),
            ("events", summary.events),
            ("click rate, learner", summary.learner_ctr),
            ("click rate, control", summary.control_ctr),
            ("uplift", "unknown" if summary.uplift is None else f"{summary.uplift:+.1%}"),
            ("95 % interval", "unknown" if low is None else f"[{low:+.1%}, {high:+.1%}]"),
            ("slate, half within", f"{summary.p50_ms:.2f} ms"),
            ("slate, 99 % within", f"{summary.p99_ms:.2f} ms"),
            ("errors", summary.errors),
            ("every record accounted for", "yes" if summary.conservation["exact"] else "no"),
        ],
    )
