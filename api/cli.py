"""The ``slatestream`` command.

Exit codes: 0 done, 1 failed, 2 asked for something that cannot be, 3 a verdict is refuse.
Commands load compiled code only when they run, after the kernel cache's directory is set.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Annotated

import typer

from api.commands import (
    bench,
    dead,
    demo,
    doctor,
    evaluate,
    export,
    init,
    keys,
    replay,
    serve,
    simulate,
    state,
    table,
)
from engine.errors import ConfigError, SlatestreamError

__all__ = ["app", "main"]

app = typer.Typer(
    name="slatestream",
    help="Online learning for recommendation: slates with propensities, and logs replayed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(serve.serve)
app.command()(init.init)
app.command()(doctor.doctor)
app.command()(evaluate.check)
app.command()(evaluate.evaluate)
app.command()(replay.replay)
app.command()(export.export)
app.command()(simulate.simulate)
app.command()(bench.bench)
app.command()(state.snapshot)
app.command()(state.restore)
app.command()(state.reset)
app.command()(state.migrate)
app.add_typer(dead.app, name="dead")
app.add_typer(keys.app, name="keys")
app.add_typer(table.app, name="table")


def _version(show: bool) -> None:
    if show:
        typer.echo(f"slatestream {importlib.metadata.version('slatestream')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the release.")
    ] = False,
) -> None:
    """Online learning for recommendation: slates with propensities, and logs replayed."""
    del version


def main() -> None:
    """Run the command line; leaves with the exit code."""
    try:
        app(prog_name="slatestream")
    except ConfigError as error:
        sys.exit(_refuse(error, 2))
    except SlatestreamError as error:
        sys.exit(_refuse(error, 1))


def _refuse(error: SlatestreamError, code: int) -> int:
    sys.stderr.write(f"slatestream: {error}\n")
    return code
