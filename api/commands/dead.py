"""``slatestream dead``: records that could not be learned from, and appending them again."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api import kernel_cache
from api.commands.output import print_json, print_table, say
from api.commands.state import ConfigOption, DataDirOption, JsonOption
from api.settings import read_settings
from engine.errors import ConfigError

if TYPE_CHECKING:
    from streams.dead import LetterRead

__all__ = ["app"]

app = typer.Typer(
    help="Records that could not be learned from: see them, append them again.",
    no_args_is_help=True,
)

SOURCE = "topic-partition-offset, as 'dead list' shows it."
SHOWN = 60  # characters of a detail in a list


@app.callback()
def dead() -> None:
    """Records that could not be learned from: see them, append them again."""


@app.command("list")
def list_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 100,
    reason: Annotated[str | None, typer.Option(help="Only of this reason.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the latest, newest first, and how many there are of every reason."""
    settings = read_settings(config, data_dir=data_dir)
    kernel_cache.use(settings.cache_dir)
    from api.backends import store_place  # noqa: PLC0415  (loads numba)
    from api.dead_letters import tell_letter  # noqa: PLC0415
    from streams.dead import count_dead_letters, read_dead_letters  # noqa: PLC0415

    where = store_place(settings)
    letters = read_dead_letters(where, limit, reason=reason)
    counts = count_dead_letters(where)
    if json:
        print_json({"counts": counts, "dead_letters": list(map(tell_letter, letters))})
        return
    total = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    columns = ["source", "when", "reason", "detail", "bytes", "appended again"]
    print_table(f"dead letters: {total}", columns, list(map(_row, letters)))


@app.command()
def show(
    source: Annotated[str, typer.Argument(help=SOURCE)],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Its value alone, byte by byte.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show one with its whole value."""
    settings = read_settings(config, data_dir=data_dir)
    kernel_cache.use(settings.cache_dir)
    from api.backends import store_place  # noqa: PLC0415  (loads numba)
    from api.dead_letters import tell_letter  # noqa: PLC0415
    from streams.dead import Source, read_dead_letter  # noqa: PLC0415

    letter = read_dead_letter(store_place(settings), Source.parse(source))
    if raw:
        sys.stdout.buffer.write(letter.value)
    elif json:
        print_json(tell_letter(letter))
    else:
        fields = [
            ("when", _when(letter.stamp)),
            ("reason", letter.reason),
            ("detail", letter.detail),
            ("at", letter.pointer),
            ("bytes", letter.size),
            ("appended again", _appended(letter)),
        ]
        print_table(str(letter.source), ["", "value"], fields)
        typer.echo(letter.value.decode("utf-8", "backslashreplace"))


@app.command()
def requeue(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help=SOURCE)],
    *,
    value: Annotated[
        Path | None, typer.Option(help="File of the repaired value, of a single SOURCE.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was appended again before.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Append them to the log again, each to the partition it came from, and note that.

    Stops at the first that would be dead again; those before it are appended.
    """
    if value is not None and len(sources) > 1:
        raise ConfigError(f"--value repairs one record and {len(sources)} are named; name one")
    settings = read_settings(config, data_dir=data_dir)
    kernel_cache.use(settings.cache_dir)
    from api.backends import open_log, open_store  # noqa: PLC0415  (loads numba)
    from streams.dead import Source, requeue  # noqa: PLC0415

    repaired = _read_value(value)
    named = [Source.parse(source) for source in sources]
    store, places = open_store(settings), {}
    try:
        log = open_log(settings)
        try:
            for source in named:
                place = requeue(store.database, log, source, value=repaired, again=again)
                places[str(source)] = str(source._replace(offset=place.offset))
                say(f"{source} is appended again as {places[str(source)]}")
        finally:
            log.close()
    finally:
        store.close()
    if json:
        print_json({"requeued": places})


def _read_value(file: Path | None) -> bytes | None:
    try:
        return file.read_bytes().strip() if file else None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


def _row(letter: LetterRead) -> tuple[object, ...]:
    detail = letter.detail if len(letter.detail) <= SHOWN else f"{letter.detail[:SHOWN]}…"
    return (
        str(letter.source),
        _when(letter.stamp),
        letter.reason,
        detail,
        letter.size,
        _appended(letter),
    )


def _when(stamp: int) -> str:
    return datetime.fromtimestamp(stamp / 1000, UTC).isoformat(sep=" ", timespec="seconds")


def _appended(letter: LetterRead) -> str:
    if letter.requeued_ms is None:
        return ""
    return f"{_when(letter.requeued_ms)} as offset {letter.requeued_offset}"
