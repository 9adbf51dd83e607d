"""Charts of what was learned: error and hits along a log, and against collisions and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.charts import STYLE, check_charts, save
from benchmarks.contest import Figure

__all__ = ["CHARTS", "Chart", "draw_evidence"]

COLORS = ("#1f6fb4", "#d1672b", "#3a923a", "#8064a2", "#888888", "#b8860b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart: a panel for each setting, side by side.

    ``ticks`` are shown in words where the abscissa is logarithmic.
    """

    x: str
    y: str
    ticks: dict[float, str] | None = None


CHARTS = {
    "ratings": Chart(x="ratings so far", y="RMSE"),
    "retail": Chart(x="purchase lines so far", y="hit rate@20, %"),
    "collisions": Chart(x="ids without a row of their own, %", y="RMSE"),
    "sync": Chart(
        x="parameters are published every",
        y="",
        ticks={10.0: "10 s", 600.0: "10 min", 21_600.0: "6 h", 86_400.0: "day", 604_800.0: "week"},
    ),
}


def draw_evidence(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Draw a chart for each name among the figures into ``embeddings-NAME.svg``.

    Raises
    ------
    ConfigError
        When matplotlib is not installed, or a file cannot be written.
    """
    drawn = [each for each in figures if each.at.get("chart") in CHARTS]
    if not drawn:
        return []
    check_charts()
    import matplotlib as mpl  # noqa: PLC0415  (an optional extra)

    files = []
    with mpl.rc_context(STYLE):
        for name, chart in CHARTS.items():
            of_chart = [each for each in drawn if each.at["chart"] == name]
            if of_chart:
                files.append(_draw(chart, of_chart, folder / f"embeddings-{name}.svg"))
    return files


def _draw(chart: Chart, figures: Sequence[Figure], path: Path) -> Path:
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415  (an optional extra)

    settings = list(dict.fromkeys(each.params for each in figures))
    canvas = Canvas(figsize=(6.4 if len(settings) == 1 else 9.6, 4.0), layout="constrained")
    panels = canvas.subplots(1, len(settings), squeeze=False)[0]
    for panel, params in zip(panels, settings, strict=True):
        own = [each for each in figures if each.params == params]
        _fill(panel, chart, own)
        panel.set_title(params, fontsize="small")
    return save(canvas, path)


def _fill(panel: Any, chart: Chart, figures: Sequence[Figure]) -> None:
    names = list(dict.fromkeys(str(each.at["series"]) for each in figures))
    for number, name in enumerate(names):
        line = [each for each in figures if each.at["series"] == name]
        x, y = [float(each.at["x"]) for each in line], [each.value for each in line]
        color = COLORS[number % len(COLORS)]
        panel.plot(x, y, color=color, marker="o", markersize=3, label=name)
        if all("low" in each.at for each in line):
            spread = ([float(each.at[end]) for each in line] for end in ("low", "high"))
            panel.fill_between(x, *spread, color=color, alpha=0.2, linewidth=0)
    percent = figures[0].unit == "%"
    panel.set(xlabel=chart.x, ylabel=chart.y or ("hit rate, %" if percent else ", ".join(names)))
    if chart.ticks:
        panel.set_xscale("log")
        panel.set_xticks(list(chart.ticks), labels=list(chart.ticks.values()), fontsize="small")
        panel.minorticks_off()
    panel.grid(visible=True, color="#dddddd", linewidth=0.5)
    if len(names) > 1:
        panel.legend(frameon=False, fontsize="small")
