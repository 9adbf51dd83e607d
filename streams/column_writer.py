"""Columns from decoded events, one record at a time: what the scanner leaves, and its oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.batches import Floats, Ints, Keys
from engine.kernels.hashing import hash_spans
from engine.kernels.scan_layout import (
    COUNTERS,
    FLAG_DEFERRED,
    FLAG_ENCODABLE,
    FLAG_ROWS,
    FLOAT_REWARD,
    FLOAT_ROWS,
    FLOAT_WEIGHT,
    HASH_EVENT,
    HASH_REQUEST,
    HASH_ROWS,
    HASH_TARGET,
    INT_ROWS,
    ROW_EVENT,
    ROW_KIND,
    ROW_REACTION,
    ROW_RECOMMENDER,
    ROW_REQUEST,
    ROW_SLOTS,
    ROW_TARGET,
    ROW_TARGET_SLOT,
    ROW_X,
    SEEN_USED,
    SLOT_ROWS,
    SLOTS_USED,
    UNSURE,
    X_USED,
    Z_USED,
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
            used=np.zeros(COUNTERS, dtype=np.int64),
        )
        self.sink.ints[ROW_KIND] = UNSURE
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
            self._x_end, self._z_end = int(self.sink.used[X_USED]), int(self.sink.used[Z_USED])
        self._put.append(record)
        try:
            event = decode_event(self._records.value(record))
        except BadEventError as error:
            self._errors[record] = error
            self.sink.ints[ROW_KIND, record] = BAD
            return False
        self.sink.ints[ROW_KIND, record] = KINDS[type(event)]
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
        flags[FLAG_DEFERRED, record], flags[FLAG_ENCODABLE, record] = event.deferred, True
        if place >= 0:
            schema = self._plan.schemas[self._plan.policy_of[place]]
            try:
                rows = encode_slate(schema, event)
            except BadEventError as error:
                self._errors[record] = error
                flags[FLAG_ENCODABLE, record] = False
        ints[ROW_REQUEST : ROW_REQUEST + 2, record] = self._span(event.request_id)
        ints[ROW_RECOMMENDER, record] = place
        ints[ROW_SLOTS, record] = self.sink.used[SLOTS_USED] + len(self._slots)
        ints[ROW_SLOTS + 1, record] = len(event.slate)
        ints[ROW_X, record] = -1 if rows is None else self._x_end
        self.sink.floats[FLOAT_WEIGHT, record] = event.weight
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
        ints[ROW_REQUEST : ROW_REQUEST + 2, record] = self._span(event.request_id)
        if isinstance(event, Feedback):
            ints[ROW_EVENT : ROW_EVENT + 2, record] = self._span(event.event_id)
            ints[ROW_TARGET : ROW_TARGET + 2, record] = self._span(event.item_id)
            ints[ROW_TARGET_SLOT, record] = -1 if event.slot is None else event.slot
            ints[ROW_REACTION, record] = self._kinds.get(event.kind, -1)
            self.sink.floats[FLOAT_REWARD, record] = event.value
        else:
            ints[ROW_SLOTS, record] = self.sink.used[SEEN_USED] + len(self._seen)
            ints[ROW_SLOTS + 1, record] = -1 if event.slots is None else len(event.slots)
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
        slots, x_used, z_used, seen_used = (
            int(sink.used[at]) for at in (SLOTS_USED, X_USED, Z_USED, SEEN_USED)
        )
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
            kind=ints[ROW_KIND],
            value_start=records.start[:n],
            value_length=records.length[:n],
            request_hash=hashes[HASH_REQUEST],
            request_start=ints[ROW_REQUEST],
            request_length=ints[ROW_REQUEST + 1],
            recommender=ints[ROW_RECOMMENDER],
            deferred=sink.flags[FLAG_DEFERRED, :n],
            weight=sink.floats[FLOAT_WEIGHT, :n],
            first_slot=ints[ROW_SLOTS],
            slots=ints[ROW_SLOTS + 1],
            x_start=ints[ROW_X],
            encodable=sink.flags[FLAG_ENCODABLE, :n],
            event_hash=hashes[HASH_EVENT],
            event_start=ints[ROW_EVENT],
            event_length=ints[ROW_EVENT + 1],
            target_hash=hashes[HASH_TARGET],
            target_start=ints[ROW_TARGET],
            target_length=ints[ROW_TARGET + 1],
            target_slot=ints[ROW_TARGET_SLOT],
            reaction=ints[ROW_REACTION],
            reward=sink.floats[FLOAT_REWARD, :n],
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
        hashed = {HASH_REQUEST: ROW_REQUEST, HASH_EVENT: ROW_EVENT, HASH_TARGET: ROW_TARGET}
        for row, at in hashed.items():
            start, length = self.sink.ints[at : at + 2]
            held = put[length[put] > 0]
            self.sink.hashes[row, held] = _hash(data, start[held], length[held])


def _hash(data: Bytes, start: Ints, length: Ints) -> Keys:
    out = np.empty(len(start), dtype=np.uint64)
    hash_spans(data, np.ascontiguousarray(start), np.ascontiguousarray(length), out)
    return out


def _lay(scanned: NDArray[Number], put: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """Lay what was put after what was scanned."""
    return np.concatenate([scanned, *put]) if any(map(len, put)) else scanned
