"""Slates of a partition of our own log, joined to rewards by the same joiner that learns live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simulator.offers import ITEM_MISFIT
from streams.columns import BAD, IMPRESSION, EventColumns, RecordSpans
from streams.config import EngineConfig
from streams.counts import CountTable
from streams.errors import BadEventError
from streams.events import Impression, decode_event
from streams.join import Joiner, JoinPoint
from streams.log.base import Record
from streams.scan import decode_columns

__all__ = ["MISFIT", "Excluded", "LoggedSlate", "Moment", "PartitionReader", "Settled"]

MISFIT = "context does not fit the schema"
EXAMPLES = 3


class Moment(NamedTuple):
    """When a record came: what partitions have in common is the clock of their stamps (ms)."""

    stamp: int
    partition: int
    offset: int


class Settled(NamedTuple):
    """A slot's final reward, the record it was final at, and the last slot with a reaction."""

    reward: float
    moment: Moment
    last: int


class LoggedSlate(NamedTuple):
    """An impression, and what is settled of its slots so far."""

    moment: Moment
    impression: Impression
    rewards: dict[int, Settled]

    @property
    def final(self) -> bool:
        """Whether all slots are settled."""
        return len(self.rewards) == len(self.impression.slate)


class Excluded:
    """What is left out: how many, by reason, and the first few of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, example: str) -> None:
        """Count one."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(example)


class PartitionReader:
    """Collects impressions of one partition and their rewards.

    Parameters
    ----------
    partition
        Its number; None when the log has no other.
    begin
        Offset of the first record that will come.

    Attributes
    ----------
    joiner
        What joins them, with the settings in force.
    slates
        By offset, in order: a request id may come again.
    """

    def __init__(self, partition: int | None, begin: int, excluded: Excluded) -> None:
        self._partition = partition
        self._excluded = excluded
        self.joiner = Joiner(JoinPoint(begin, 0, EngineConfig()))
        self.slates: dict[int, LoggedSlate] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Take in the next records."""
        spans = RecordSpans.of(records)
        while spans.n:
            columns = decode_columns(self.joiner.plan, spans)
            self.joiner.add(columns)
            self._take_slates(columns)
            self._take_rewards(columns)
            self.joiner.mark_committed()
            spans = spans.cut(columns.n, spans.n)

    def _take_slates(self, columns: EventColumns) -> None:
        for record in np.flatnonzero(columns.kind == BAD).tolist():
            self._exclude(_fault(columns.errors[record]), int(columns.offset[record]))
        fates = self.joiner.fates
        opened = (columns.kind == IMPRESSION) & (fates != CountTable.COLUMNS.index("duplicate"))
        for record in np.flatnonzero(opened).tolist():
            offset, stamp = int(columns.offset[record]), int(columns.stamp[record])
            if fates[record] == CountTable.DEAD:
                inside = columns.errors[record].pointer.startswith("/slate")
                self._exclude(ITEM_MISFIT if inside else MISFIT, offset)
                continue
            impression = decode_event(columns.value(record))
            assert isinstance(impression, Impression)  # noqa: S101
            self.slates[offset] = LoggedSlate(self._moment(stamp, offset), impression, {})

    def _take_rewards(self, columns: EventColumns) -> None:
        joined, self.joiner.outcomes = self.joiner.outcomes, []
        for _, outcomes, _, offset, opened in joined:
            stamp = columns.stamp[np.searchsorted(columns.offset, offset)]
            parts = (opened, outcomes.slot, outcomes.reward, stamp, offset, outcomes.last)
            for slate, slot, reward, *at, last in zip(*(c.tolist() for c in parts), strict=True):
                self.slates[slate].rewards[slot] = Settled(reward, self._moment(*at), last)

    def _moment(self, stamp: int, offset: int) -> Moment:
        return Moment(stamp, self._partition or 0, offset)

    def _exclude(self, reason: str, offset: int) -> None:
        where = "" if self._partition is None else f"partition {self._partition}, "
        self._excluded.add(reason, f"{where}offset {offset}")


def _fault(error: BadEventError) -> str:
    if error.pointer.endswith("/propensity"):
        return "propensity not in (0, 1]"
    return f"record not valid ({error.reason})"
