"""Retrieval, one row and one event at a time."""

import numpy as np


def allowed(row, records, filters):
    """Whether a row may be returned to anybody."""
    if len(records.live) and not records.live[row]:
        return False
    if len(filters.available) and not filters.available[row]:
        return False
    if len(filters.available_from) and filters.now_ms < filters.available_from[row]:
        return False
    return not (len(filters.expires_at) and filters.now_ms >= filters.expires_at[row])


def score(row, query, records):
    """In double precision: whole numbers of float32 come out the same."""
    record = records.slab[row].astype(float)
    vector = record[records.start : records.start + records.size]
    return float(vector @ query) + (record[records.bias] if records.bias >= 0 else 0.0)


def search(records, queries, k, filters, excluded=None, rows=None):
    """Rows and scores, -1 and -inf where there are fewer."""
    rows = range(len(records.slab)) if rows is None else sorted(set(rows))
    all_rows, all_scores = [], []
    for i, query in enumerate(queries):
        banned = set() if excluded is None else set(np.asarray(excluded[i]).tolist())
        scored = [
            (-score(row, query, records), row)
            for row in rows
            if allowed(row, records, filters) and row not in banned
        ]
        best = sorted(pair for pair in scored if pair[0] == pair[0])[:k]
        lack = k - len(best)
        all_rows.append([row for _, row in best] + [-1] * lack)
        all_scores.append([-value for value, _ in best] + [-np.inf] * lack)
    return np.array(all_rows), np.array(all_scores)
