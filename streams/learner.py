"""The loop of a shard's owner: poll -> join -> update -> commit -> publish."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from engine.batches import Posterior
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import LogError, StoreError
from streams.events import Tick, encode_event
from streams.log.base import EVENTS, EventLog, Place
from streams.positions import Commit, Position
from streams.shard import Shard, Snapshot
from streams.store import Store
from streams.views import ViewWriter
from streams.watches import log_drift, make_watches

__all__ = ["Learner"]

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.02
TICK_GRACE_MS = 100
CATCH_UP = 100_000  # records between commits while catching up


def _nothing(_: str) -> None:
    return


class Learner:
    """Owner of one partition's state, from the moment it recovers until it is fenced or stops.

    Parameters
    ----------
    log
        Where records come from; ticks and control records are appended to it.
    store
        Where state is committed.
    views
        Where it is published; None to publish nothing.
    config
        What state shall depend on from now on. When the log's last control record says
        otherwise, `start` appends one; state changes when it comes through the log.
    partition
        Number of the partition.
    point
        Called with the name of each point between two steps: for tests that end a learner there.

    Attributes
    ----------
    trouble
        What keeps `run` from committing or reading just now; None when all is well.
    """

    def __init__(
        self,
        log: EventLog,
        store: Store,
        views: ViewWriter | None,
        config: EngineConfig,
        *,
        partition: int = 0,
        point: Callable[[str], None] = _nothing,
    ) -> None:
        self._log = log
        self._store = store
        self._views = views
        self._config = config
        self._partition = partition
        self._point = point
        self.trouble: LogError | StoreError | None = None
        self._position: Position | None = None
        self._shard = Shard()
        self._unpublished = False
        self._posteriors: dict[str, Posterior] = {}
        self._landmarks: dict[str, int] = {}
        self._stale: dict[str, dict[str, None]] = {}

    @property
    def next_offset(self) -> int:
        """Offset of the first record not learned from."""
        return self._shard.next_offset

    @property
    def committed_offset(self) -> int:
        """Offset of the first record not committed."""
        return self._claimed().next_offset

    @property
    def counts(self) -> Counts:
        """Fates of all records learned from."""
        return self._shard.counts

    @property
    def shard(self) -> Shard:
        """The state owned."""
        return self._shard

    def hash(self) -> str:
        """Hash of the state: equal to that of `replay_log` over the same records."""
        return self._shard.hash()

    def lag(self) -> int:
        """Records in the log not learned from yet."""
        return self._log.end(EVENTS, self._partition) - self.next_offset

    def start(self) -> None:
        """Recover, catch up with the log, bring the settings into it, and publish.

        Raises
        ------
        StoreError, LogError
            When the stored state does not belong to this log, or either cannot be used.
        """
        self.recover()
        self._catch_up(self._log.end(EVENTS, self._partition))
        if self._shard.config.state_hash != self._config.state_hash:
            control = self._config.to_control(self._log.now_ms())
            places = self._append("control", encode_event(control))
            self._catch_up(places[-1].offset + 1)
        self.commit()
        self.publish()
        # From here on: what stands in the log was acted upon, or its moment has passed.
        self._shard.watches = make_watches(self._config)

    def recover(self) -> None:
        """Claim the shard and restore what was committed of it."""
        position = self._store.claim(EVENTS, self._partition, self._log.topic_id(EVENTS))
        self._point("claimed")
        saved = self._store.load(position)
        end = self._log.end(EVENTS, self._partition)
        if position.next_offset > end:
            raise StoreError(
                f"the log ends at offset {end}, the stored state at {position.next_offset}: "
                "records were lost. Move the store away to learn anew from the log"
            )
        snapshot = Snapshot(
            join_point=position.join_point,
            next_offset=position.next_offset,
            clock=position.clock,
            config=position.config,
            counts=Counts(position.counts.to_dict()),
            closed=saved.closed,
            states=position.states(saved),
        )
        self._shard = Shard.restore(
            snapshot, lambda offset, limit: self._log.poll(EVENTS, offset, limit, self._partition)
        )
        self._position = position
        self._posteriors = {}
        self._stale = {}
        self._point("recovered")

    def step(self, limit: int = 1000) -> int:
        """Learn from up to ``limit`` records; returns how many there were."""
        records = self._log.poll(EVENTS, self.next_offset, limit, self._partition)
        self._point("polled")
        self._shard.fold(records)
        self._point("folded")
        return len(records)

    def tick(self) -> bool:
        """Append a tick when only the clock is missing for a window to close.

        That is: the log holds nothing more, windows are open, and the first of them is 0.1 s past
        its deadline by the log's own clock: traffic mostly closes it before. Returns whether a
        tick was appended.
        """
        deadline = self._shard.joiner.next_deadline
        now = self._log.now_ms()
        if deadline is None or now < deadline + TICK_GRACE_MS or self.lag():
            return False
        self._append("tick", encode_event(Tick(ts=now)))
        return True

    def commit(self) -> bool:
        """Commit what was learned since the last commit; returns whether there was anything.

        Raises
        ------
        FencedError
            When another learner claimed the shard: drop this one.
        """
        position, shard = self._claimed(), self._shard
        if shard.next_offset == position.next_offset:
            return False
        shard.settle()
        base = bool(shard.rebuilt) or position.wants_base
        commit = Commit(
            next_offset=shard.next_offset,
            clock=shard.joiner.clock,
            join_point=shard.joiner.join_point(),
            counts=shard.counts,
            config=shard.config,
            bodies=shard.bodies(base=base),
            base=base,
            remembered=shard.joiner.remembered,
            dead=shard.joiner.dead,
        )
        self._point("committing")
        self._position = self._store.commit(position, commit)
        self._unpublished = True
        self._point("committed")
        self._mark_stale()
        # Now: whoever is fenced logs nothing, and what told of a fall is never folded again.
        log_drift(self._log, self._partition, self._shard.watches)
        return True

    def publish(self) -> int | None:
        """Publish a view of what was committed; returns its version."""
        if self._views is None:
            return None
        if self._claimed().next_offset != self.next_offset:
            raise StoreError("there are changes not committed; commit before publishing")
        self._refresh_posteriors()
        config = self._shard.config
        if config.state_hash == self._config.state_hash:
            config = self._config  # the same state, with today's exploration settings
        self._point("publishing")
        version = self._views.publish(
            offsets={self._partition: self.next_offset},
            policies=self._posteriors,
            config=config,
            counts=self.counts,
        )
        self._unpublished = False
        self._point("published")
        return version

    def run(
        self,
        stop: threading.Event,
        commit_interval: float = 1.0,
        on_publish: Callable[[Learner], None] | None = None,
    ) -> None:
        """Learn until ``stop`` is set; then commit and publish what was learned.

        Parameters
        ----------
        commit_interval
            Seconds between commits (each followed by a view) while records come in.
        on_publish
            Called after every view.
        """
        due = time.monotonic() + commit_interval
        while not stop.is_set():
            try:
                if not self.step() and not self.tick():
                    stop.wait(min(IDLE_SECONDS, commit_interval))
                if time.monotonic() >= due:
                    due = time.monotonic() + commit_interval
                    self._commit_and_publish(on_publish)
            except (LogError, StoreError) as error:
                # A full disk or a lock may pass; nothing is lost, because nothing was committed.
                if self.trouble is None:
                    logger.warning("learning waits: %s", error)
                self.trouble = error
                stop.wait(commit_interval)
        self._commit_and_publish(on_publish)

    def _commit_and_publish(self, on_publish: Callable[[Learner], None] | None) -> None:
        if self.commit() or self._unpublished:
            self.publish()
            if on_publish is not None:
                on_publish(self)
        if self.trouble is not None:
            logger.warning("learning goes on")
        self.trouble = None

    def _catch_up(self, end: int) -> None:
        while self.next_offset < end:
            if not self.step():
                raise StoreError(f"the log ends at offset {self.next_offset}, before {end}")
            if self.next_offset - self.committed_offset > CATCH_UP:
                self.commit()

    def _append(self, key: str, value: bytes) -> list[Place]:
        return self._log.append(EVENTS, [(key, value)], self._partition)

    def _claimed(self) -> Position:
        if self._position is None:
            raise StoreError("the learner owns nothing yet; call start() or recover() first")
        return self._position

    def _mark_stale(self) -> None:
        for name in self._shard.rebuilt:
            self._posteriors.pop(name, None)
        for name, items in self._shard.touched.items():
            self._stale.setdefault(name, {}).update(items)
        self._shard.mark_committed()

    def _refresh_posteriors(self) -> None:
        posteriors = {}
        for name, policy in self._shard.policies.items():
            state, known = self._shard.states[name], self._posteriors.get(name)
            if known is None or self._landmarks[name] != state.landmark:
                posteriors[name] = policy.derive(state)
            else:
                posteriors[name] = policy.refresh(known, state, list(self._stale.get(name, {})))
            self._landmarks[name] = state.landmark
        self._posteriors, self._stale = posteriors, {}
