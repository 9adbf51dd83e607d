"""A log opened for reading by what names it: a file, a folder, or Kafka."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConfigError
from streams.errors import LogError
from streams.log.archive import ArchiveLog, is_archive
from streams.log.base import EVENTS, EventLog
from streams.log.kafka import open_kafka
from streams.log.prefix import Prefix
from streams.log.sqlite import SqliteLog

__all__ = ["find_folder", "name_log", "read_log_as_of_now"]

KAFKA = "kafka://"


def read_log_as_of_now(place: str | Path) -> EventLog:
    """Open a log for reading, up to where it ends now.

    Parameters
    ----------
    place
        ``kafka://host:port,host2:port/prefix?setting=value``; ``log.db``, or the folder that holds
        it; or a file that `streams.log.archive.write_archive` wrote.

    Raises
    ------
    ConfigError
        When there is no such file, or the URL cannot work.
    LogError
        When it is no log, or cannot be read.
    """
    if str(place).startswith(KAFKA):
        return _as_of_now(open_kafka(str(place)), name_log(place))
    file = Path(place) / "log.db" if Path(place).is_dir() else Path(place)
    if not file.is_file():
        raise ConfigError(
            f"{file} does not exist; give a log.db, the folder that holds one, an archive, or "
            f"{KAFKA}host:port/prefix"
        )
    if is_archive(file):
        return ArchiveLog(file)
    return _as_of_now(SqliteLog(file, read_only=True), name_log(place))


def find_folder(place: str | Path) -> Path | None:
    """Folder that ``place`` lies in, or is; None for a log of Kafka's."""
    if str(place).startswith(KAFKA):
        return None
    return Path(place) if Path(place).is_dir() else Path(place).parent


def name_log(place: str | Path) -> str:
    """What may be shown of ``place``: settings of a URL may hold passwords."""
    text = str(place)
    return text.partition("?")[0] if text.startswith(KAFKA) else text


def _as_of_now(log: EventLog, name: str) -> EventLog:
    try:
        prefix = Prefix(log)
    except BaseException:
        log.close()
        raise
    if not prefix.partitions(EVENTS):
        log.close()
        raise LogError(f"{name} has no topic {EVENTS}; give the prefix of its topics")
    return prefix
