"""A report as Markdown, and as the figures of a page that marks where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.contest import Figure, Row, Skipped
from benchmarks.machine import Machine
from benchmarks.run import NAMES, Report
from engine.errors import ConfigError

__all__ = ["check_page", "fill_page", "mark", "pivot", "tables"]

MACHINE = "machine"
CHARTS = "curves"  # told by charts


def check_page(path: Path, names: Sequence[str]) -> None:
    """Raise ``ConfigError`` when a page has no place for the figures of workloads."""
    page = _read(path)
    for name in (MACHINE, *names):
        if name != CHARTS:
            _replace(path, page, name, "")


def fill_page(path: Path, report: Report) -> list[str]:
    """Put figures between a page's markers; returns the names of what was replaced.

    A workload that was not measured keeps the figures it had. Writes: the file.

    Raises
    ------
    ConfigError
        When the file cannot be read or written, or has no place for what was measured.
    """
    page, found = _read(path), {MACHINE: _machine(report.machine), **tables(report)}
    for name, text in found.items():
        page = _replace(path, page, name, text)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a page that can be written") from error
    return list(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a page that exists") from error


def mark(name: str) -> tuple[str, str]:
    """Lines between which a page has the figures of a name."""
    return f"<!-- bench {name} -->", f"<!-- end {name} -->"


def tables(report: Report) -> dict[str, str]:
    """Markdown by workload that was measured, in their order; curves are left to charts."""
    found = {}
    for name in NAMES:
        rows = [row for row in report.rows if row.workload == name]
        skipped = [each for each in report.skipped if each.workload == name]
        figures = [each for each in report.figures if each.workload == name]
        if name != CHARTS and (rows or figures):
            plain = [each for each in figures if not (each.column or each.at)]
            matrices = _matrices([each for each in figures if each.column])
            parts = _table(rows), _figures(plain), matrices, _missing(skipped)
            found[name] = "\n\n".join(filter(None, parts))
    return found


def _replace(path: Path, page: str, name: str, text: str) -> str:
    first, last = mark(name)
    if page.count(first) != 1 or page.count(last) != 1 or page.index(first) > page.index(last):
        raise ConfigError(f"{path} has no place for {name}: give it the lines {first} and {last}")
    before, rest = page.split(first)
    return f"{before}{first}\n{text}\n{last}{rest.split(last)[1]}"


def _machine(machine: Machine) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    pinned = "one of them used" if machine.pinned is not None else "not pinned"
    return (
        f"{machine.system}, {machine.cores} cores, {pinned}; Python {machine.python}; {packages}. "
        f"NumPy's BLAS: {machine.blas}."
    )


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    unit = rows[0].unit
    lines = [
        f"| what | mode | beside | {unit}/s | its {unit}/s | ratio (least to most) |",
        "|---|---|---|---|---|---|",
    ]
    for (params, mode), group in groupby(rows, key=lambda row: (row.params, row.mode)):
        head = f"{params} | {mode}"
        for row in group:
            note = f" ({row.note})" if row.note else ""
            rates = f"{_rate(row.per_second)} | {_rate(row.peer_per_second)}"
            ratio = f"**{_ratio(row.ratio)}** ({_ratio(row.min)} to {_ratio(row.max)})"
            lines.append(f"| {head} | {row.peer}{note} | {rates} | {ratio} |")
            head = " | "
    return "\n".join(lines)


def _matrices(figures: Sequence[Figure]) -> str:
    """A table for each setting, of the figures that have a column."""
    parts = []
    for params, group in groupby(figures, key=lambda each: each.params):
        columns, cells, notes = pivot(list(group))
        head = [params, *columns, *(["setting"] if any(notes.values()) else [])]
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * len(columns)}"]
        if any(notes.values()):
            lines[1] += "---|"
        for what, row in cells.items():
            told = [what, *row, *([notes[what]] if any(notes.values()) else [])]
            lines.append(f"| {' | '.join(told)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def pivot(
    figures: Sequence[Figure],
) -> tuple[list[str], dict[str, list[str]], dict[str, str]]:
    """Columns, cells by row, and what there is to say of each row; a cell may stay empty."""
    columns = list(dict.fromkeys(each.column for each in figures))
    cells = {each.what: [""] * len(columns) for each in figures}
    notes = dict.fromkeys(cells, "")
    for each in figures:
        told = f"{each.value:#.{each.digits}g}".rstrip(".")
        cells[each.what][columns.index(each.column)] = f"{told} {each.unit}".strip()
        notes[each.what] = notes[each.what] or each.note
    return columns, cells, notes


def _figures(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    lines = ["| what | | figure |", "|---|---|---|"]
    for params, group in groupby(figures, key=lambda each: each.params):
        head = params
        for each in group:
            note = f" ({each.note})" if each.note else ""
            lines.append(f"| {head} | {each.what}{note} | **{_rate(each.value)} {each.unit}** |")
            head = ""
    return "\n".join(lines)


def _missing(skipped: Sequence[Skipped]) -> str:
    reasons = dict.fromkeys((each.peer, each.reason) for each in skipped)
    return "\n".join(f"- not measured: {peer}: {reason}" for peer, reason in reasons)


def _rate(value: float) -> str:
    """Three digits."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"
