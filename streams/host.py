"""A process that learns: the learners of the shards it owns, and the round they take turns in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streams.errors import FencedError, LogError, RefusedError, StoreError, UnfitTopicError
from streams.learner import Learner
from streams.membership import Membership, Shards
from streams.requests import DeadLetter

__all__ = ["Host", "Pace", "Watch"]

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.02
RETRY_SECONDS = 1.0
CHECK_SECONDS = 5.0  # how often a shard without news is looked at: it may have been put back
LOOK_SECONDS = 1.0  # between two looks of a watch at the whole host
STEP = 5000  # records a learner takes at a turn

Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a shard is committed.

    Parameters
    ----------
    shortest, longest
        Seconds between two commits, at least and at most.
    bytes_per_second
        What commits of one process may write on average: large ones come more seldom.
    """

    shortest: float = 0.5
    longest: float = 10.0
    bytes_per_second: float = 8e6

    def after(self, size: int, shards: int) -> float:
        """Seconds to wait after a commit of ``size`` bytes, one of ``shards`` that write."""
        wanted = size * shards / self.bytes_per_second
        return min(max(wanted, self.shortest), max(self.longest, self.shortest))


class Watch:
    """Told what a host does, to count and time it; this one does nothing with it."""

    def recovered(self, shard: Key, seconds: float) -> None:
        """Note a shard taken over."""

    def learned(self, shard: Key, records: int) -> None:
        """Note records learned from."""

    def ticked(self, shard: Key) -> None:
        """Note a tick appended."""

    def committed(
        self, shard: Key, size: int, seconds: float, dead: Sequence[DeadLetter] = ()
    ) -> None:
        """Note a commit of ``size`` bytes of state, and the dead letters in it."""

    def fenced(self, shard: Key) -> None:
        """Note a commit that was refused because another process owns the shard."""

    def dropped(self, shard: Key) -> None:
        """Note a shard that is not learned here any more."""

    def looked(self, host: Host) -> None:
        """Look at all shards, about once a second. Raises nothing."""


class _Owned:
    """A learner and when it is to be looked after."""

    def __init__(self, learner: Learner, now: float) -> None:
        self.learner = learner
        self.commit_at = now
        self.check_at = now + CHECK_SECONDS
        self.retry_at = 0.0
        self.trouble: Exception | None = None


