"""Charts of the curves: microseconds an event against items and against columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contest import Row, absent
from engine.errors import ConfigError

__all__ = ["PREFIX", "STYLE", "check_charts", "draw_charts", "save"]

PREFIX = "performance-"
AXES = {"items": "items K, d = {columns:g}", "columns": "columns d, K = {items:g}"}
OTHER = {"items": "columns", "columns": "items"}
COLORS = {
    "exact, adverse world": "#1f6fb4",
    "exact, kind world": "#6fb3e0",
    "diagonal": "#d1672b",
}
STYLE: Any = {
    "svg.hashsalt": "slatestream",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check_charts() -> None:
    """Raise ``ConfigError`` when charts cannot be drawn."""
    missing = absent("charts", "matplotlib")
    if missing:
        raise ConfigError(f"charts cannot be drawn: {missing.reason}")


def draw_charts(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw one chart an axis into ``performance-AXIS.svg``; returns the files.

    Raises
    ------
    ConfigError
        When matplotlib is not installed, or a file cannot be written.
    """
    check_charts()
    import matplotlib as mpl  # noqa: PLC0415  (an optional extra)

    files = []
    with mpl.rc_context(STYLE):
        for axis in AXES:
            points = [row for row in rows if row.at.get("axis") == axis]
            if points:
                files.append(_draw(axis, points, folder / f"{PREFIX}{axis}.svg"))
    return files


def _draw(axis: str, rows: Sequence[Row], path: Path) -> Path:
    from matplotlib.figure import Figure  # noqa: PLC0415  (an optional extra)

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    panel, peers = figure.add_subplot(), set[str]()
    for model in dict.fromkeys(str(row.at["model"]) for row in rows):
        of_model = [row for row in rows if row.at["model"] == model]
        x = [float(row.at[axis]) for row in of_model]
        ours = [1e6 / row.per_second for row in of_model]
        theirs = [1e6 / row.peer_per_second for row in of_model]
        color = COLORS[model]
        panel.plot(x, ours, color=color, marker="o", label=f"slatestream, {model}")
        if of_model[0].peer not in peers:  # its cost is the same in every world
            peers.add(of_model[0].peer)
            panel.plot(x, theirs, color=color, marker=".", linestyle="--", label=of_model[0].peer)
            power = 2 if axis == "columns" and model.startswith("exact") else 1
            _slope(panel, x, ours, power, "K" if axis == "items" else "d")
    panel.set(xscale="log", yscale="log", ylabel="µs of one core an event")
    ticks = sorted({float(row.at[axis]) for row in rows})
    panel.set_xticks(ticks, labels=[f"{tick:,.0f}" for tick in ticks])
    panel.yaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.set_xlabel(AXES[axis].format(**rows[0].at))
    panel.grid(visible=True, color="#dddddd", linewidth=0.5)
    panel.legend(frameon=False, fontsize="small")
    return save(figure, path)


def save(figure: Any, path: Path) -> Path:
    """Write a chart, the same file for the same figures.

    Raises ``ConfigError`` when it cannot be written.
    """
    try:
        figure.savefig(path, metadata={"Date": None})
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a folder that can be written") from error
    return path


def _slope(panel: Any, x: Sequence[float], y: Sequence[float], power: int, letter: str) -> None:
    """A dotted line of the growth that the arithmetic asks for, through the last point."""
    line = [y[-1] * (each / x[-1]) ** power for each in x]
    panel.plot(x, line, color="#888888", linestyle=":", linewidth=1.0)
    name = f"∝ {letter}" if power == 1 else f"∝ {letter}²"
    panel.annotate(name, (x[0], line[0]), color="#888888", fontsize="small", va="top", ha="left")
