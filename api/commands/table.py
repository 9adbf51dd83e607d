"""``slatestream table``: what became of ids in policies' embedding tables, and frozen copies."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from api import kernel_cache
from api.commands.freeze import freeze
from api.commands.output import print_json, print_table
from api.commands.state import ConfigOption, DataDirOption, JsonOption, open_existing
from api.settings import Settings, read_settings
from engine.errors import ConfigError, suggest

__all__ = ["app"]

app = typer.Typer(
    help="Embedding tables: what became of ids, and copies of vectors that never change.",
    no_args_is_help=True,
)


app.command()(freeze)


@app.callback()
def table() -> None:
    """Embedding tables: what became of ids, and copies of vectors that never change."""


@app.command()
def stats(
    *,
    policy: Annotated[str | None, typer.Option(help="Only of this policy.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Tell what became of ids: of the tables this host serves, else of what is committed."""
    settings = read_settings(config, data_dir=data_dir)
    kernel_cache.use(settings.cache_dir)
    told = _served(settings) or _committed(settings)
    if policy is not None:
        known = {each["policy"] for each in told}
        if policy not in known:
            raise ConfigError(f"policy {policy!r} has no embedding table{suggest(policy, known)}")
        told = [each for each in told if each["policy"] == policy]
    if json:
        print_json({"tables": told})
        return
    rows = [(name, *(each[name] for each in told)) for name in (told[0] if told else ())]
    columns = ["", *(str(number) for number in range(1, len(told) + 1))]
    print_table("embedding tables" if told else "no policy has an embedding table", columns, rows)


def _served(settings: Settings) -> list[dict[str, Any]]:
    from streams.views import ViewReader  # noqa: PLC0415  (loads numba)

    view = ViewReader(settings.data_dir).current()
    if view is None:
        return []
    return [
        {
            "policy": name,
            "table": part,
            "as of": f"served, view {view.version}",
            **asdict(table.statistics()),
        }
        for name, posterior in view.policies.items()
        for part, table in posterior.parts.items()
    ]


def _committed(settings: Settings) -> list[dict[str, Any]]:
    from streams.committed import read_tables  # noqa: PLC0415  (loads numba)

    store = open_existing(settings)
    try:
        return [
            {
                "policy": each.policy,
                "table": each.part,
                "as of": f"committed, {each.topic}-{each.partition} up to {each.next_offset}",
                **asdict(each.table.statistics()),
            }
            for each in read_tables(store)
        ]
    finally:
        store.close()
