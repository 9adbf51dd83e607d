"""``slatestream demo``: the real service, and simulated visitors who browse it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from api import kernel_cache
from api.commands.output import print_json, print_table, say

if TYPE_CHECKING:
    from api.demo.show import Summary

__all__ = ["demo"]

DEMO = {"policies": {"learner": {"spec": "linear-thompson"}, "random": {"spec": "uniform"}}}


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
    """Start the service with simulated visitors, and watch it learn; 1 when anything failed."""
    directory = kernel_cache.use(None)
    if not kernel_cache.is_filled(directory, DEMO):
        say("compiling kernels (once for this release and CPU) …")
        kernel_cache.fill(directory, DEMO)
    browse = not no_browser and seconds is None
    from api.demo.run import run_demo  # noqa: PLC0415  (loads numba)

    summary = asyncio.run(run_demo(port, seconds, browse=browse, same=aa))
    if json:
        print_json(summary)
    else:
        _print(summary)
    if summary.errors or not summary.conservation["exact"]:
        raise typer.Exit(1)


def _print(summary: Summary) -> None:
    low, high = summary.uplift_ci
    print_table(
        "demo",
        ["", "figure"],
        [
            ("slates", summary.slates),
            ("events", summary.events),
            ("click rate, learner", f"{summary.learner_ctr:.1%}"),
            ("click rate, control", f"{summary.control_ctr:.1%}"),
            ("uplift", "unknown" if summary.uplift is None else f"{summary.uplift:+.1%}"),
            ("95 % interval", "unknown" if low is None else f"[{low:+.1%}, {high:+.1%}]"),
            ("slate, half within", f"{summary.p50_ms:.2f} ms"),
            ("slate, 99 % within", f"{summary.p99_ms:.2f} ms"),
            ("errors", summary.errors),
            ("every record accounted for", "yes" if summary.conservation["exact"] else "no"),
        ],
    )
