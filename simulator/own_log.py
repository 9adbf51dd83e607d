"""Reader of slatestream's own log: the slates of all its partitions as columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import SchemaError
from engine.features import Schema
from simulator.logs import Progress, SlateLog
from simulator.offers import ITEM_MISFIT, Offers, UnusableError
from simulator.own_slates import MISFIT, Excluded, LoggedSlate, Moment, PartitionReader
from streams.catalogue import Catalogue
from streams.counts import add_counts
from streams.events import Impression
from streams.log.base import EVENTS, EventLog
from streams.log.opening import find_folder, name_log, read_log_as_of_now
from streams.vector_features import find_vectors

__all__ = ["read_events", "read_own_log"]

BATCH = 5000
WAITING = "reward window open"

_When = Callable[[Moment], int]


def read_own_log(
    place: str | Path, *, recommender: str | None = None, progress: Progress | None = None
) -> SlateLog:
    """Read a log from what `streams.log.opening` opens; see `read_events`."""
    log = read_log_as_of_now(place)
    try:
        return read_events(
            log,
            source=name_log(place),
            recommender=recommender,
            progress=progress,
            data_dir=find_folder(place),
        )
    finally:
        log.close()


def read_events(
    log: EventLog,
    *,
    source: str = "log",
    recommender: str | None = None,
    progress: Progress | None = None,
    data_dir: Path | None = None,
) -> SlateLog:
    """Read every slate whose reward window is over, in the order they were shown.

    Slates whose windows are still open at the end are left out and counted: their silence says
    nothing yet. Each partition is joined by itself, as live; slates of several are put in the order
    of their stamps, those of one moment in that of partitions.

    Where items have vectors of frozen sets, those of the candidates are looked up in ``data_dir``;
    without the sets such slates are left out and counted.
    """
    excluded = Excluded()
    count = log.partitions(EVENTS)
    begins = [log.begin(EVENTS, partition) for partition in range(count)]
    total = sum(log.end(EVENTS, partition) - begin for partition, begin in enumerate(begins))
    readers = []
    done = 0
    for partition, begin in enumerate(begins):
        reader = PartitionReader(partition if count > 1 else None, begin, excluded)
        readers.append(reader)
        offset = begin
        while records := log.poll(EVENTS, offset, BATCH, partition):
            reader.take(records)
            offset = records[-1].offset + 1
            if progress is not None:
                progress(done + offset - begin, total)
        done += offset - begin
    return _Columns(readers, recommender, excluded).lay_out(Catalogue(log), source, data_dir)


class _Columns:
    """Lays slates of all partitions out as columns.

    Settings are those of the partition whose clock is ahead: all get the same, one after another.
    """

    def __init__(
        self, readers: list[PartitionReader], recommender: str | None, excluded: Excluded
    ) -> None:
        self._recommender = recommender
        self._excluded = excluded
        self._config = max(readers, key=lambda reader: reader.joiner.clock).joiner.config
        self._counts = add_counts(reader.joiner.counts for reader in readers)
        self._slates = sorted(
            (slate for reader in readers for slate in reader.slates.values()),
            key=lambda slate: slate.moment,
        )
        self._when = _offset_of if len(readers) == 1 else _rank(self._slates)

    def lay_out(self, catalogue: Catalogue, source: str, data_dir: Path | None) -> SlateLog:
        usable = [slate for slate in self._slates if self._usable(slate)]
        schema = self._schema([slate.impression for slate in usable])
        offers = Offers(catalogue, schema, find_vectors(schema, data_dir))
        kept: list[LoggedSlate] = []
        set_of: list[int] = []
        rows: list[Floats] = []
        for slate in usable:
            if not _fits(schema, slate.impression):
                self._excluded.add(MISFIT, f"request {slate.impression.request_id}")
                continue
            try:
                number = offers.take(slate.impression)
                z = schema.encode_items([item.features or {} for item in slate.impression.slate])
            except (UnusableError, SchemaError) as error:
                reason = str(error) if isinstance(error, UnusableError) else ITEM_MISFIT
                self._excluded.add(reason, f"request {slate.impression.request_id}")
                continue
            kept.append(slate)
            set_of.append(number)
            rows.append(z)
        impressions = [slate.impression for slate in kept]
        slots = _fill_slots(kept, rows, offers.number, len(schema.item_columns), self._when)
        return SlateLog(
            source=source,
            format="events",
            item_ids=tuple(offers.number),
            position=np.broadcast_to(np.arange(slots["items"].shape[1]), slots["items"].shape),
            sampling=np.array([impression.weight for impression in impressions], dtype=float),
            candidates=offers.sets,
            candidate_set=np.array(set_of, dtype=np.int64),
            contexts=[impression.context for impression in impressions],
            request_ids=[impression.request_id for impression in impressions],
            sequence=np.array([self._when(slate.moment) for slate in kept], dtype=np.int64),
            time_ms=np.array([slate.moment.stamp for slate in kept], dtype=np.int64),
            schema=schema,
            users=_users(impressions),
            excluded=self._excluded.counts,
            counts=self._counts.to_dict(),
            examples=self._excluded.examples,
            **slots,
        )

    def _usable(self, slate: LoggedSlate) -> bool:
        """Whether a slate is of the recommender asked for and final; else the reason is counted."""
        impression = slate.impression
        if self._recommender not in {None, impression.recommender}:
            return False
        reason = None
        if impression.recommender not in self._config.recommenders:
            reason = "recommender not configured"
        elif not slate.final:
            reason = "slate not activated, or in part" if impression.deferred else WAITING
        if reason:
            self._excluded.add(reason, f"request {impression.request_id}")
        return reason is None

    def _schema(self, impressions: list[Impression]) -> Schema:
        """Features of the policy that served most."""
        config = self._config
        named = [impression.recommender for impression in impressions]
        if not named:
            return Schema()
        return config.policies[config.recommenders[max(set(named), key=named.count)].policy].schema


def _fits(schema: Schema, impression: Impression) -> bool:
    """Whether a context can be read under a schema that may not be the one it was served under."""
    try:
        schema.encode([impression.context])
    except SchemaError:
        return False
    return True


def _offset_of(moment: Moment) -> int:
    return moment.offset


def _rank(slates: list[LoggedSlate]) -> _When:
    """Number the moments that slates were shown and settled at, in order."""
    moments = {slate.moment for slate in slates}
    moments.update(settled.moment for slate in slates for settled in slate.rewards.values())
    return {moment: number for number, moment in enumerate(sorted(moments))}.__getitem__


def _fill_slots(
    slates: list[LoggedSlate],
    rows: list[Floats],
    number: dict[str, int],
    width: int,
    when: _When,
) -> dict[str, Any]:
    """Columns of a `SlateLog` that have a place for every slot."""
    n, k = len(slates), max((len(slate.impression.slate) for slate in slates), default=1)
    items, matured, last = (np.full((n, k), fill) for fill in (-1, 0, -1))
    propensity, reward = np.ones((n, k)), np.zeros((n, k))
    pinned, recurrence = np.zeros((n, k), dtype=np.bool_), np.zeros((n, k), dtype=np.int64)
    z = np.zeros((n, k, width))
    for row, slate in enumerate(slates):
        z[row, : len(rows[row])] = rows[row]
        for slot, shown in enumerate(slate.impression.slate):
            items[row, slot] = number[shown.item_id]
            propensity[row, slot] = shown.propensity
            pinned[row, slot] = shown.method == "pinned"
            recurrence[row, slot] = shown.recurrence or 0
            settled = slate.rewards[slot]
            reward[row, slot], last[row, slot] = settled.reward, settled.last
            matured[row, slot] = when(settled.moment)
    return {
        "items": items,
        "propensity": propensity,
        "reward": reward,
        "matured": matured,
        "pinned": pinned,
        "recurrence": recurrence,
        "last": last,
        "z": z,
    }


def _users(impressions: list[Impression]) -> Ints | None:
    """Cluster labels: the user, or the request where none is named; None when no user is."""
    if not any(impression.user_id for impression in impressions):
        return None
    number: dict[str, int] = {}
    names = [
        f"user {impression.user_id}" if impression.user_id else f"request {impression.request_id}"
        for impression in impressions
    ]
    return np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)
