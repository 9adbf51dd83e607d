"""``slatestream export``: a copy of a whole log in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api import kernel_cache
from api.commands.logs import JsonOption
from api.commands.output import print_json, print_table, progress_bar

if TYPE_CHECKING:
    from streams.log.archive import Archive

__all__ = ["export"]


def export(
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG", help="kafka://host:port/prefix?setting=value, log.db, or its folder."
        ),
    ],
    file: Annotated[Path, typer.Argument(help="To be written; it must not exist.")],
    *,
    json: JsonOption = False,
) -> None:
    """Copy a log, all topics and partitions up to their end as of now, into one file.

    The service may go on meanwhile. Offsets and stamps are kept, so what is replayed from the file
    is what was learned live, bit for bit. The file holds what the log holds of users: keep it as
    well.
    """
    kernel_cache.use(None)
    from streams.log.archiving import write_archive  # noqa: PLC0415  (loads numba)
    from streams.log.opening import read_log_as_of_now  # noqa: PLC0415

    source = read_log_as_of_now(log)
    try:
        with progress_bar("exporting") as report:
            written = write_archive(source, file, report)
    finally:
        source.close()
    if json:
        print_json(_told(written))
    else:
        _print(written)


def _told(archive: Archive) -> dict[str, Any]:
    return {
        "file": str(archive.path),
        "bytes": archive.size,
        "made_ms": archive.made_ms,
        "parts": [asdict(part) for part in archive.parts],
    }


def _print(archive: Archive) -> None:
    rows = [
        (f"{part.topic}-{part.partition}", part.begin, part.end, part.records)
        for part in archive.parts
    ]
    title = f"{archive.path}: {archive.size:,} bytes"
    print_table(title, ["partition", "from offset", "to before", "records"], rows)
