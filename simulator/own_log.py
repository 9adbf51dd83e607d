"""Reader of slatestream's own log, joined to rewards by the same joiner that learns live."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError, SchemaError
from engine.features import Schema
from simulator.logs import Progress, SlateLog
from simulator.offers import ITEM_MISFIT, Offers, UnusableError
from streams.catalogue import Catalogue
from streams.columns import BAD, IMPRESSION, EventColumns, RecordSpans
from streams.config import EngineConfig
from streams.counts import CountTable
from streams.errors import BadEventError
from streams.events import Impression, decode_event
from streams.join import Joiner, JoinPoint
from streams.log.base import EVENTS, EventLog, Record
from streams.log.sqlite import SqliteLog
from streams.scan import decode_columns

__all__ = ["open_log", "read_events", "read_own_log"]

BATCH = 5000
WAITING = "reward window open"
MISFIT = "context does not fit the schema"
EXAMPLES = 3


def open_log(path: Path) -> SqliteLog:
    """Open ``log.db``, or the one in a data folder; raises ``ConfigError`` when there is none."""
    file = path / "log.db" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; give a log.db, or the folder that holds one")
    return SqliteLog(file, read_only=True)


def read_own_log(
    path: Path, *, recommender: str | None = None, progress: Progress | None = None
) -> SlateLog:
    """Read a log from its file; see `read_events`."""
    log = open_log(path)
    try:
        return read_events(log, source=str(path), recommender=recommender, progress=progress)
    finally:
        log.close()


def read_events(
    log: EventLog,
    *,
    source: str = "log",
    recommender: str | None = None,
    progress: Progress | None = None,
) -> SlateLog:
    """Read every slate whose reward window is over.

    Slates whose windows are still open at the end are left out and counted: their silence says
    nothing yet.
    """
    reader = _Reader(recommender)
    end, offset = log.end(EVENTS), 0
    while records := log.poll(EVENTS, offset, BATCH):
        reader.take(records)
        offset = records[-1].offset + 1
        if progress is not None:
            progress(offset, end)
    return reader.columns(Catalogue(log), source)


class _Slate(NamedTuple):
    offset: int
    stamp: int
    impression: Impression
    rewards: dict[int, tuple[float, int, int]]  # by slot: reward, offset that settled it, last

    @property
    def final(self) -> bool:
        return len(self.rewards) == len(self.impression.slate)


class _Reader:
    """Collects impressions and their rewards, then lays them out as columns."""

    def __init__(self, recommender: str | None) -> None:
        self._recommender = recommender
        self._joiner = Joiner(JoinPoint(0, 0, EngineConfig()))
        self._slates: dict[int, _Slate] = {}  # by offset: a request id may come again
        self._excluded: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def take(self, records: Sequence[Record]) -> None:
        spans = RecordSpans.of(records)
        while spans.n:
            columns = decode_columns(self._joiner.plan, spans)
            self._joiner.add(columns)
            self._take_slates(columns)
            self._take_rewards()
            self._joiner.mark_committed()
            spans = spans.cut(columns.n, spans.n)

    def _take_slates(self, columns: EventColumns) -> None:
        for record in np.flatnonzero(columns.kind == BAD).tolist():
            self._exclude(_fault(columns.errors[record]), f"offset {columns.offset[record]}")
        fates = self._joiner.fates
        opened = (columns.kind == IMPRESSION) & (fates != CountTable.COLUMNS.index("duplicate"))
        for record in np.flatnonzero(opened).tolist():
            offset = int(columns.offset[record])
            if fates[record] == CountTable.DEAD:
                inside = columns.errors[record].pointer.startswith("/slate")
                self._exclude(ITEM_MISFIT if inside else MISFIT, f"offset {offset}")
                continue
            impression = decode_event(columns.value(record))
            assert isinstance(impression, Impression)  # noqa: S101
            self._slates[offset] = _Slate(offset, int(columns.stamp[record]), impression, {})

    def _take_rewards(self) -> None:
        joined, self._joiner.outcomes = self._joiner.outcomes, []
        for _, outcomes, _, offset, opened in joined:
            columns = (opened, outcomes.slot, outcomes.reward, offset, outcomes.last)
            for slate, slot, *settled in zip(*(c.tolist() for c in columns), strict=True):
                reward, at, last = settled
                self._slates[slate].rewards[slot] = (reward, at, last)

    def columns(self, catalogue: Catalogue, source: str) -> SlateLog:
        usable = [slate for slate in self._slates.values() if self._usable(slate)]
        schema = self._schema([slate.impression for slate in usable])
        offers = Offers(catalogue, schema)
        kept: list[_Slate] = []
        set_of: list[int] = []
        rows: list[Floats] = []
        for slate in usable:
            if not _fits(schema, slate.impression):
                self._exclude(MISFIT, f"request {slate.impression.request_id}")
                continue
            try:
                number = offers.take(slate.impression)
                z = schema.encode_items([item.features or {} for item in slate.impression.slate])
            except (UnusableError, SchemaError) as error:
                reason = str(error) if isinstance(error, UnusableError) else ITEM_MISFIT
                self._exclude(reason, f"request {slate.impression.request_id}")
                continue
            kept.append(slate)
            set_of.append(number)
            rows.append(z)
        impressions = [slate.impression for slate in kept]
        slots = _fill_slots(kept, rows, offers.number, len(schema.item_columns))
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
            sequence=np.array([slate.offset for slate in kept], dtype=np.int64),
            time_ms=np.array([slate.stamp for slate in kept], dtype=np.int64),
            schema=schema,
            users=_users(impressions),
            excluded=self._excluded,
            counts=self._joiner.counts.to_dict(),
            examples=self._examples,
            **slots,
        )

    def _exclude(self, reason: str, example: str) -> None:
        self._excluded[reason] = self._excluded.get(reason, 0) + 1
        shown = self._examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(example)

    def _usable(self, slate: _Slate) -> bool:
        """Whether a slate is of the recommender asked for and final; else the reason is counted."""
        impression = slate.impression
        if self._recommender not in {None, impression.recommender}:
            return False
        reason = None
        if impression.recommender not in self._joiner.config.recommenders:
            reason = "recommender not configured"
        elif not slate.final:
            reason = "slate not activated, or in part" if impression.deferred else WAITING
        if reason:
            self._exclude(reason, f"request {impression.request_id}")
        return reason is None

    def _schema(self, impressions: list[Impression]) -> Schema:
        """Features of the policy that served most."""
        config = self._joiner.config
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


def _fault(error: BadEventError) -> str:
    if error.pointer.endswith("/propensity"):
        return "propensity not in (0, 1]"
    return f"record not valid ({error.reason})"


def _fill_slots(
    slates: list[_Slate], rows: list[Floats], number: dict[str, int], width: int
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
            reward[row, slot], matured[row, slot], last[row, slot] = slate.rewards[slot]
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
