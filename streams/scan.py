"""From the bytes of records to columns: by a kernel, and what it is not sure of by msgspec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.kernels.record_batch import ROWS, walk_records
from engine.kernels.scan_events import scan_events
from engine.kernels.scan_layout import DONE, ROW_KIND, UNSURE
from engine.kernels.tokens import PADDING
from streams.column_plan import ColumnPlan
from streams.column_writer import ColumnWriter
from streams.columns import EventColumns, RecordSpans
from streams.config import EngineConfig
from streams.events import Feedback, Tick, encode_event
from streams.log.base import Record

__all__ = ["decode_columns", "decode_columns_plainly", "warm_up_columns"]

ROW_NUMBERS = 1 << 20  # float64 numbers of rows in one result: 8 MiB


def decode_columns(plan: ColumnPlan, records: RecordSpans) -> EventColumns:
    """Decode records, up to the first control record, which is the last of the result.

    Fewer may come back than were given, but at least one: then call again with the rest,
    ``records.cut(columns.n, records.n)``, after what a control record says was done. What is
    accepted, and as what, is what `streams.events.decode_event` and `streams.rows.encode_slate`
    say, to the bit.
    """
    records = _pad(records)
    x_width, z_width = (int(np.max(width, initial=0)) for width in (plan.x_width, plan.z_width))
    slots = 2 * records.n + 1000
    writer = ColumnWriter(
        plan,
        records,
        slots=slots,
        seen=records.n + 1000,
        x=min(records.n * x_width, max(ROW_NUMBERS, x_width)),
        z=min(slots * z_width, max(ROW_NUMBERS, z_width)),
    )
    spans = (records.data, records.start, records.length)
    arrays: tuple[Any, ...] = (*spans, *plan.tables, *writer.sink)
    scan_events(*arrays)
    done = int(writer.sink.used[DONE])
    unsure = np.flatnonzero(writer.sink.ints[ROW_KIND, :done] == UNSURE)
    return _finish(writer, unsure.tolist(), done)


def decode_columns_plainly(plan: ColumnPlan, records: RecordSpans) -> EventColumns:
    """Decode as `decode_columns` does, every record by msgspec."""
    return _finish(ColumnWriter(plan, records), range(records.n), records.n)


def warm_up_columns() -> None:
    """Compile what turns bytes into columns, or load it from numba's cache."""
    tick = RecordSpans.of([Record(0, 0, "", encode_event(Tick(ts=0)))])
    feedback = Feedback(ts=0, event_id="é", request_id="a", item_id="a", kind="click")
    escaped = encode_event(feedback).replace("é".encode(), b"\\u00e9")
    plan = ColumnPlan.of(EngineConfig())
    decode_columns(plan, tick)
    decode_columns(plan, RecordSpans.of([Record(0, 0, "", escaped)]))
    places = np.empty((ROWS, 1), dtype=np.int64)
    walk_records(tick.data, 0, 0, 0, 0, places)


def _finish(writer: ColumnWriter, unsure: Iterable[int], done: int) -> EventColumns:
    for record in unsure:
        if writer.put(record):
            return writer.finish(record + 1)
    return writer.finish(done)


def _pad(records: RecordSpans) -> RecordSpans:
    """Make sure that the data ends in zeros, which end every scan."""
    if len(records.data) >= PADDING and not records.data[-PADDING:].any():
        return records
    padding = np.zeros(PADDING, dtype=np.uint8)
    return records._replace(data=np.concatenate([records.data, padding]))
