"""Bring a store's database to the newest revision of its tables, by Alembic.

A revision that was released never changes; what tables need next is a new file in ``versions``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.sql import column, table

from streams.database import Database
from streams.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["REVISION", "VERSION_TABLE", "alembic_config", "migrate"]

REVISION = "0002"  # the newest
VERSION_TABLE = "slatestream_version"
LOCK = 0x736C_6174_6573_7472  # any number no other program on the database is likely to lock


logger = logging.getLogger(__name__)


def migrate(database: Database) -> None:
    """Create the tables, or change those of an earlier release; of many callers one does it.

    Raises
    ------
    StoreError
        When the tables are those of a later release, or not of a release, or cannot be changed.
    """
    with database.reading("open") as connection:
        if _revision(connection) == REVISION:
            return
    with database.writing("migrate") as connection:
        if database.dialect == "postgresql":  # SQLite's transaction keeps the others out by itself
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        found = _revision(connection)
        if found != REVISION:
            _upgrade(connection, database.name, found)


def alembic_config(connection: Connection) -> Config:
    """Return what Alembic's commands take to work on a connection."""
    from alembic.config import Config  # noqa: PLC0415  (slow to load, and seldom needed)

    config = Config()
    config.set_main_option("script_location", "streams:migrations")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection, name: str, found: str | None) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # what it did is told below, in a line
    from alembic import command  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = alembic_config(connection)
    known = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    if found is not None and found not in known:
        raise StoreError(
            f"store {name} has revision {found}, made by a later release; this one knows up to "
            f"{REVISION}: install that release again, or give another store"
        )
    if found is None and {"meta", "shard"} <= set(inspect(connection).get_table_names()):
        raise StoreError(
            f"store {name} was made before the first release whose stores are kept: give another, "
            "or remove this one and learn anew from the log"
        )
    command.upgrade(config, "head")
    logger.info("tables of store %s brought to revision %s", name, REVISION)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    versions = table(VERSION_TABLE, column("version_num"))
    return connection.execute(select(versions.c.version_num)).scalar()
