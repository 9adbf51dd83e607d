"""Errors of a kind that is easily made, each of which the simulator must find.

Every one is a function that patches the code under test with pytest's ``monkeypatch``.
"""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from streams.agenda import JoinPoint, Remembered
from streams.errors import FencedError, LogError, StoreError
from streams.learner import Learner
from streams.log.base import EVENTS, Place
from streams.positions import Commit, Position, Saved
from streams.publisher import Publisher, _Shard
from streams.shard import Shard
from streams.store import Store
from tests.simulation.broker import SteppedAppender

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(mutate: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Add to `MUTANTS`."""
    MUTANTS[mutate.__name__] = mutate
    return mutate


@mutant
def store_without_epoch_check(patch: Patch) -> None:
    works = Store.commit

    def commit(self: Store, position: Position, commit: Commit) -> Position:
        for tail in self.tail({}):
            if tail.position.partition == position.partition:
                position = replace(position, epoch=tail.position.epoch)
        return works(self, position, commit)

    patch.setattr(Store, "commit", commit)


@mutant
def learner_claims_again_instead_of_stopping(patch: Patch) -> None:
    works = Learner.commit

    def commit(self: Learner) -> int:
        try:
            return works(self)
        except FencedError:
            log = self._log
            self._position = self._store.claim(
                EVENTS, self._partition, log.topic_id(EVENTS), log.partitions(EVENTS)
            )
            return works(self)

    patch.setattr(Learner, "commit", commit)


def _restore_from_next_offset(patch: Patch) -> None:
    works = Shard.restore.__func__  # type: ignore[attr-defined]

    def restore(cls: type[Shard], snapshot: Any, poll: Any) -> Shard:
        point = JoinPoint(snapshot.next_offset, snapshot.clock, snapshot.config)
        return works(cls, replace(snapshot, join_point=point), poll)

    patch.setattr(Shard, "restore", classmethod(restore))


@mutant
def recovery_from_next_offset(patch: Patch) -> None:
    _restore_from_next_offset(patch)


@mutant
def recovery_from_next_offset_unchecked(patch: Patch) -> None:
    _restore_from_next_offset(patch)
    patch.setattr(Shard, "_check_restored", lambda *_: None)


@mutant
def commit_marked_before_it_is_stored(patch: Patch) -> None:
    works = Learner.commit

    def commit(self: Learner) -> int:
        stored, self._store = (
            self._store,
            SimpleNamespace(
                commit=lambda *given: (self._shard.mark_committed(), stored.commit(*given))[1]
            ),
        )
        try:
            return works(self)
        finally:
            self._store = stored

    patch.setattr(Learner, "commit", commit)


@mutant
def failed_commit_taken_for_done(patch: Patch) -> None:
    works = Learner.commit

    def commit(self: Learner) -> int:
        try:
            return works(self)
        except StoreError:
            self._shard.mark_committed()
            return 1

    patch.setattr(Learner, "commit", commit)


@mutant
def closed_requests_forgotten_at_recovery(patch: Patch) -> None:
    works = Store.load

    def load(self: Store, position: Position) -> Saved:
        return replace(works(self, position), closed=Remembered.of({}))

    patch.setattr(Store, "load", load)


@mutant
def closed_requests_forgotten_early(patch: Patch) -> None:
    works = Store.load

    def load(self: Store, position: Position) -> Saved:
        saved = works(self, position)
        kept = saved.closed.until > position.clock + 60_000
        closed = Remembered(saved.closed.keys[kept], saved.closed.until[kept])
        return replace(saved, closed=closed)

    patch.setattr(Store, "load", load)


@mutant
def reset_left_out_of_the_delta(patch: Patch) -> None:
    works = Shard._forget

    def forget(self: Shard) -> None:
        before = set(self.rebuilt)
        works(self)
        self.rebuilt = before

    patch.setattr(Shard, "_forget", forget)


@mutant
def settings_taken_before_they_come_through_the_log(patch: Patch) -> None:
    works = Learner.recover

    def recover(self: Learner) -> None:
        works(self)
        self._shard.joiner.config = self._config
        self._shard._reconfigure()

    patch.setattr(Learner, "recover", recover)


@mutant
def stamps_by_the_learners_clock(patch: Patch) -> None:
    works = Shard.fold

    def step(self: Learner, limit: int = 1000) -> int:
        if not self.current:
            self._settle_in()
        records = self._log.poll(EVENTS, self.next_offset, limit, self._partition)
        now = self._log.now_ms()
        self._drained = not records
        works(self._shard, [record._replace(stamp=now) for record in records])
        return len(records)

    patch.setattr(Learner, "step", step)


@mutant
def counts_started_anew_at_recovery(patch: Patch) -> None:
    works = Shard.restore.__func__  # type: ignore[attr-defined]

    def restore(cls: type[Shard], snapshot: Any, poll: Any) -> Shard:
        shard = works(cls, snapshot, poll)
        shard.joiner.resume(type(snapshot.counts)(), snapshot.closed)
        return shard

    patch.setattr(Shard, "restore", classmethod(restore))


@mutant
def no_ticks(patch: Patch) -> None:
    patch.setattr(Learner, "tick", lambda _: False)


@mutant
def answer_before_the_append(patch: Patch) -> None:
    works = SteppedAppender._commit

    def commit(self: SteppedAppender, batch: Any) -> None:
        log = self._log

        def append(topic: str, entries: Any) -> list[Place]:
            try:
                return log.append(topic, entries)
            except LogError:
                return [Place(0, log._broker.log.end(topic, 0)) for _ in entries]

        self._log = SimpleNamespace(append=append)
        try:
            works(self, batch)
        finally:
            self._log = log

    patch.setattr(SteppedAppender, "_commit", commit)


@mutant
def publisher_that_lets_fade_only_what_is_touched(patch: Patch) -> None:
    works = _Shard.put

    def put(self: _Shard, position: Position, deltas: Any) -> Any:
        touched = works(self, replace(position, clock=0), deltas)
        self.position = position
        return touched

    patch.setattr(_Shard, "put", put)


@mutant
def publisher_that_misses_the_last_delta(patch: Patch) -> None:
    works = Publisher._take

    def take(self: Publisher, tail: Any) -> None:
        works(self, replace(tail, deltas=tail.deltas[:-1]) if tail.base is None else tail)

    patch.setattr(Publisher, "_take", take)
