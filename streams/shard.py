"""A shard: what one partition's log has taught every policy. A pure fold, live and in replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np

from engine.policy import Policy
from engine.state import State
from streams.agenda import JoinPoint, Remembered
from streams.columns import IMPRESSION, EventColumns, RecordSpans
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import StoreError
from streams.join import Joiner
from streams.joined import Joined
from streams.log.base import EVENTS, EventLog, Record
from streams.log.batches import RecordBatch
from streams.outcomes import Outgoing
from streams.requests import DeadLetter
from streams.scan import decode_columns
from streams.states import ShardStates, learns_in_order

__all__ = ["Replayed", "Shard", "Snapshot", "replay_log"]

BATCH = 10_000


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything a shard is restored from: what a store gives back."""

    join_point: JoinPoint
    next_offset: int
    clock: int
    config: EngineConfig
    counts: Counts
    closed: Remembered
    states: Mapping[str, State]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What folding a whole log gives."""

    config: EngineConfig
    policies: dict[str, Policy]
    states: dict[str, State]
    counts: Counts
    outcomes: dict[str, int]  # slots learned, by policy
    hash: str
    next_offset: int
    clock: int

    @classmethod
    def of(cls, shard: ShardStates) -> Replayed:
        """What a shard holds."""
        digest = shard.hash()
        return cls(
            config=shard.config,
            policies=shard.policies,
            states=shard.states,
            counts=shard.counts,
            outcomes=shard.outcomes,
            hash=digest,
            next_offset=shard.next_offset,
            clock=shard.clock,
        )


class Shard(ShardStates):
    """Joiner and the states its outcomes move.

    Parameters
    ----------
    config
        What is in force before the first record; control records change it.
    fixed
        Keep to ``config`` and pass over control records: to learn a log anew.
    apart
        Leave outcomes of policies that learn in order to others: `EVENTS` has more partitions.
    begin
        Offset to begin at: above 0 when the log keeps no earlier records.

    Attributes
    ----------
    sends
        Policies whose outcomes are left to others. Their states stay empty here, and what control
        records say of these does nothing.
    outgoing
        Those outcomes, since `mark_committed`, in the order they were joined.
    shown
        Impressions that they may be of, as they stand in the log, by offset.
    """

    def __init__(
        self,
        config: EngineConfig | None = None,
        *,
        fixed: bool = False,
        apart: bool = False,
        begin: int = 0,
    ) -> None:
        super().__init__(config or EngineConfig())
        self.joiner = Joiner(JoinPoint(begin, 0, self.config), fixed=fixed)
        self.outgoing: list[Outgoing] = []
        self.shown: dict[int, bytes] = {}
        self._apart = apart
        self.sends = self._find_sends()

    @classmethod
    def restore(
        cls,
        snapshot: Snapshot,
        poll: Callable[[int, int], Sequence[Record]],
        *,
        apart: bool = False,
    ) -> Shard:
        """Rebuild the shard of a commit, reading its open requests again from the log.

        Parameters
        ----------
        poll
            Gives records ``[offset, offset + n)`` of the partition.

        Raises
        ------
        StoreError
            When the log does not hold what the commit was made of.
        """
        shard = cls(snapshot.config, apart=apart)
        shard.states = dict(snapshot.states)
        shard.joiner = Joiner(snapshot.join_point)
        shard.joiner.skip(snapshot.closed)
        while shard.joiner.next_offset < snapshot.next_offset:
            start = shard.joiner.next_offset
            spans = _spans(poll(start, min(BATCH, snapshot.next_offset - start)))
            # Where offsets have gaps, so many records may reach further.
            spans = spans.cut(0, int(np.searchsorted(spans.offset, snapshot.next_offset)))
            if not spans.n:
                raise StoreError(
                    f"the log ends at offset {start}, the stored state at "
                    f"{snapshot.next_offset}: records were lost. Learn anew from the log by "
                    "moving the state file away"
                )
            for _ in shard._join(spans):
                pass
        shard.joiner.resume(snapshot.counts, snapshot.closed)
        shard._check_restored(snapshot)
        return shard

    @property
    def next_offset(self) -> int:
        """Offset of the first record not folded in."""
        return self.joiner.next_offset

    @property
    def counts(self) -> Counts:
        """Fates of the records folded in."""
        return self.joiner.counts

    @property
    def clock(self) -> int:
        """The latest stamp so far, ms."""
        return self.joiner.clock

    @property
    def dead(self) -> Sequence[DeadLetter]:
        """Records that could not be used, since `mark_committed`."""
        return self.joiner.dead

    @property
    def remembered(self) -> Remembered:
        """Requests closed since `mark_committed`."""
        return self.joiner.remembered

    @property
    def next_deadline(self) -> int | None:
        """When (ms) the first open window or early record expires, None without any."""
        return self.joiner.next_deadline

    def join_point(self) -> JoinPoint:
        """Where to fold again from to find what is open now."""
        return self.joiner.join_point()

    def fold(self, records: Sequence[Record]) -> None:
        """Take in records, in order. How they are cut into calls leaves no trace in state."""
        for _ in self._join(_spans(records)):
            self._learn()  # what closed at a control record was joined under the old settings
            self._obey()
            self.point("learned")

    def mark_committed(self) -> None:
        """Forget what only the next commit needed."""
        super().mark_committed()
        self.joiner.mark_committed()
        self.outgoing = []
        needed = self.join_point().offset
        for offset in list(takewhile(needed.__gt__, self.shown)):
            del self.shown[offset]

    def _obey(self) -> None:
        if self.joiner.config is not self.config:
            self._reconfigure(self.joiner.config)
            self.sends = self._find_sends()
        told = self.joiner.forgetting
        if told is not None and told.policy not in self.sends:
            self._forget(told)

    def _find_sends(self) -> frozenset[str]:
        if not self._apart:
            return frozenset()
        policies = self.policies.items()
        return frozenset(name for name, policy in policies if learns_in_order(policy))

    def _join(self, spans: RecordSpans) -> Iterator[None]:
        """Let the joiner take in records, up to a control record at a time."""
        while spans.n:
            columns = decode_columns(self.joiner.plan, spans)
            self._keep(columns)
            self.point("decoded")
            self.joiner.add(columns)
            self.point("joined")
            yield
            spans = spans.cut(columns.n, spans.n)

    def _keep(self, columns: EventColumns) -> None:
        """Keep impressions whose outcomes may be sent."""
        if not self.sends:
            return
        recommenders = self.joiner.config.recommenders
        names = self.joiner.plan.recommenders
        sent = [at for at, name in enumerate(names) if recommenders[name].policy in self.sends]
        kept = (columns.kind == IMPRESSION) & np.isin(columns.recommender, sent)
        for record in np.flatnonzero(kept).tolist():
            self.shown[int(columns.offset[record])] = columns.value(record)

    def _learn(self) -> None:
        joined, self.joiner.outcomes = self.joiner.outcomes, []
        sent: list[tuple[int, Outgoing]] = []
        for part in joined:
            if part.policy in self.sends:
                sent += self._send(part)
            else:
                self._update(part.policy, part.outcomes)
        sent.sort(key=lambda pair: pair[0])  # policies are told apart, and mixed again here
        self.outgoing += [outgoing for _, outgoing in sent]

    def _send(self, joined: Joined) -> Iterator[tuple[int, Outgoing]]:
        """Outcomes of a policy that learns elsewhere, each with its number."""
        policy, outcomes, number, offset, opened = joined
        starts = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
        for start, stop in pairwise([*starts, len(number)]):
            yield (
                int(number[start]),
                Outgoing(
                    policy=policy,
                    settings=self.config.policies[policy],
                    offset=int(offset[start]),
                    opened=int(opened[start]),
                    slots=tuple(outcomes.slot[start:stop].tolist()),
                    rewards=tuple(outcomes.reward[start:stop].tolist()),
                    time_ms=int(outcomes.time_ms[start]),
                    last=int(outcomes.last[start]),
                ),
            )

    def _check_restored(self, snapshot: Snapshot) -> None:
        joiner = self.joiner
        found = (joiner.clock, joiner.pending(), joiner.config == snapshot.config)
        stored = (snapshot.clock, snapshot.counts.pending, True)
        if found != stored:
            raise StoreError(
                f"folding the log again gives (clock, pending, same settings) {found}; stored "
                f"are {stored}: this is not the log the state was learned from. Learn anew by "
                "moving the state file away"
            )


def replay_log(
    log: EventLog,
    config: EngineConfig | None = None,
    *,
    partition: int = 0,
    limit: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Fold a whole partition in one pass: to its live state, bit for bit, under its own settings.

    Of a log that retention cut it is the state of a learner that began at the oldest record kept.

    Parameters
    ----------
    config
        Learn under these settings in place of the log's own.
    limit
        Records read at once.
    progress
        Called with the offset reached after every batch.

    Raises
    ------
    LogError
        When the log cannot be read.
    """
    shard = Shard(
        config,
        fixed=config is not None,
        apart=log.partitions(EVENTS) > 1,
        begin=log.begin(EVENTS, partition),
    )
    while records := log.poll(EVENTS, shard.next_offset, limit, partition):
        shard.fold(records)
        shard.mark_committed()
        if progress is not None:
            progress(shard.next_offset)
    return Replayed.of(shard)


def _spans(records: Sequence[Record]) -> RecordSpans:
    return records.spans if isinstance(records, RecordBatch) else RecordSpans.of(records)
