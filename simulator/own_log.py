"""Reader of slatestream's own log, joined to rewards by the same joiner that learns live."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.batches import Ints
from engine.errors import ConfigError
from engine.features import Schema
from simulator.logs import CandidateSets, Progress, SlateLog
from streams.catalogue import Catalogue
from streams.config import EngineConfig
from streams.errors import BadEventError, UnknownPoolError
from streams.events import Event, Impression, decode_event
from streams.join import Joiner, JoinPoint
from streams.log.base import EVENTS, EventLog, Record
from streams.log.sqlite import SqliteLog

__all__ = ["open_log", "read_events", "read_own_log"]

BATCH = 5000
WAITING = "reward window open"
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
        for record in records:
            reader.take(record)
        offset = records[-1].offset + 1
        if progress is not None:
            progress(offset, end)
    return reader.columns(Catalogue(log), source)


class _Slate(NamedTuple):
    offset: int
    stamp: int
    impression: Impression
    rewards: dict[int, tuple[float, int]]  # by slot: reward, and the offset that settled it

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

    def take(self, record: Record) -> None:
        event: Event | BadEventError
        try:
            event = decode_event(record.value)
        except BadEventError as error:
            event = error
            self._exclude(_fault(error), f"offset {record.offset}")
        repeated = self._count_repeated()
        self._joiner.add(record, event)
        if isinstance(event, Impression) and self._count_repeated() == repeated:
            if self._joiner.dead:
                self._exclude("context does not fit the schema", f"offset {record.offset}")
            else:
                self._slates[record.offset] = _Slate(record.offset, record.stamp, event, {})
        for outcome in self._joiner.outcomes:
            rewards = self._slates[outcome.opened].rewards
            for slot, reward in zip(outcome.slots, outcome.reward, strict=True):
                rewards[slot] = (reward, record.offset)
        self._joiner.outcomes.clear()
        self._joiner.mark_committed()

    def _count_repeated(self) -> int:
        return self._joiner.counts.by_type.get("impression", {}).get("duplicate", 0)

    def columns(self, catalogue: Catalogue, source: str) -> SlateLog:
        sets, number = CandidateSets(), dict[str, int]()
        kept, set_of = [], []
        before: tuple[str, ...] | None = None
        offers: frozenset[str] = frozenset()
        same = 0
        for slate in self._slates.values():
            candidates = self._candidates(catalogue, slate)
            if candidates is None:
                continue
            if candidates is not before:  # a pool gives the same object until it changes
                offered = [number.setdefault(item_id, len(number)) for item_id in candidates]
                same = sets.add(np.array(offered, dtype=np.int64))
                before, offers = candidates, frozenset(candidates)
            if not offers.issuperset(shown.item_id for shown in slate.impression.slate):
                self._exclude("candidates unknown", f"request {slate.impression.request_id}")
                continue
            set_of.append(same)
            kept.append(slate)
        n, k = len(kept), max((len(slate.impression.slate) for slate in kept), default=1)
        items, matured = np.full((n, k), -1), np.zeros((n, k), dtype=np.int64)
        propensity, reward = np.ones((n, k)), np.zeros((n, k))
        for row, slate in enumerate(kept):
            for slot, shown in enumerate(slate.impression.slate):
                items[row, slot] = number[shown.item_id]
                propensity[row, slot] = shown.propensity
                reward[row, slot], matured[row, slot] = slate.rewards[slot]
        impressions = [slate.impression for slate in kept]
        return SlateLog(
            source=source,
            format="events",
            item_ids=tuple(number),
            items=items,
            position=np.broadcast_to(np.arange(k), (n, k)),
            propensity=propensity,
            reward=reward,
            sampling=np.array([impression.weight for impression in impressions], dtype=float),
            candidates=sets,
            candidate_set=np.array(set_of, dtype=np.int64),
            contexts=[impression.context for impression in impressions],
            request_ids=[impression.request_id for impression in impressions],
            sequence=np.array([slate.offset for slate in kept], dtype=np.int64),
            matured=matured,
            time_ms=np.array([slate.stamp for slate in kept], dtype=np.int64),
            schema=self._schema(impressions),
            users=_users(impressions),
            excluded=self._excluded,
            counts=self._joiner.counts.to_dict(),
            examples=self._examples,
        )

    def _exclude(self, reason: str, example: str) -> None:
        self._excluded[reason] = self._excluded.get(reason, 0) + 1
        shown = self._examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(example)

    def _candidates(self, catalogue: Catalogue, slate: _Slate) -> tuple[str, ...] | None:
        """Candidates of a slate to be used; None, with the reason counted, of any other."""
        impression = slate.impression
        example = f"request {impression.request_id}"
        if self._recommender not in {None, impression.recommender}:
            return None
        if impression.recommender not in self._joiner.config.recommenders:
            self._exclude("recommender not configured", example)
        elif not slate.final:
            reason = "slate not activated, or in part" if impression.deferred else WAITING
            self._exclude(reason, example)
        else:
            found = _find_candidates(catalogue, impression)
            if found is None:
                self._exclude("candidates unknown", example)
            return found
        return None

    def _schema(self, impressions: list[Impression]) -> Schema:
        """Features of the policy that served most."""
        config = self._joiner.config
        named = [impression.recommender for impression in impressions]
        if not named:
            return Schema()
        return config.policies[config.recommenders[max(set(named), key=named.count)].policy].schema


def _fault(error: BadEventError) -> str:
    if error.pointer.endswith("/propensity"):
        return "propensity not in (0, 1]"
    return f"record not valid ({error.reason})"


def _find_candidates(catalogue: Catalogue, impression: Impression) -> tuple[str, ...] | None:
    if impression.candidates is not None:
        barred = set(impression.exclude)
        return tuple(item_id for item_id in impression.candidates if item_id not in barred)
    catalogue.seek(impression.catalogue_version)
    try:
        return catalogue.candidates(
            pool=impression.pool, exclude=impression.exclude, now_ms=impression.ts
        ).ids
    except UnknownPoolError:
        return None


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
