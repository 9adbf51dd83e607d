"""``slatestream doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api import kernel_cache
from api.commands.logs import JsonOption
from api.commands.output import print_json, print_table
from api.doctor.findings import Finding, Report, problem
from api.settings import read_settings
from engine.errors import ConfigError

__all__ = ["doctor"]

EXIT_PROBLEM = 1


def doctor(
    *,
    config: Annotated[
        Path | None, typer.Option(help="Settings; slatestream.toml when it exists.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Overrides the settings.")] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read the embedded log through, however large.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check settings, disk, log, database, clocks and the running service; 1 when one is bad.

    Nothing is changed by it; a service may run meanwhile.
    """
    report = _examine(config, data_dir, thorough=thorough)
    if json:
        print_json(report)
    else:
        _print(report)
    if report.status == "problem":
        raise typer.Exit(EXIT_PROBLEM)


def _examine(config: Path | None, data_dir: Path | None, *, thorough: bool) -> Report:
    try:
        settings = read_settings(config, data_dir=data_dir)
        kernel_cache.use(settings.cache_dir)
    except ConfigError as error:
        todo = "correct it; 'slatestream init' writes a commented file to begin from"
        return Report.of([problem("settings", str(error), "settings that can be read", todo)])
    from api.doctor.examine import examine  # noqa: PLC0415  (loads numba)

    return examine(settings, config, thorough=thorough)


def _print(report: Report) -> None:
    rows = [(each.status, each.check, _tell(each)) for each in report.findings]
    print_table(f"doctor: {report.status}", ["", "check", "found"], rows)


def _tell(finding: Finding) -> str:
    advice = {"allowed": finding.allowed, "to do": finding.todo}
    return "\n".join([finding.found, *(f"{name}: {told}" for name, told in advice.items() if told)])
