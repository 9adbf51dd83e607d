"""Columns from decoded events, one record at a time: what the scanner leaves, and its oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.batches import Floats, Ints, Keys
from engine.kernels.hashing import hash_spans
from engine.kernels.scan_events import (
    FLAG_ROWS,
    FLOAT_ROWS,
    HASH_ROWS,
    INT_ROWS,
    SLOT_ROWS,
    UNSURE,
    Sink,
)
from engine.kernels.tokens import PADDING
from streams.column_plan import ColumnPlan
from streams.columns import (
    ACTIVATION,
    BAD,
    CONTROL,
    FEEDBACK,
    IMPRESSION,
    MISPLACED_ITEM,
    MISPLACED_POOL,
    MISPLACED_USER,
    TICK,
    EventColumns,
    RecordSpans,
)
from streams.errors import BadEventError
from streams.events import (
    Activation,
    Control,
    Event,
    Feedback,
    Impression,
    Item,
    Pool,
    Tick,
    User,
    decode_event,
)
from streams.rows import SlateRows, encode_slate

__all__ = ["ColumnWriter"]

Bytes = NDArray[np.uint8]
Number = TypeVar("Number", np.float64, np.int64)

KINDS: dict[type[Event], int] = {
    Impression: IMPRESSION,
    Activation: ACTIVATION,
    Feedback: FEEDBACK,
    Control: CONTROL,
    Tick: TICK,
    Item: MISPLACED_ITEM,
    User: MISPLACED_USER,
    Pool: MISPLACED_POOL,
}


class ColumnWriter:
    """Columns of some records, being filled.

    ``sink`` is what the scanner writes; `put` fills in what it is not sure of, and keeps slots
    and rows of its own, which `finish` lays after the scanner's.

    Parameters
    ----------
    slots, seen, x, z
        How many slots, activated slots, and numbers of rows the scanner may write.
    """

    def __init__(
        self,
        plan: ColumnPlan,
        records: RecordSpans,
        *,
        slots: int = 0,
        seen: int = 0,
        x: int = 0,
        z: int = 0,
    ) -> None:
        n = records.n
        self.sink = Sink(
            ints=np.zeros((INT_ROWS, n), dtype=np.int64),
            hashes=np.zeros((HASH_ROWS, n), dtype=np.uint64),
            floats=np.zeros((FLOAT_ROWS, n)),
            flags=np.zeros((FLAG_ROWS, n), dtype=np.bool_),
            slot_ints=np.empty((SLOT_ROWS, slots), dtype=np.int64),
            slot_hashes=np.empty(slots, dtype=np.uint64),
            propensity=np.empty(slots),
            seen_slots=np.empty(seen, dtype=np.int64),
            x=np.empty(x),
            z=np.empty(z),
            marks=np.zeros(len(plan.tables.kinds), dtype=np.int64),
            used=np.zeros(6, dtype=np.int64),
        )
        self.sink.ints[0] = UNSURE
        self._plan = plan
        self._records = records
        self._recommenders = {name: place for place, name in enumerate(plan.recommenders)}
        self._kinds = {kind: place for place, kind in enumerate(plan.kinds)}
        self._text = bytearray()
        self._slots: list[tuple[int, int, int]] = []
        self._propensity: list[float] = []
        self._seen: list[int] = []
        self._x: list[Floats] = []
        self._z: list[Floats] = []
        self._x_end = self._z_end = 0
        self._put: list[int] = []
        self._errors: dict[int, BadEventError] = {}
        self._controls: dict[int, Control] = {}

    def put(self, record: int) -> bool:
        """Decode one record in full; returns whether it is a control record."""
        if not self._put:
            self._x_end, self._z_end = int(self.sink.used[1]), int(self.sink.used[2])
        self._put.append(record)
        try:
            event = decode_event(self._records.value(record))
        except BadEventError as error:
            self._errors[record] = error
            self.sink.ints[0, record] = BAD
            return False
        self.sink.ints[0, record] = KINDS[type(event)]
        if isinstance(event, Impression):
            self._put_impression(record, event)
        elif isinstance(event, Activation | Feedback):
            self._put_reply(record, event)
        elif isinstance(event, Control):
            self._controls[record] = event
        return isinstance(event, Control)

    def _put_impression(self, record: int, event: Impression) -> None:
        ints, flags = self.sink.ints, self.sink.flags
        place = self._recommenders.get(event.recommender, -1)
        rows = None
        flags[:, record] = event.deferred, True
        if place >= 0:
            schema = self._plan.schemas[self._plan.policy_of[place]]
            try:
                rows = encode_slate(schema, event)
            except BadEventError as error:
                self._errors[record] = error
                flags[1, record] = False
        ints[1:3, record] = self._span(event.request_id)
        ints[3, record] = place
        ints[4:6, record] = self.sink.used[0] + len(self._slots), len(event.slate)
        ints[6, record] = -1 if rows is None else self._x_end
        self.sink.floats[0, record] = event.weight
        self._put_slots(event, rows)

    def _put_slots(self, event: Impression, rows: SlateRows | None) -> None:
        z_start, step = -1, 0
        if rows is not None:
            self._x.append(rows.x)
            self._x_end += len(rows.x)
            if rows.z is not None:
                z_start, step = self._z_end, rows.z.shape[1]
                self._z.append(rows.z.ravel())
                self._z_end += rows.z.size
        for shown in event.slate:
            self._slots.append((*self._span(shown.item_id), z_start))
            self._propensity.append(shown.unbiased)
            z_start += step

    def _put_reply(self, record: int, event: Activation | Feedback) -> None:
        ints = self.sink.ints
        ints[1:3, record] = self._span(event.request_id)
        if isinstance(event, Feedback):
            ints[7:9, record] = self._span(event.event_id)
            ints[9:11, record] = self._span(event.item_id)
            ints[11, record] = -1 if event.slot is None else event.slot
            ints[12, record] = self._kinds.get(event.kind, -1)
            self.sink.floats[1, record] = event.value
        else:
            ints[4, record] = self.sink.used[3] + len(self._seen)
            ints[5, record] = -1 if event.slots is None else len(event.slots)
            self._seen += event.slots or ()

    def _span(self, text: str) -> tuple[int, int]:
        """Keep a text after the records' own data."""
        start, encoded = len(self._records.data) + len(self._text), text.encode()
        self._text += encoded
        return start, len(encoded)

    def finish(self, n: int) -> EventColumns:
        """Return the columns of the first ``n`` records, all of which were scanned or put."""
        records, sink = self._records, self.sink
        ints, hashes = sink.ints[:, :n], sink.hashes[:, :n]
        slots, x_used, z_used, seen_used = (int(used) for used in sink.used[:4])
        slot_ints, slot_hashes = sink.slot_ints[:, :slots], sink.slot_hashes[:slots]
        data, propensity = records.data, sink.propensity[:slots]
        if self._text:
            kept = np.frombuffer(self._text + bytes(PADDING), dtype=np.uint8)
            data = np.concatenate([data, kept])
            self._hash_put(data)
        if self._slots:
            mine = np.ascontiguousarray(np.array(self._slots, dtype=np.int64).T)
            slot_ints = np.concatenate([slot_ints, mine], axis=1)
            slot_hashes = np.concatenate([slot_hashes, _hash(data, mine[0], mine[1])])
            propensity = np.concatenate([propensity, np.array(self._propensity)])
        return EventColumns(
            data=data,
            offset=records.offset[:n],
            stamp=records.stamp[:n],
            kind=ints[0],
            value_start=records.start[:n],
            value_length=records.length[:n],
            request_hash=hashes[0],
            request_start=ints[1],
            request_length=ints[2],
            recommender=ints[3],
            deferred=sink.flags[0, :n],
            weight=sink.floats[0, :n],
            first_slot=ints[4],
            slots=ints[5],
            x_start=ints[6],
            encodable=sink.flags[1, :n],
            event_hash=hashes[1],
            event_start=ints[7],
            event_length=ints[8],
            target_hash=hashes[2],
            target_start=ints[9],
            target_length=ints[10],
            target_slot=ints[11],
            reaction=ints[12],
            reward=sink.floats[1, :n],
            item_hash=slot_hashes,
            item_start=slot_ints[0],
            item_length=slot_ints[1],
            propensity=propensity,
            z_start=slot_ints[2],
            seen=_lay(sink.seen_slots[:seen_used], [np.array(self._seen, dtype=np.int64)]),
            x=_lay(sink.x[:x_used], self._x),
            z=_lay(sink.z[:z_used], self._z),
            errors=self._errors,
            controls=self._controls,
            unsure=len(self._put),
        )

    def _hash_put(self, data: Bytes) -> None:
        """Hash the texts of the records put."""
        put = np.array(self._put, dtype=np.int64)
        for row, (start, length) in enumerate(((1, 2), (7, 8), (9, 10))):
            held = put[self.sink.ints[length, put] > 0]
            where = self.sink.ints[start, held], self.sink.ints[length, held]
            self.sink.hashes[row, held] = _hash(data, *where)


def _hash(data: Bytes, start: Ints, length: Ints) -> Keys:
    out = np.empty(len(start), dtype=np.uint64)
    hash_spans(data, np.ascontiguousarray(start), np.ascontiguousarray(length), out)
    return out


def _lay(scanned: NDArray[Number], put: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """Lay what was put after what was scanned."""
    return np.concatenate([scanned, *put]) if any(map(len, put)) else scanned
