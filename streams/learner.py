"""The owner of a shard: poll -> join -> update -> commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams import bases
from streams.bases import GrowingBase
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import RefusedError, StoreError
from streams.events import Tick, encode_event
from streams.log.base import EVENTS, OUTCOMES, EventLog, Place
from streams.outbox import Outbox
from streams.outcome_shard import OutcomeShard
from streams.outcomes import own_config
from streams.positions import Chain, Commit, Position, Saved
from streams.requests import DeadLetter
from streams.shard import Shard, Snapshot
from streams.states import ShardStates
from streams.store import Store
from streams.watches import log_drift, make_watches

__all__ = ["Learner"]

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
    config
        What state shall depend on from now on. When the log's last control record says
        otherwise, one is appended; state changes when it comes through the log.
    topic
        `EVENTS`, whose records are joined, or `OUTCOMES`, where policies are learned in order.
    partition
        Number of the partition.
    point
        Called with the name of each point between two steps: for tests that end a learner there,
        and clocks.

    Attributes
    ----------
    current
        Whether it has read all that was in the log when it began, its settings included.
    """

    def __init__(
        self,
        log: EventLog,
        store: Store,
        config: EngineConfig,
        *,
        topic: str = EVENTS,
        partition: int = 0,
        point: Callable[[str], None] = _nothing,
    ) -> None:
        self._log = log
        self._store = store
        self._config = config
        self._topic = topic
        self._partition = partition
        self._point = point
        self._position: Position | None = None
        self._shard: ShardStates = Shard() if topic == EVENTS else OutcomeShard()
        self._base: GrowingBase | None = None  # begun and not done
        self._outbox = Outbox(log, partition, point)
        self._target = 0  # offset to reach before it is current
        self._ticked = 0
        self._drained = False  # whether the last poll brought nothing
        self.current = False

    @property
    def next_offset(self) -> int:
        """Offset of the first record not learned from."""
        return self._shard.next_offset

    @property
    def committed_offset(self) -> int:
        """Offset of the first record not committed."""
        return self.position.next_offset

    @property
    def position(self) -> Position:
        """What was committed last; raises ``StoreError`` before `recover`."""
        if self._position is None:
            raise StoreError("the learner owns nothing yet; call start() or recover() first")
        return self._position

    @property
    def counts(self) -> Counts:
        """Fates of all records learned from."""
        return self._shard.counts

    @property
    def dead(self) -> Sequence[DeadLetter]:
        """Records that could not be used since the last commit."""
        return self._shard.dead

    @property
    def shard(self) -> ShardStates:
        """The state owned."""
        return self._shard

    def hash(self) -> str:
        """Hash of the state: equal to that of `streams.replay` over the same records."""
        return self._shard.hash()

    def lag(self) -> int:
        """Records in the log not learned from yet."""
        return self._log.end(self._topic, self._partition) - self.next_offset

    def age_ms(self) -> int | None:
        """How long ago by the log's clock the last record learned from came; None before it."""
        clock = self._shard.clock
        return max(self._log.now_ms() - clock, 0) if clock else None

    def start(self) -> None:
        """Recover, catch up with the log, bring the settings into it, and commit.

        Raises
        ------
        StoreError, LogError
            When the stored state does not belong to this log, or either cannot be used.
        """
        self.recover()
        while not self.current:
            if not self.step() and not self.current:
                raise StoreError(f"the log ends at {self.next_offset}, before {self._target}")
            if self.next_offset - self.committed_offset > CATCH_UP:
                self.commit()
        self.commit()

    def recover(self) -> None:
        """Claim the shard and restore what was committed of it.

        Raises
        ------
        RefusedError
            When state and log do not fit each other.
        ConfigError
            When a policy must learn in order and there is no topic for its outcomes.
        """
        log, topic, part = self._log, self._topic, self._partition
        self._config = own_config(log, self._config, topic, part)
        begin = log.begin(topic, part)
        position = self._store.claim(topic, part, log.topic_id(topic), log.partitions(topic), begin)
        end = log.end(topic, part)  # now that nobody else commits
        self._point("claimed")
        saved = self._store.load(position)
        self._check_kept(position, begin, end)
        self._shard = self._restore(position, saved)
        self._shard.point = self._point
        self._position = position
        self._target = end
        self._point("recovered")

    def step(self, limit: int = 1000) -> int:
        """Learn from up to ``limit`` records; returns how many there were.

        Of a large state's base that a commit began one piece is written first.

        Raises
        ------
        FencedError
            When another learner claimed the shard, and a base was being written.
        """
        self._go_on_with_base()
        if not self.current:
            self._settle_in()
        records = self._log.poll(self._topic, self.next_offset, limit, self._partition)
        self._drained = not records
        self._point("polled")
        self._shard.fold(records)
        self._point("folded")
        return len(records)

    def tick(self) -> bool:
        """Append a tick when only the clock is missing for a window to close.

        That is: the log held nothing more at the last step, windows are open, and the first of
        them is 0.1 s past its deadline by the log's own clock: traffic mostly closes it before.
        Returns whether a tick was appended.
        """
        deadline = self._shard.next_deadline
        now = self._log.now_ms()
        due = deadline is not None and now >= deadline + TICK_GRACE_MS
        # Where clocks disagree a tick may not reach the deadline: the next waits its time.
        if not due or not self._drained or 0 <= now - self._ticked < TICK_GRACE_MS:
            return False
        self._ticked = now
        self._append("tick", encode_event(Tick(ts=now)))
        return True

    def commit(self) -> int:
        """Commit what was learned since the last commit; returns the bytes of state written.

        The base of a large state is begun here, and written by later steps.

        Raises
        ------
        FencedError
            When another learner claimed the shard: drop this one.
        """
        position, shard = self.position, self._shard
        if shard.next_offset == position.next_offset:
            return 0
        shard.settle()
        wanted = position.wants_base and self._base is None
        begins = wanted and not shard.rebuilt and shard.largest >= bases.LARGE_BYTES
        base = bool(shard.rebuilt) or (wanted and not begins)
        chain = self._deliver(position.chain)
        commit = Commit(
            next_offset=shard.next_offset,
            clock=shard.clock,
            join_point=shard.join_point(),
            counts=shard.counts,
            config=shard.config,
            bodies=shard.bodies(base=base),
            base=base,
            delta=shard.bodies(base=False) if base and not shard.rebuilt else None,
            remembered=shard.remembered,
            dead=shard.dead,
            chain=chain,
        )
        self._point("committing")
        self._position = self._store.commit(position, commit)
        self._point("committed")
        shard.mark_committed()
        if base:
            self._drop_base()  # what led from it to here cannot be told
        if begins:
            self._base = GrowingBase(self._position, shard.snapshot())
        # Now: whoever is fenced logs nothing, and what told of a fall is never folded again.
        log_drift(self._log, self._topic, self._partition, shard.watches)
        return max(commit.size, 1)

    def check_owned(self) -> None:
        """Raise ``FencedError`` when the shard is another's now, without anything to commit."""
        self._store.check_owned(self.position)

    def _go_on_with_base(self) -> None:
        if self._base is None:
            return
        self._point("piece")
        self._position = self._base.go_on(self._store, self.position)
        self._point("pieced")
        if self._base.done:
            self._base = None

    def _drop_base(self) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def _restore(self, position: Position, saved: Saved) -> ShardStates:
        log, part = self._log, self._partition
        if self._topic == OUTCOMES:
            return OutcomeShard.restore(position, position.states(saved))
        snapshot = Snapshot(
            join_point=position.join_point,
            next_offset=position.next_offset,
            clock=position.clock,
            config=position.config,
            counts=Counts(position.counts.to_dict()),
            closed=saved.closed,
            states=position.states(saved),
        )
        return Shard.restore(
            snapshot,
            lambda offset, limit: log.poll(EVENTS, offset, limit, part),
            apart=log.partitions(EVENTS) > 1,
        )

    def _deliver(self, chain: Chain) -> Chain:
        """Hand over what others learn; returns the chain as of the next commit."""
        shard = self._shard
        if isinstance(shard, OutcomeShard):
            return shard.chain
        assert isinstance(shard, Shard)  # noqa: S101
        return self._outbox.send(shard, chain)

    def _settle_in(self) -> None:
        if self.next_offset < self._target:
            return
        if self._shard.config.state_hash != self._config.state_hash:
            control = self._config.to_control(self._log.now_ms())
            self._target = self._append("control", encode_event(control)).offset + 1
            return
        self.current = True
        # From here on: what stands in the log was acted upon, or its moment has passed.
        self._shard.watches = make_watches(self._config)

    def _check_kept(self, position: Position, begin: int, end: int) -> None:
        if position.next_offset > end:
            raise RefusedError(
                f"the log ends at offset {end}, the stored state at {position.next_offset}: "
                "records were lost. Load a snapshot taken before with 'slatestream restore', or "
                "learn anew from the log with 'slatestream reset'"
            )
        if position.join_point.offset < begin:
            raise RefusedError(
                f"{self._topic}-{self._partition} begins at offset {begin} and the stored state "
                f"needs it from {position.join_point.offset} on: retention removed records before "
                "they were learned. Keep records longer than the service may be down; to go on "
                "without them, learn anew with 'slatestream reset'"
            )

    def _append(self, key: str, value: bytes) -> Place:
        return self._log.append(self._topic, [(key, value)], self._partition)[0]
