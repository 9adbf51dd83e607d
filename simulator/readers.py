"""Read a log of any known format as columns."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConfigError
from simulator.logs import Progress, SlateLog
from simulator.obd import read_obd
from simulator.own_log import read_own_log

__all__ = ["FORMATS", "read_log"]

FORMATS = ("events", "obd")


def read_log(
    path: str | Path,
    *,
    format: str = "events",  # noqa: A002
    campaign: str = "all",
    behaviour: str = "random",
    recommender: str | None = None,
    progress: Progress | None = None,
) -> SlateLog:
    """Read a log.

    Parameters
    ----------
    path
        slatestream's ``log.db`` or the folder it is in, an archive of a log, or a Kafka URL; for
        ``obd`` the folder that holds ``random`` and ``bts``.
    format
        ``events`` or ``obd``.
    campaign, behaviour
        Which part of the Open Bandit Dataset.
    recommender
        Only the slates of this recommender, for ``events``.

    Raises
    ------
    SlatestreamError
        When the log is absent or not of this format.
    """
    if format == "obd":
        return read_obd(Path(path), campaign=campaign, behaviour=behaviour, progress=progress)
    if format == "events":
        return read_own_log(path, recommender=recommender, progress=progress)
    raise ConfigError(f"format is {format!r}; give one of {', '.join(FORMATS)}")
