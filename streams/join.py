"""Impression + feedback -> outcomes: a deterministic fold over the records of a partition.

The clock is the running maximum of the append stamps and nothing closes except at a record: each
record first moves the clock, then every window whose deadline is reached closes, in the order
(deadline, offset), then the record itself is taken in. Why a suffix of the log may be folded again
to recover is told in `streams.agenda`.

Batches are folded by `engine.kernels.join`; what is rare, a control record or a record that cannot
be used, is left to this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.blocks import (
    EARLY_FEEDBACK,
    KIND,
    OFFSET,
    ORIGIN_CLOCK,
    ORIGIN_OFFSET,
    REACTION,
    RULE,
    SETTLED,
    STARTED,
    UNLEARNED,
    WINDOW,
)
from engine.kernels.join import join_events
from engine.kernels.ledger import AT, CLOCK, ENDS, LONGEST, MEMORY, NEXT_OFFSET
from streams.agenda import ConfigHistory, JoinPoint, Remembered
from streams.column_plan import ColumnPlan
from streams.columns import CONTROL, FEEDBACK, IMPRESSION, EventColumns
from streams.config import EngineConfig, Forgetting
from streams.counts import Counts, CountTable
from streams.errors import BadEventError
from streams.events import Control, Feedback, Impression, decode_event, encode_event
from streams.holdings import Holdings
from streams.joined import Joined, Learned
from streams.log.base import Record
from streams.requests import DeadLetter
from streams.rows import encode_slate
from streams.rules import Rules

__all__ = ["JoinPoint", "Joiner"]


class Joiner:
    """The fold. Callers take ``outcomes`` away, and ``dead`` and ``remembered`` at commits.

    Parameters
    ----------
    start
        Where the fold starts; nothing is open there.
    fixed
        Keep to the settings given: control records only move the clock.

    Attributes
    ----------
    outcomes
        What was joined and not yet taken by the caller, in log order for each policy.
    dead
        Records that could not be used, since `mark_committed`.
    forgetting
        What the last record makes a policy forget.
    fates
        Of each record of the last batch: its place in `streams.counts.FATES` plus 2, 1 while it
        is pending, 0 for a control record, -1 when it was skipped.
    """

    def __init__(self, start: JoinPoint, *, fixed: bool = False) -> None:
        self.config = start.config
        self.outcomes: list[Joined] = []
        self.dead: list[DeadLetter] = []
        self.forgetting: Forgetting | None = None
        self.fates = np.empty(0, dtype=np.int64)
        self._held = Holdings()
        self._held.state[[CLOCK, NEXT_OFFSET]] = start.clock, start.offset
        self._learned = Learned()
        self._counts = CountTable()
        self._changes: list[Remembered] = []
        self._configs = ConfigHistory(start.offset, start.config)
        self._fixed = fixed
        self._again = False  # folding again
        self._go_by(Rules(start.config))

    @property
    def plan(self) -> ColumnPlan:
        """What the next records must be decoded under."""
        return self._rules.plan

    @property
    def clock(self) -> int:
        """The latest stamp so far, ms."""
        return int(self._held.state[CLOCK])

    @property
    def next_offset(self) -> int:
        """Offset after the last record."""
        return int(self._held.state[NEXT_OFFSET])

    @property
    def counts(self) -> Counts:
        """Fates of all records so far, a copy."""
        return self._counts.read()

    @property
    def next_deadline(self) -> int | None:
        """When (ms) the first open window or early record expires, None without any."""
        return self._held.next_deadline()

    @property
    def closed(self) -> Remembered:
        """Closed requests still remembered."""
        return self._held.remembered()

    @property
    def remembered(self) -> Remembered:
        """Closed requests whose forget time was set since `mark_committed`, and that time."""
        return Remembered.join(self._changes, -1)

    def mark_committed(self) -> None:
        """Start ``remembered`` and ``dead`` anew."""
        self._changes, self.dead = [], []

    def join_point(self) -> JoinPoint:
        """Where a fold must start to find again all that is open or early now."""
        arena, oldest = self._held.arena, self._held.state[ENDS]
        offset, clock = self.next_offset, self.clock
        if oldest:
            offset, clock = int(arena[oldest + ORIGIN_OFFSET]), int(arena[oldest + ORIGIN_CLOCK])
        return JoinPoint(offset, clock, self._configs.at(offset))

    def pending(self) -> dict[str, int]:
        """Count what is held, by type, from the windows and early records themselves."""
        arena, blocks = self._held.arena, self._held.held()
        kinds = arena[blocks + KIND]
        windows = blocks[kinds == WINDOW]
        early = int(np.count_nonzero(kinds == EARLY_FEEDBACK))
        held = {
            "impression": int(np.count_nonzero(arena[windows + SETTLED] == 0)),
            "feedback": int(arena[windows + UNLEARNED].sum()) + early,
            "activation": len(blocks) - len(windows) - early,
        }
        return {kind: n for kind, n in held.items() if n}

    def skip(self, closed: Remembered) -> None:
        """Begin to fold again, passing over the requests that a commit holds as closed."""
        self._held.skip(closed.keys)
        self._again = True

    def resume(self, counts: Counts, closed: Remembered) -> None:
        """End folding again: what it produced is dropped, the commit's own counts hold."""
        self._held.skip(np.empty(0, dtype=np.uint64))
        self._held.remember(closed)
        self._counts = CountTable(counts)
        self.outcomes, self.dead, self.forgetting = [], [], None
        self._changes, self._again = [], False

    def add(self, columns: EventColumns) -> None:
        """Take in the next records, decoded under ``plan``.

        A control record among them is the last one.
        """
        self.forgetting = None
        self.fates = np.empty(columns.n, dtype=np.int64)
        self._held.reserve(columns, self._rules)
        self._held.state[AT] = 0
        while self._fold(columns) < columns.n:
            pass
        for at in np.flatnonzero(self.fates == CountTable.DEAD).tolist():
            self._bury(columns, at)
        if columns.n and columns.kind[-1] == CONTROL:
            self._take_control(columns)

    def _fold(self, columns: EventColumns) -> int:
        held, rules, learned = self._held, self._rules, self._learned
        arrays = columns.arrays
        given: tuple[Any, ...] = (
            held.arena,
            held.numbers,
            held.texts,
            held.free,
            held.requests,
            held.seen,
            held.closed,
            held.skipped,
            held.heap,
            rules.rows,
            rules.rates,
            self._counts.rows,
            held.state,
            *(_signed(column) for column in arrays),
            learned.table,
            learned.slots,
            learned.rewards,
            learned.changed,
            self.fates,
        )
        done = join_events(*given)
        if not self._again:
            self._changes.append(learned.closed(held))
            self.outcomes += learned.gather(held, rules.plan)
        return int(done)

    def _bury(self, columns: EventColumns, at: int) -> None:
        error = columns.errors.get(at)
        if error is None:
            name = CountTable.KINDS[columns.kind[at]]
            error = BadEventError("type", f"{name} records belong in the catalogue log", "/type")
        where = (int(columns.offset[at]), int(columns.stamp[at]))
        self.dead.append(DeadLetter.of(Record(*where, "", columns.value(at)), error))

    def _take_control(self, columns: EventColumns) -> None:
        at = columns.n - 1
        error = None if self._fixed else self._obey(columns.controls[at], self.next_offset)
        if error is not None:
            columns.errors[at] = error
            self._bury(columns, at)
        self._counts.settle(CONTROL, "applied" if error is None else "dead")

    def _obey(self, control: Control, following: int) -> BadEventError | None:
        try:
            if control.change == "configure":
                self._configure(EngineConfig.from_control(control), following)
            else:
                self.forgetting = Forgetting.from_control(control, self.config)
        except ConfigError as error:
            return BadEventError("config", str(error), "/settings")
        return None

    def _configure(self, config: EngineConfig, following: int) -> None:
        before, self.config = self._rules, config
        self._configs.put(following, config)
        held, arena = self._held, self._held.arena
        windows = held.windows()
        windows = windows[arena[windows + RULE] >= 0]
        in_use = [before.settings[rule] for rule in np.unique(arena[windows + RULE])]
        current = list(config.recommenders.values())
        rules = Rules(config, [setting for setting in in_use if setting not in current])
        arena[windows + RULE] = [rules.find(before.settings[r]) for r in arena[windows + RULE]]
        self._go_by(rules)
        for window in windows[np.argsort(arena[windows + OFFSET])].tolist():
            self._fit(window, _schemas(before.config), _schemas(config))
        if before.plan.kinds != rules.plan.kinds:
            self._name_reactions()

    def _go_by(self, rules: Rules) -> None:
        self._rules = rules
        self._held.state[[LONGEST, MEMORY]] = rules.longest_ms, rules.memory_ms

    def _fit(self, window: int, before: dict[str, Schema], after: dict[str, Schema]) -> None:
        held = self._held
        policy = self._rules.settings[held.arena[window + RULE]].policy
        if policy not in after:
            self._mute(window, "filtered")
        elif after[policy] != before[policy]:
            impression = decode_event(held.value(window))
            assert isinstance(impression, Impression)  # noqa: S101
            try:
                held.put_rows(window, *encode_slate(after[policy], impression))
            except BadEventError as error:
                where = (int(held.arena[window + OFFSET]), int(held.arena[window + STARTED]))
                record = Record(*where, "", encode_event(impression))
                self.dead.append(DeadLetter.of(record, error))
                self._mute(window, "dead")

    def _mute(self, window: int, fate: str) -> None:
        arena = self._held.arena
        if not arena[window + SETTLED]:
            self._counts.settle(IMPRESSION, fate, held=True)
        self._counts.settle(FEEDBACK, "filtered", int(arena[window + UNLEARNED]), held=True)
        arena[window + SETTLED], arena[window + UNLEARNED] = 1, 0
        arena[window + RULE] = -1

    def _name_reactions(self) -> None:
        held, arena, kinds = self._held, self._held.arena, self.plan.kinds
        blocks = held.held()
        for block in blocks[arena[blocks + KIND] == EARLY_FEEDBACK].tolist():
            feedback = decode_event(held.value(block))
            assert isinstance(feedback, Feedback)  # noqa: S101
            known = feedback.kind in kinds
            arena[block + REACTION] = kinds.index(feedback.kind) if known else -1


def _signed(column: NDArray[Any]) -> NDArray[Any]:
    """Hashes as the whole numbers that tables of the kernels hold, others as they are."""
    same: NDArray[Any] = column.view(np.int64) if column.dtype == np.uint64 else column
    return same


def _schemas(config: EngineConfig) -> dict[str, Schema]:
    return {name: policy.schema for name, policy in config.policies.items()}
