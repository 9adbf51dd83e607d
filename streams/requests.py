"""Records that could not be used."""

from __future__ import annotations

from typing import NamedTuple

from streams.errors import BadEventError
from streams.log.base import Record

__all__ = ["DeadLetter"]


class DeadLetter(NamedTuple):
    """A record that could not be used, and why."""

    offset: int
    stamp: int
    reason: str
    detail: str
    pointer: str
    value: bytes

    @classmethod
    def of(cls, record: Record, error: BadEventError) -> DeadLetter:
        """Make the dead letter of a record."""
        where = (record.offset, record.stamp)
        return cls(*where, error.reason, error.detail, error.pointer, record.value)
