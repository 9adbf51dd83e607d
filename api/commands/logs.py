"""What the commands that read a log have in common: its options, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from api import kernel_cache

if TYPE_CHECKING:
    from simulator.logs import SlateLog

__all__ = [
    "Behaviour",
    "Campaign",
    "Format",
    "JsonOption",
    "LogBehaviour",
    "LogFormat",
    "LogPath",
    "Policies",
    "Recommender",
    "open_log",
]


class LogFormat(StrEnum):
    """Layouts of logs."""

    EVENTS = "events"
    OBD = "obd"


class LogBehaviour(StrEnum):
    """Logging policies of the Open Bandit Dataset."""

    RANDOM = "random"
    BTS = "bts"


LogPath = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        help="log.db or its folder, a file of 'slatestream export', or kafka://host:port/prefix; "
        "for obd the data's folder.",
    ),
]
Format = Annotated[LogFormat, typer.Option("--format", help="How the log is laid out.")]
Campaign = Annotated[str, typer.Option(help="obd: which campaign.")]
Behaviour = Annotated[LogBehaviour, typer.Option(help="obd: whose choices.")]
Recommender = Annotated[str | None, typer.Option(help="events: only this recommender's slates.")]
Policies = Annotated[
    list[str],
    typer.Option(
        "--policy", help="uniform, table:FILE, or name:key=value,…; may be given several times."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def open_log(
    path: str,
    layout: LogFormat,
    campaign: str,
    behaviour: LogBehaviour,
    *,
    recommender: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SlateLog:
    """Read a log; raises ``SlatestreamError`` when it is absent or of another layout."""
    kernel_cache.use(None)
    from simulator.readers import read_log  # noqa: PLC0415  (loads numba)

    return read_log(
        path,
        format=layout.value,
        campaign=campaign,
        behaviour=behaviour.value,
        recommender=recommender,
        progress=progress,
    )
