"""From records to columns."""

from __future__ import annotations

from streams.column_plan import ColumnPlan
from streams.columns import EventColumns, RecordSpans

__all__ = ["decode_columns"]


def decode_columns(plan: ColumnPlan, records: RecordSpans) -> EventColumns:
    """Decode records, up to the first control record, which is the last of the result.

    Fewer may come back, at least one of those given: then call again with the rest,
    ``records.cut(columns.n, records.n)``, after what a control record says was done.
    """
    raise NotImplementedError