class Host:
    """Learners of all shards that a membership assigns, in one thread.

    Parameters
    ----------
    make
        Makes the learner of a topic's partition.
    clock
        Seconds that only grow.

    Attributes
    ----------
    owned
        Shards this process learns now.
    """

    def __init__(
        self,
        make: Callable[[str, int], Learner],
        membership: Membership,
        *,
        pace: Pace | None = None,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._membership = membership
        self._pace = pace or Pace()
        self._watch = watch or Watch()
        self._clock = clock
        self.owned: dict[Key, _Owned] = {}
        self._look_at = 0.0
        self._claims: dict[Key, float] = {}  # when to take over what is assigned and not owned

    @property
    def learners(self) -> dict[Key, Learner]:
        """Learners by topic and partition."""
        return {key: owned.learner for key, owned in sorted(self.owned.items())}

    @property
    def troubled(self) -> dict[Key, Exception]:
        """Shards that cannot be read or committed just now, and why."""
        return {key: each.trouble for key, each in self.owned.items() if each.trouble is not None}

    @property
    def rebalances(self) -> int:
        """How often the group shared out its partitions anew."""
        return self._membership.rebalances

    def run(self, stop: threading.Event) -> None:
        """Learn until ``stop`` is set; then commit and leave the group.

        Raises
        ------
        RefusedError, UnfitTopicError
            When stored state and log do not fit each other, or records cannot be learned from.
        """
        try:
            while not stop.is_set():
                if not self.turn():
                    stop.wait(min(IDLE_SECONDS, self._pace.shortest))
        finally:
            self._release(list(self.owned))
            self._membership.close()

    def turn(self) -> bool:
        """Take every shard one step further; returns whether any record was learned from."""
        change = self._membership.poll(self._release)
        for key in change.lost:
            self._drop(key, "another process took it over")
        self._claims.update({key: self._clock() for key in change.assigned})
        for key, due in sorted(self._claims.items()):
            if self._clock() >= due:
                self._take(key)
        busy = False
        for key, owned in list(self.owned.items()):
            if self._clock() >= owned.retry_at:
                busy |= self._attempt(key, owned)
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            self._watch.looked(self)
        return busy

    def _take(self, key: Key) -> None:
        start = self._clock()
        learner = self._make(*key)
        try:
            learner.recover()
        except (RefusedError, UnfitTopicError):
            raise
        except (LogError, StoreError) as error:
            logger.warning(
                "%s-%d cannot be taken over: %s; trying again", *key, error, extra=_ids(key)
            )
            self._claims[key] = self._clock() + RETRY_SECONDS
            return
        del self._claims[key]
        self.owned[key] = _Owned(learner, start)
        self._watch.recovered(key, self._clock() - start)
        logger.info(
            "%s-%d restored up to offset %d",
            *key,
            learner.next_offset,
            extra=_ids(key, offset=learner.next_offset, epoch=learner.position.epoch),
        )

    def _attempt(self, key: Key, owned: _Owned) -> bool:
        try:
            moved = self._learn(key, owned.learner)
            if self._clock() >= owned.commit_at:
                self._commit(key, owned)
        except FencedError as error:
            self._fenced(key, error)
            return False
        except (RefusedError, UnfitTopicError):
            raise
        except (LogError, StoreError) as error:
            # A full disk or a lock may pass; nothing is lost, because nothing was committed.
            if owned.trouble is None:
                logger.warning("learning %s-%d waits: %s", *key, error, extra=_at(key, owned))
            owned.trouble = error
            owned.retry_at = self._clock() + min(RETRY_SECONDS, max(self._pace.shortest, 0.05))
            return False
        return moved

    def _learn(self, key: Key, learner: Learner) -> bool:
        records = learner.step(STEP)
        if records:
            self._watch.learned(key, records)
            return True
        if learner.tick():
            self._watch.ticked(key)
            return True
        return False

    def _commit(self, key: Key, owned: _Owned) -> None:
        start = self._clock()
        dead = owned.learner.dead
        size = owned.learner.commit()
        now = self._clock()
        owned.commit_at = now + (self._pace.after(size, len(self.owned)) if size else 0.0)
        if size:
            self._watch.committed(key, size, now - start, dead)
            self._membership.commit({key: owned.learner.committed_offset})
        elif now >= owned.check_at:
            owned.learner.check_owned()
        if size or now >= owned.check_at:
            owned.check_at = now + CHECK_SECONDS
        if owned.trouble is not None:
            logger.warning("learning %s-%d goes on", *key, extra=_at(key, owned))
            owned.trouble = None

    def _release(self, shards: Shards) -> None:
        for key in shards:
            self._claims.pop(key, None)
            owned = self.owned.pop(key, None)
            if owned is None:
                continue
            try:
                self._commit(key, owned)
            except FencedError as error:
                self._watch.fenced(key)
                logger.warning("%s", error, extra=_at(key, owned))
            except (LogError, StoreError) as error:
                logger.warning(
                    "%s-%d goes without a last commit: %s", *key, error, extra=_at(key, owned)
                )
            self._watch.dropped(key)

    def _fenced(self, key: Key, error: FencedError) -> None:
        self._watch.fenced(key)
        self._drop(key, str(error))
        # Either the group tells soon that the shard went, or an operator put its state back.
        self._claims[key] = self._clock() + 5 * RETRY_SECONDS

    def _drop(self, key: Key, why: str) -> None:
        self._claims.pop(key, None)
        owned = self.owned.pop(key, None)
        if owned is not None:
            self._watch.dropped(key)
            logger.warning("%s-%d is dropped: %s", *key, why, extra=_at(key, owned))


def _ids(key: Key, **more: int) -> dict[str, Any]:
    return {"topic": key[0], "partition": key[1], **more}


def _at(key: Key, owned: _Owned) -> dict[str, Any]:
    learner = owned.learner
    return _ids(key, offset=learner.next_offset, epoch=learner.position.epoch)
