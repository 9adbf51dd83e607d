"""How commands speak: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ["figure", "print_json", "print_table", "progress_bar", "say"]

PIPED_WIDTH = 120
PATIENCE = 2.0  # seconds before a bar is worth the eye


def say(message: str) -> None:
    """Tell the user something that is no result."""
    sys.stderr.write(f"{message}\n")


def print_json(value: Any) -> None:
    """Print one JSON object."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a readable table: figures to the right, all else to the left."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for number, column in enumerate(columns):
        right = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(figure, row))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def figure(value: object) -> str:
    """Write a number to six digits, nothing for None, and all else as it is."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s", style="progress.data.speed")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show rate and time left, once the work has taken two seconds.

    Yields ``report(done, total)``; a total of None is not known.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=None)
    start = time.monotonic()
    shown = False

    def report(done: int, total: int | None) -> None:
        nonlocal shown
        if not shown and time.monotonic() - start > PATIENCE:
            shown = True
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        if shown:
            bar.stop()
