"""What Alembic runs: the revisions wanted, within the caller's transaction."""

from __future__ import annotations

from alembic import context

from streams.migrations import VERSION_TABLE
from streams.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
