"""Decoded events as columns: what stands between the bytes of a log and the joiner's kernel.

A stretch of records becomes one struct of arrays. Texts are not copied: a column of a text is its
64-bit hash (`engine.kernels.hashing`) and a span, its first byte and length in ``data``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.errors import BadEventError
from streams.events import Control
from streams.log.base import Record

__all__ = [
    "ACTIVATION",
    "BAD",
    "CONTROL",
    "FEEDBACK",
    "IMPRESSION",
    "MISPLACED_ITEM",
    "MISPLACED_POOL",
    "MISPLACED_USER",
    "TICK",
    "EventColumns",
    "RecordSpans",
]

PADDED = bytes(16)

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

IMPRESSION, ACTIVATION, FEEDBACK, CONTROL, TICK = 0, 1, 2, 3, 4
MISPLACED_ITEM, MISPLACED_USER, MISPLACED_POOL = 5, 6, 7  # they belong in the catalogue
BAD = 8


class RecordSpans(NamedTuple):
    """Records in log order, their values as spans of ``data``; each column ``(n,)``.

    ``data`` must be writable, for kernels are compiled for such arrays alone; when it ends in 16
    zeros, scanning need not copy it.

    ``offset`` grows, but not always by one: a Kafka log has gaps where markers of transactions
    stand and where compaction was at work.
    """

    data: Bytes
    offset: Ints
    stamp: Ints  # ms
    start: Ints
    length: Ints

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordSpans:
        """Lay the values of records one after the other."""
        length = np.array([len(record.value) for record in records], dtype=np.int64)
        return cls(
            data=np.frombuffer(
                bytearray().join([*(record.value for record in records), PADDED]), dtype=np.uint8
            ),
            offset=np.array([record.offset for record in records], dtype=np.int64),
            stamp=np.array([record.stamp for record in records], dtype=np.int64),
            start=np.cumsum(length) - length,
            length=length,
        )

    @property
    def n(self) -> int:
        """How many records there are."""
        return len(self.offset)

    def cut(self, start: int, stop: int) -> RecordSpans:
        """Records ``start`` to ``stop``, as views of the same data."""
        columns = (column[start:stop] for column in self[1:])
        return RecordSpans(self.data, *columns)

    def value(self, index: int) -> bytes:
        """Bytes of one record's value."""
        start = int(self.start[index])
        return self.data[start : start + int(self.length[index])].tobytes()


class EventColumns(NamedTuple):
    """``n`` decoded records, in log order, under one `streams.column_plan.ColumnPlan`.

    A column holds 0 for records that it says nothing of. A control record ends a stretch: it may
    change the plan that the next one must be decoded with.

    Attributes
    ----------
    data
        ``(bytes,)`` uint8. All texts are spans of it: ``X_start`` its first byte, ``X_length``
        its length in bytes (UTF-8), ``X_hash`` the hash of them.
    offset, stamp
        ``(n,)`` int64: the record's offset and append stamp (ms).
    kind
        ``(n,)`` int64: `IMPRESSION`, `ACTIVATION`, `FEEDBACK`, `CONTROL`, `TICK`,
        `MISPLACED_ITEM`, `MISPLACED_USER`, `MISPLACED_POOL` or `BAD`.
    value_start, value_length
        ``(n,)`` int64: the record's whole value.
    request_hash, request_start, request_length
        ``(n,)``: request id of an impression, an activation or a feedback.
    recommender
        ``(n,)`` int64, impressions: place in ``plan.recommenders``, -1 when it is not there.
    deferred, weight
        ``(n,)`` bool and float64, impressions.
    first_slot, slots
        ``(n,)`` int64. Impressions: their slots are ``first_slot`` to ``first_slot + slots`` of
        the columns of slots. Activations: likewise of ``seen``; ``slots`` is -1 for all of them.
    x_start
        ``(n,)`` int64, impressions: the context row is
        ``x[x_start : x_start + plan.x_width[policy]]``; -1 when the recommender is unknown or the
        features do not fit its policy's schema. Of the latter ``errors`` holds the reason.
    encodable
        ``(n,)`` bool, impressions: False when the features do not fit.
    event_hash, event_start, event_length
        ``(n,)``: event id of a feedback.
    target_hash, target_start, target_length
        ``(n,)``: item id of a feedback.
    target_slot
        ``(n,)`` int64: slot that a feedback names, -1 for none.
    reaction
        ``(n,)`` int64: kind of a feedback, as its place in ``plan.kinds``; -1 when not there.
    reward
        ``(n,)`` float64: ``value`` of a feedback.
    item_hash, item_start, item_length
        ``(slots,)``: item id of each slot.
    propensity
        ``(slots,)`` float64: `ShownItem.unbiased`.
    z_start
        ``(slots,)`` int64: the item's row is ``z[z_start : z_start + plan.z_width[policy]]``;
        -1 when ``x_start`` is, or when the schema has no item features.
    seen
        Slots that activations name, int64.
    x, z
        Encoded rows, float64, one after the other: their widths differ by policy.
    errors
        By record: why a `BAD` one is none, why the features of an impression do not fit.
    controls
        By record: control records, as decoded. At most one, and it is the last record.
    unsure
        How many records the scanner left to the full decoder, which takes twenty times as long.
    """

    data: Bytes
    offset: Ints
    stamp: Ints
    kind: Ints
    value_start: Ints
    value_length: Ints
    request_hash: Hashes
    request_start: Ints
    request_length: Ints
    recommender: Ints
    deferred: Flags
    weight: Floats
    first_slot: Ints
    slots: Ints
    x_start: Ints
    encodable: Flags
    event_hash: Hashes
    event_start: Ints
    event_length: Ints
    target_hash: Hashes
    target_start: Ints
    target_length: Ints
    target_slot: Ints
    reaction: Ints
    reward: Floats
    item_hash: Hashes
    item_start: Ints
    item_length: Ints
    propensity: Floats
    z_start: Ints
    seen: Ints
    x: Floats
    z: Floats
    errors: dict[int, BadEventError]
    controls: dict[int, Control]
    unsure: int

    @property
    def n(self) -> int:
        """How many records there are."""
        return len(self.offset)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The columns, in order, without what is kept by record."""
        arrays: tuple[NDArray[Any], ...] = self[:-3]
        return arrays

    def value(self, record: int) -> bytes:
        """Bytes of a record's value."""
        return self.text(self.value_start[record], self.value_length[record])

    def text(self, start: int | np.int64, length: int | np.int64) -> bytes:
        """Bytes of a span."""
        return self.data[start : start + length].tobytes()
