"""``slatestream snapshot``, ``restore``, ``reset`` and ``migrate``: a whole store at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api import kernel_cache
from api.commands.output import print_json, print_table, say
from api.settings import Settings, read_settings

if TYPE_CHECKING:
    from streams.positions import Position
    from streams.renewal import Topic
    from streams.snapshots import Snapshot
    from streams.store import Store

__all__ = [
    "ConfigOption",
    "DataDirOption",
    "JsonOption",
    "migrate",
    "open_existing",
    "reset",
    "restore",
    "snapshot",
    "use_settings",
]

ConfigOption = Annotated[
    Path | None, typer.Option(help="Settings; slatestream.toml when it exists.")
]
DataDirOption = Annotated[Path | None, typer.Option(help="Overrides the settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def snapshot(
    file: Annotated[Path, typer.Argument(help="To be written; it must not exist.")],
    *,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Save what was learned, all as of one moment, in a file; learners go on meanwhile.

    Saved is the state up to an offset of every partition of the log, and not the log: to go on
    from the file the log must still hold what comes after.
    """
    settings = use_settings(config, data_dir)
    from streams.snapshots import write_snapshot  # noqa: PLC0415  (loads numba)

    store = open_existing(settings)
    try:
        written = write_snapshot(store.database, file)
    finally:
        store.close()
    if json:
        print_json(_told(written))
    else:
        _print_snapshot(written)


def restore(
    file: Annotated[Path, typer.Argument(help="What 'slatestream snapshot' wrote.")],
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also onto topics of other identities: copies, every record at its old offset.",
        ),
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Put a snapshot in the place of what was learned; running learners go on from it.

    They take their partitions over again within seconds and learn the log from where the snapshot
    ends, so nothing in the log is lost or counted twice.
    """
    settings = use_settings(config, data_dir)
    from streams.renewal import restore  # noqa: PLC0415  (loads numba)
    from streams.snapshots import open_snapshot  # noqa: PLC0415

    found = open_snapshot(file)
    if not json:
        _print_snapshot(found)

    def renew(store: Store, topics: dict[str, Topic]) -> list[Position]:
        _confirm(f"Put it in the place of what {store.database.name} holds?", yes=yes)
        return restore(store.database, found, topics, force=force)

    _print_shards(_renew(settings, renew), json=json)


def reset(
    *,
    from_end: Annotated[
        bool,
        typer.Option("--from-end", help="Learn only what comes; else from the oldest record kept."),
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Forget what was learned, and learn the log anew; running learners do so at once.

    Slates are made of what policies believe at first, until something is learned again.
    """
    settings = use_settings(config, data_dir)
    from streams.renewal import reset  # noqa: PLC0415  (loads numba)

    def renew(store: Store, topics: dict[str, Topic]) -> list[Position]:
        _confirm(f"Forget all that {store.database.name} holds?", yes=yes)
        return reset(store.database, topics, from_end=from_end)

    _print_shards(_renew(settings, renew), json=json)


def migrate(*, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Bring the store's tables to this release, as every start does that finds them older.

    For a database whose services may not change tables: whoever may runs this before they start.
    """
    settings = use_settings(config, data_dir)
    from api.backends import open_store  # noqa: PLC0415  (loads numba)
    from streams.migrations import REVISION  # noqa: PLC0415

    store = open_store(settings)
    store.close()
    say(f"{store.database.name} is at revision {REVISION}")


def use_settings(config: Path | None, data_dir: Path | None) -> Settings:
    """Read the settings, and keep compiled code where they say."""
    settings = read_settings(config, data_dir=data_dir)
    kernel_cache.use(settings.cache_dir)
    return settings


def open_existing(settings: Settings) -> Store:
    """Open the store; raises ``StoreError`` when nothing was learned yet."""
    from api.backends import open_store, store_place  # noqa: PLC0415  (loads numba)
    from streams.errors import StoreError  # noqa: PLC0415

    if not settings.store and not Path(store_place(settings)).exists():
        raise StoreError(f"there is no store {store_place(settings)}: nothing was learned yet")
    return open_store(settings)


def _renew(
    settings: Settings, renew: Callable[[Store, dict[str, Topic]], list[Position]]
) -> list[Position]:
    from api.backends import open_log, open_store  # noqa: PLC0415  (loads numba)
    from streams.renewal import find_topics  # noqa: PLC0415

    log = open_log(settings)
    try:
        store = open_store(settings)
        try:
            return renew(store, find_topics(log))
        finally:
            store.close()
    finally:
        log.close()


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _told(snapshot: Snapshot) -> dict[str, Any]:
    shards = [
        {name: row[name] for name in ("topic", "part", "log", "next_offset", "clock")}
        for row in snapshot.shards
    ]
    return {
        "file": str(snapshot.path),
        "bytes": snapshot.size,
        "made_ms": snapshot.made_ms,
        "shards": shards,
    }


def _print_snapshot(snapshot: Snapshot) -> None:
    made = datetime.fromtimestamp(snapshot.made_ms / 1000, UTC).isoformat(timespec="seconds")
    rows = [(f"{row['topic']}-{row['part']}", row["next_offset"]) for row in snapshot.shards]
    title = f"{snapshot.path}: {snapshot.size:,} bytes, taken {made}"
    print_table(title, ["shard", "learned up to"], rows)


def _print_shards(shards: Sequence[Position], *, json: bool) -> None:
    rows = [(f"{each.topic}-{each.partition}", each.next_offset, each.epoch) for each in shards]
    if json:
        names = ("shard", "next_offset", "epoch")
        print_json({"shards": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        print_table("learning goes on", ["shard", "from offset", "epoch"], rows)
