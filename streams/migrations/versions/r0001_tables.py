"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "shard",
        *_of_shard(),
        sa.Column("log", sa.String(64), nullable=False),
        sa.Column("partitions", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in (
                "epoch",
                "seq",
                "next_offset",
                "clock",
                "join_offset",
                "join_clock",
                "delta_bytes",
                "base_bytes",
            )
        ),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("counts", "config", "join_config", "chain")
        ),
        sa.PrimaryKeyConstraint("topic", "part"),
    )
    for name in ("delta", "base"):
        op.create_table(
            name,
            *_of_shard(),
            sa.Column("seq", sa.BigInteger, nullable=False),
            sa.Column("crc", sa.BigInteger, nullable=False),
            sa.Column("body", sa.LargeBinary, nullable=False),
            sa.PrimaryKeyConstraint("topic", "part", "seq"),
        )
    op.create_table(
        "closed",
        *_of_shard(),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("forget", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("topic", "part", "seq"),
    )
    op.create_index("closed_forget", "closed", ["topic", "part", "forget"])
    op.create_table(
        "dead_letter",
        *_of_shard(),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("pointer", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("requeued_ms", sa.BigInteger),
        sa.Column("requeued_offset", sa.BigInteger),
        sa.PrimaryKeyConstraint("topic", "part", "offset"),
    )
    op.create_index("dead_letter_stamp", "dead_letter", ["stamp"])
    op.create_index("dead_letter_reason", "dead_letter", ["reason", "stamp"])


def _of_shard() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
    )
