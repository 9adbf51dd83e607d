"""A shard of `OUTCOMES`: policies that learn in order, taught what all sources joined for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec
import numpy as np

from engine.batches import Outcomes
from engine.errors import ConfigError
from engine.state import State
from streams.agenda import JoinPoint, Remembered
from streams.config import EngineConfig, Forgetting
from streams.counts import Counts
from streams.errors import BadEventError, RefusedError
from streams.events import Control
from streams.log.base import OUTCOMES, Record
from streams.outcomes import OutcomeRecord, SentOutcome, decode_outcomes, encode_outcomes
from streams.positions import START, Mark, Position
from streams.refusals import escape
from streams.requests import DeadLetter
from streams.rows import SlateRows, encode_slate
from streams.states import ShardStates

__all__ = ["START", "OutcomeShard"]

Fitted = list[tuple[SentOutcome, SlateRows]]


class OutcomeShard(ShardStates):
    """States of policies that learn in order: a pure fold over a partition of `OUTCOMES`.

    Of every source it knows up to which mark it learned, so that what is written again is told
    apart, and what is missing is not passed over. A policy that no control record brought yet is
    taken up with the settings that its first outcomes bring.

    Parameters
    ----------
    begin
        Offset to begin at: above 0 when the log keeps no earlier records.

    Attributes
    ----------
    chain
        Up to where each source's outcomes are learned.
    """

    def __init__(self, *, begin: int = 0) -> None:
        super().__init__(EngineConfig())
        self.chain: dict[str, Mark] = {START: (begin, 0)} if begin else {}
        self._next_offset = begin
        self._clock = 0
        self._counts = Counts()
        self._dead: list[DeadLetter] = []

    @classmethod
    def restore(cls, position: Position, states: dict[str, State]) -> OutcomeShard:
        """Rebuild the shard of a commit."""
        if not position.seq:
            return cls(begin=position.next_offset)
        shard = cls()
        shard._reconfigure(position.config)
        shard.rebuilt = set()
        shard.states = states
        shard.chain = dict(position.chain)
        shard._next_offset, shard._clock = position.next_offset, position.clock
        shard._counts = Counts(position.counts.to_dict())
        return shard

    @property
    def next_offset(self) -> int:
        """Offset of the first record not folded in."""
        return self._next_offset

    @property
    def clock(self) -> int:
        """The latest stamp so far, ms."""
        return self._clock

    @property
    def counts(self) -> Counts:
        """Fates of the outcomes and the control records folded in."""
        return self._counts

    @property
    def dead(self) -> Sequence[DeadLetter]:
        """Records that could not be used, or not all of them, since `mark_committed`."""
        return self._dead

    @property
    def remembered(self) -> Remembered:
        """No requests: they were closed where they were joined."""
        return Remembered.of({})

    @property
    def next_deadline(self) -> int | None:
        """None: nothing waits."""
        return None

    def join_point(self) -> JoinPoint:
        """Where the fold is: nothing is open."""
        return JoinPoint(self._next_offset, self._clock, self.config)

    def mark_committed(self) -> None:
        """Forget what only the next commit needed."""
        super().mark_committed()
        self._dead = []

    def fold(self, records: Sequence[Record]) -> None:
        """Take in records, in order. How they are cut into calls leaves no trace in state.

        Raises
        ------
        RefusedError
            When outcomes are missing between two records of a source.
        """
        for record in records:
            self._clock = max(self._clock, record.stamp)
            self._next_offset = record.offset + 1
            kind = "unknown"
            try:
                event = decode_outcomes(record.value)
                if isinstance(event, OutcomeRecord):
                    self._take(record, event)
                    continue
                kind = str(event.__struct_config__.tag)
                if isinstance(event, Control):
                    self._obey(event)
                self._count(kind, "applied")
            except BadEventError as error:
                self._dead.append(DeadLetter.of(record, error))
                self._count(kind, "dead")
        self.point("learned")

    def _obey(self, control: Control) -> None:
        try:
            if control.change == "configure":
                self._reconfigure(EngineConfig.from_control(control))
            else:
                self._forget(Forgetting.from_control(control, self.config))
        except ConfigError as error:
            raise BadEventError("config", str(error), "/settings") from error

    def _take(self, record: Record, told: OutcomeRecord) -> None:
        new = self._follow(record, told)
        by_policy: dict[str, list[SentOutcome]] = {}
        for outcome in new:
            by_policy.setdefault(outcome.policy, []).append(outcome)
        failed: list[tuple[SentOutcome, BadEventError]] = []
        for name, group in by_policy.items():
            fitted = self._fit(name, group, told, failed)
            if fitted:
                self._update(name, _batch(fitted))
        self._count("outcomes", "duplicate", len(told.outcomes) - len(new))
        self._count("outcomes", "applied", len(new) - len(failed))
        if failed:
            self._count("outcomes", "dead", len(failed))
            self._bury(record, told, failed)

    def _bury(
        self, record: Record, told: OutcomeRecord, failed: list[tuple[SentOutcome, BadEventError]]
    ) -> None:
        """Keep one letter a record, of what could not be learned of it.

        Its value is a chain of its own: appended again it is learned, and once.
        """
        left = tuple(outcome for outcome, _ in failed)
        chain = f"{told.log}/{record.offset}"
        kept = msgspec.structs.replace(told, log=chain, begin=(0, 0), outcomes=left)
        letter = DeadLetter.of(record, failed[0][1])
        self._dead.append(letter._replace(value=encode_outcomes(kept)))

    def _follow(self, record: Record, told: OutcomeRecord) -> list[SentOutcome]:
        """Move a source's chain over a record; returns the outcomes not learned before."""
        learned = self.chain.get(told.chain)
        if learned is None:
            learned = told.begin if START in self.chain else (0, 0)
        if told.begin > learned:
            raise RefusedError(
                f"topic {OUTCOMES} holds the outcomes of partition {told.source} up to offset "
                f"{learned[0]}, and the next, its record {record.offset}, those from "
                f"{told.begin[0]} on: records of {OUTCOMES} were lost. Create the topic anew and "
                "learn anew from the events with 'slatestream reset'"
            )
        self.chain[told.chain] = max(learned, told.end)
        return [outcome for outcome in told.outcomes if outcome.mark >= learned]

    def _fit(
        self,
        name: str,
        group: list[SentOutcome],
        told: OutcomeRecord,
        failed: list[tuple[SentOutcome, BadEventError]],
    ) -> Fitted:
        """Encode outcomes under the schema in force; what does not fit goes to ``failed``."""
        fitted: Fitted = []
        try:
            if name not in self.policies:
                more = {**self.config.policies, name: told.policies[name]}
                self._reconfigure(EngineConfig(policies=more))
        except ConfigError as error:
            why = BadEventError("config", str(error), f"/policies/{escape(name)}")
            failed += [(outcome, why) for outcome in group]
            return fitted
        schema = self.policies[name].schema
        for outcome in group:
            try:
                fitted.append((outcome, encode_slate(schema, outcome)))
            except BadEventError as misfit:
                failed.append((outcome, misfit))
        return fitted

    def _count(self, kind: str, fate: str, n: int = 1) -> None:
        self._counts.consume(kind, n)
        self._counts.settle(kind, fate, n)


def _batch(fitted: Fitted) -> Outcomes:
    outcomes, rows = zip(*fitted, strict=True)
    sizes = [len(outcome.slate) for outcome in outcomes]
    slots = list(chain.from_iterable(outcome.slate for outcome in outcomes))
    z = [each.z for each in rows if each.z is not None]  # all of one schema, or none
    return Outcomes(
        item_ids=[slot.item_id for slot in slots],
        x=np.repeat(np.stack([each.x for each in rows]), sizes, axis=0),
        reward=np.array([slot.reward for slot in slots], float),
        weight=np.repeat(np.array([outcome.weight for outcome in outcomes], float), sizes),
        time_ms=np.repeat(np.array([o.time_ms for o in outcomes], np.int64), sizes),
        z=np.concatenate(z) if z else np.empty((len(slots), 0)),
        propensity=np.array([slot.propensity for slot in slots], float),
        slot=np.array([slot.slot for slot in slots], np.int64),
        last=np.repeat(np.array([outcome.last for outcome in outcomes], np.int64), sizes),
        slate=np.repeat(np.arange(len(outcomes)), sizes),
    )
