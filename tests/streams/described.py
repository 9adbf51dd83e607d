"""Columns read back as plain data, one record at a time, for comparing."""

from engine.kernels.hashing import hash_bytes
from streams.column_plan import ColumnPlan
from streams.columns import ACTIVATION, FEEDBACK, IMPRESSION, EventColumns


def describe(plan: ColumnPlan, columns: EventColumns) -> list[tuple]:
    """All that the columns say of each record; hashes are checked against the texts."""
    return [_describe(plan, columns, record) for record in range(columns.n)]


def _describe(plan, columns, record):
    error = columns.errors.get(record)
    told = (
        int(columns.kind[record]),
        int(columns.offset[record]),
        int(columns.stamp[record]),
        columns.value(record),
        None if error is None else (error.reason, error.detail, error.pointer),
        columns.controls.get(record),
    )
    if columns.kind[record] == IMPRESSION:
        return *told, *_impression(plan, columns, record)
    if columns.kind[record] == ACTIVATION:
        return *told, _text(columns, "request", record), _seen(columns, record)
    if columns.kind[record] == FEEDBACK:
        texts = [_text(columns, name, record) for name in ("request", "event", "target")]
        slot, reaction = int(columns.target_slot[record]), int(columns.reaction[record])
        return *told, *texts, slot, reaction, columns.reward[record].hex()
    return told


def _impression(plan, columns, record):
    first, slots = int(columns.first_slot[record]), int(columns.slots[record])
    recommender = int(columns.recommender[record])
    row, width, item_width = None, 0, 0
    if columns.x_start[record] >= 0:
        policy = plan.policy_of[recommender]
        width, item_width = int(plan.x_width[policy]), int(plan.z_width[policy])
        start = columns.x_start[record]
        row = columns.x[start : start + width].tobytes()
        assert len(row) == 8 * width
    return (
        _text(columns, "request", record),
        recommender,
        bool(columns.deferred[record]),
        bool(columns.encodable[record]),
        columns.weight[record].hex(),
        row,
        [_slot(columns, slot, item_width) for slot in range(first, first + slots)],
    )


def _slot(columns, slot, width):
    start, row = columns.z_start[slot], None
    if start >= 0:
        row = columns.z[start : start + width].tobytes()
        assert len(row) == 8 * width
    return _text(columns, "item", slot), columns.propensity[slot].hex(), row


def _seen(columns, record):
    first, slots = columns.first_slot[record], columns.slots[record]
    return None if slots < 0 else columns.seen[first : first + slots].tolist()


def _text(columns, name, at):
    start, length = (getattr(columns, f"{name}_{part}")[at] for part in ("start", "length"))
    text = columns.text(start, length)
    assert getattr(columns, f"{name}_hash")[at] == hash_bytes(text)
    assert len(text) == length
    return text
