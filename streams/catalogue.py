"""Items, users and pools: a fold of the catalogue log, read by servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from streams.counts import Counts
from streams.errors import BadEventError, UnknownPoolError
from streams.events import Item, Pool, User, decode_event
from streams.log.base import CATALOGUE, EventLog, Record

__all__ = ["CandidateSet", "Catalogue"]

NEVER = 2**62
UNDO = 100_000  # records that seek can step back over without starting again
BATCH = 10_000


class CandidateSet(NamedTuple):
    """Items that may be shown now, and those asked for that may not."""

    ids: tuple[str, ...]
    missing: tuple[str, ...]


class _Cached(NamedTuple):
    ids: tuple[str, ...]
    change: int  # of availability, when it was made
    start: int  # ms; the ids hold for start <= now < end
    end: int


class Catalogue:
    """The catalogue as of a version: how many records of its log are folded in.

    Not for several threads at once.

    Attributes
    ----------
    item_change
        A number that is another one once any item was put, for what is derived of items.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.counts = Counts()
        self._reset()

    def _reset(self) -> None:
        self.version = 0
        self._change = getattr(self, "_change", 0) + 1
        self.item_change = getattr(self, "item_change", 0) + 1
        self._items: dict[str, Item] = {}
        self._users: dict[str, User] = {}
        self._pools: dict[str, tuple[Pool, int]] = {}
        self._cache: dict[str, _Cached] = {}
        self._undo: deque[tuple[str, str, object]] = deque(maxlen=UNDO)

    def refresh(self, limit: int | None = None) -> int:
        """Fold new records, at most ``limit``; returns how many. Raises ``LogError``."""
        folded = 0
        while limit is None or folded < limit:
            room = BATCH if limit is None else min(BATCH, limit - folded)
            records = self._log.poll(CATALOGUE, self.version, room)
            for record in records:
                self._fold(record)
            folded += len(records)
            if not records:
                break
        return folded

    def seek(self, version: int) -> None:
        """Go to the catalogue as it was at a version (or to the log's end): for replay.

        Steps back are cheap as long as they stay within the last 100,000 records.
        """
        if self.version - version > len(self._undo):
            self._reset()
        while self.version > version:
            self._step_back()
        self.refresh(version - self.version)

    def item(self, item_id: str) -> Item | None:
        """Return the item, deleted or not, None when there never was one."""
        return self._items.get(item_id)

    def user(self, user_id: str) -> User | None:
        """Return the user, None when unknown."""
        return self._users.get(user_id)

    def pool(self, name: str) -> Pool | None:
        """Return the pool as it was put, None when unknown."""
        held = self._pools.get(name)
        return held[0] if held else None

    def pool_version(self, name: str) -> int | None:
        """Offset of the record that put the pool."""
        held = self._pools.get(name)
        return held[1] if held else None

    def pools(self) -> list[str]:
        """Names of all pools."""
        return sorted(self._pools)

    def candidates(
        self,
        pool: str | None = None,
        candidate_ids: Sequence[str] | None = None,
        exclude: Collection[str] = (),
        now_ms: int = 0,
    ) -> CandidateSet:
        """Items that may be shown at ``now_ms``, of a pool or of explicit ids, in stable order.

        Items not in the catalogue, deleted, not yet available or expired are left out; of
        explicit ids they are returned as missing. Repeated ids count once. As long as nothing
        changed, a pool without ``exclude`` gives the same tuple object, so what is derived of
        it can be cached by identity.

        Raises
        ------
        UnknownPoolError
            When the catalogue holds no such pool.
        """
        missing: tuple[str, ...] = ()
        if candidate_ids is not None:
            wanted = dict.fromkeys(candidate_ids)
            ids = tuple(item_id for item_id in wanted if self._available(item_id, now_ms))
            found = set(ids)
            missing = tuple(item_id for item_id in wanted if item_id not in found)
        else:
            ids = self._pool_ids(pool, now_ms)
        if exclude:
            barred = set(exclude)
            ids = tuple(item_id for item_id in ids if item_id not in barred)
        return CandidateSet(ids, missing)

    def _pool_ids(self, name: str | None, now_ms: int) -> tuple[str, ...]:
        if name is None or name not in self._pools:
            known = ", ".join(self.pools()[:5]) or "none yet"
            raise UnknownPoolError(f"pool {name!r} is unknown; put it first (known: {known})")
        cached = self._cache.get(name)
        if (
            cached is None
            or cached.change != self._change
            or not cached.start <= now_ms < cached.end
        ):
            cached = self._cache[name] = self._build(self._pools[name][0].item_ids, now_ms)
        return cached.ids

    def _build(self, item_ids: Sequence[str], now_ms: int) -> _Cached:
        wanted = dict.fromkeys(item_ids)
        bounds = [
            bound
            for item_id in wanted
            if (item := self._items.get(item_id)) is not None and not item.deleted
            for bound in (item.available_from, item.expires_at)
            if bound is not None
        ]
        return _Cached(
            ids=tuple(item_id for item_id in wanted if self._available(item_id, now_ms)),
            change=self._change,
            start=max((bound for bound in bounds if bound <= now_ms), default=-NEVER),
            end=min((bound for bound in bounds if bound > now_ms), default=NEVER),
        )

    def _available(self, item_id: str, now_ms: int) -> bool:
        item = self._items.get(item_id)
        return (
            item is not None
            and not item.deleted
            and (item.available_from is None or item.available_from <= now_ms)
            and (item.expires_at is None or now_ms < item.expires_at)
        )

    def _fold(self, record: Record) -> None:
        self.version = record.offset + 1
        try:
            event = decode_event(record.value)
        except BadEventError:
            kind, fate = "unknown", "dead"
            self._undo.append(("", "", None))
        else:
            kind = str(event.__struct_config__.tag)
            fate = self._put(event, record.offset)
        self.counts.consume(kind)
        self.counts.settle(kind, fate)

    def _put(self, event: object, offset: int) -> str:
        if isinstance(event, Item):
            self._set("_items", event.id, event)
        elif isinstance(event, User):
            self._set("_users", event.id, event)
        elif isinstance(event, Pool):
            self._set("_pools", event.name, (event, offset))
        else:
            self._undo.append(("", "", None))
            return "dead"
        return "applied"

    def _set(self, table: str, key: str, value: object) -> None:
        held = getattr(self, table)
        before = held.get(key)
        self._undo.append((table, key, before))
        if value is None:
            del held[key]
        else:
            held[key] = value
        self.item_change += table == "_items"
        if table == "_pools" or (table == "_items" and _times(before) != _times(value)):
            self._change += 1

    def _step_back(self) -> None:
        table, key, before = self._undo.pop()
        if table:
            self._set(table, key, before)
            self._undo.pop()
        self.version -= 1


def _times(item: object) -> object:
    return (item.available_from, item.expires_at, item.deleted) if isinstance(item, Item) else None
