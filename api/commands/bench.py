"""``slatestream bench``: speed on this machine, beside NumPy and what else is installed."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from api import kernel_cache
from api.commands.logs import JsonOption
from api.commands.output import print_json, print_table, progress_bar, say
from benchmarks.charts import check_charts, draw_charts
from benchmarks.contest import Row
from benchmarks.evidence_charts import draw_evidence
from benchmarks.machine import KAFKA
from benchmarks.markdown import check_page, fill_page, pivot
from benchmarks.run import EVIDENCE, NAMES, Report, check_names, run

__all__ = ["bench"]


def bench(
    workload: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKLOAD]…",
            help=f"{', '.join(NAMES)}; all but {', '.join(EVIDENCE)} when none is given.",
        ),
    ] = None,
    *,
    rounds: Annotated[int, typer.Option(min=1, help="The median of so many is told.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes: shows that it runs, not how fast.")
    ] = False,
    charts: Annotated[
        Path | None, typer.Option(help="curves and evidence: folder for *.svg.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Page whose figures, and charts beside it, are replaced.")
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option(
            envvar=KAFKA, help="stream: brokers, host:port; topics are made and deleted there."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    r"""Measure this machine: medians of rounds in which ours and the peers take turns on one core.

    Rates are per second of CPU time, beside Redis per second. Trust the ratios: rates depend on
    the machine. `pip install 'slatestream\[bench]'` brings the peers.
    """
    names = check_names(workload or ())
    folder = charts or (markdown.parent if markdown else None)
    # What can be refused is refused before the work.
    if folder is not None and {"curves", *EVIDENCE} & set(names):
        check_charts()
    if markdown is not None:
        check_page(markdown, names)
    kernel_cache.use(None)
    with progress_bar("bench") as report:
        found = run(names, rounds=rounds, quick=quick, kafka=kafka, progress=report)
    if folder is not None:
        for file in (*draw_charts(found.rows, folder), *draw_evidence(found.figures, folder)):
            say(f"drew {file}")
    if markdown is not None:
        say(f"replaced in {markdown}: {', '.join(fill_page(markdown, found))}")
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: Report) -> None:
    columns = ["beside", "ours/s", "its/s", "ratio", "least", "most", "note"]
    settings = groupby(found.rows, key=lambda row: (row.workload, row.params, row.mode, row.unit))
    for (workload, params, mode, unit), rows in settings:
        print_table(f"{workload}: {params}; {mode}, {unit}", columns, [_cells(row) for row in rows])
    shown = [each for each in found.figures if each.column or not each.at]  # else: of a curve
    for (workload, params), figures in groupby(
        shown, key=lambda each: (each.workload, each.params)
    ):
        told = list(figures)
        if told[0].column:
            columns, rows_of, notes = pivot(told)
            table = [(what, *row, notes[what]) for what, row in rows_of.items()]
            print_table(f"{workload}: {params}", ["", *columns, "setting"], table)
            continue
        cells = [
            (each.what, f"{each.value:.{each.digits}g} {each.unit}", each.note) for each in told
        ]
        print_table(f"{workload}: {params}", ["", "", "note"], cells)
    if found.skipped:
        missing = [(each.workload, each.params, each.peer, each.reason) for each in found.skipped]
        print_table("not measured", ["workload", "what", "beside", "why"], missing)
    machine = found.machine
    say(f"Python {machine.python}, {machine.system}, core {machine.pinned}; BLAS: {machine.blas}")


def _cells(row: Row) -> tuple[object, ...]:
    rates = (f"{row.per_second:,.0f}", f"{row.peer_per_second:,.0f}")
    return (
        row.peer,
        *rates,
        *(f"{value:.3g}" for value in (row.ratio, row.min, row.max)),
        row.note,
    )
