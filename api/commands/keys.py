"""``slatestream keys``: make API keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from api.auth import hash_of, new_key
from api.commands.output import print_json, say

__all__ = ["app"]

app = typer.Typer(help="Make API keys.", no_args_is_help=True)


class Scope(StrEnum):
    """What a key may do."""

    SERVE = "serve"
    ADMIN = "admin"


@app.callback()
def keys() -> None:
    """Make API keys."""


@app.command()
def new(
    *,
    scope: Annotated[Scope, typer.Option(help="serve: slates and events; admin: all.")],
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print a new key, once, and the lines that let it in."""
    key = new_key()
    entry = {"name": name or scope.value, "scope": scope.value, "sha256": hash_of(key)}
    if json:
        print_json({"key": key, **entry})
        return
    say("The key, shown this once:")
    typer.echo(key)
    say("\nAdd its hash to slatestream.toml and start the service again:")
    lines = "\n".join(f'{field} = "{value}"' for field, value in entry.items())
    typer.echo(f"\n[[keys]]\n{lines}")
