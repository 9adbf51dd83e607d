"""From what a consumer of kafka-python brings to records of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.errors import UnfitTopicError
from streams.log.base import Record
from streams.log.kafka.checks import STAMP_REMEDY
from streams.log.kafka.slots import Chunk

__all__ = ["decode"]

APPEND_TIME = 1
RECORD_BYTES = 250  # what a record costs in memory beside its key and value, about


def decode(polled: Sequence[Any]) -> Chunk:
    """Records of one partition, from kafka-python's objects for each.

    Raises
    ------
    UnfitTopicError
        When a record was stamped by who appended it: such stamps are no clock.
    """
    records = []
    size = 0
    for one in polled:
        if one.timestamp_type != APPEND_TIME:
            raise UnfitTopicError(
                f"record {one.offset} of {one.topic}-{one.partition} bears a stamp of its "
                f"producer, not of its append; {STAMP_REMEDY}"
            )
        key = one.key.decode(errors="replace") if one.key else ""
        value = one.value or b""
        size += len(key) + len(value) + RECORD_BYTES
        records.append(Record(one.offset, one.timestamp, key, value))
    return Chunk(records, size)
