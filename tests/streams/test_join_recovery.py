"""Folding again from the join point gives what never stopping gives, at every offset."""

import random

import pytest

from streams.agenda import Remembered
from streams.config import EngineConfig
from streams.counts import Counts
from streams.events import Activation, Event, Tick, encode_event
from streams.join import Joiner, JoinPoint
from streams.log.base import EVENTS, Record
from tests.streams.cases import (
    START,
    click,
    comparable,
    impression,
    random_log,
    settings,
    take_in,
    told,
)


def position(joiner: Joiner) -> tuple:
    """Everything a commit stores of a joiner."""
    return (
        joiner.join_point(),
        joiner.next_offset,
        joiner.clock,
        joiner.counts.to_dict(),
        joiner.closed.to_dict(),
        joiner.config,
    )


def restored(stored: tuple, records: list[Record]) -> Joiner:
    start, next_offset, clock, counts, closed, config = stored
    joiner = Joiner(start)
    joiner.skip(Remembered.of(closed))
    take_in(joiner, records[start.offset : next_offset])
    joiner.resume(Counts(counts), Remembered.of(closed))
    assert (joiner.clock, joiner.config, joiner.next_offset) == (clock, config, next_offset)
    assert joiner.pending() == joiner.counts.pending
    return joiner


def check(records: list[Record], rng: random.Random, chance: float, keep: int) -> int:
    """Restore at random offsets and go on; returns how many restores saw something open."""
    whole = Joiner(JoinPoint(0, 0, EngineConfig()))
    others: list[Joiner] = []
    refolded = 0
    for record in records:
        for joiner in (whole, *others):
            take_in(joiner, [record])
            assert joiner.counts.exact
        emitted = [comparable(outcome) for outcome in told(whole.outcomes)]
        stored = position(whole)
        for joiner in others:
            assert [comparable(outcome) for outcome in told(joiner.outcomes)] == emitted
            assert position(joiner) == stored
            joiner.outcomes.clear()
        whole.outcomes.clear()
        if rng.random() < chance:
            others.append(restored(stored, records))
            refolded += stored[0].offset < stored[1]
            others = others[-keep:]
    return refolded


def check_seed(seed: int, length: int = 150) -> int:
    records = random_log(seed, length).poll(EVENTS, 0, length + 1)
    return check(records, random.Random(seed), 0.2, 4)


@pytest.mark.parametrize("seed", range(150))
def test_a_restored_joiner_goes_on_as_if_it_never_stopped(seed):
    assert check_seed(seed) > 0


def at(*timed: tuple[float, Event]) -> list[Record]:
    return [
        Record(offset, START + round(seconds * 1000), "", encode_event(event))
        for offset, (seconds, event) in enumerate(timed)
    ]


SLATE = impression("r")
CONTROL = settings(window=100).to_control(0)
SLOW = impression("slow", deferred=True)
SEEN = Activation(ts=0, request_id="slow")


@pytest.mark.parametrize(
    "records",
    [
        # A repeated impression is read again without the first, then the id comes back.
        at((0, CONTROL), (0, SLATE), (10, SLOW), (15, SLATE), (101, Tick(ts=0)), (109, SEEN),
           (201, SLATE), (202, click("r")), (216, SLATE), (400, click("r"))),
        # Late feedback is read again without its impression, then the id comes back.
        at((0, CONTROL), (0, SLATE), (90, SLOW), (120, click("r")), (189, SEEN),
           (250, SLATE), (251, click("r")), (288, click("r", "b", "e2")), (600, Tick(ts=0))),
        # The same while the longest window shrinks.
        at((0, CONTROL), (0, SLATE), (10, SLOW), (15, SLATE), (20, click("r")),
           (30, settings(window=5).to_control(0)), (40, SEEN), (41, SLATE), (108, SLATE),
           (109, click("r")), (200, SLATE), (201, click("r", "b"))),
    ],
)  # fmt: skip
def test_what_a_cut_request_leaves_behind_is_gone_in_time(records):
    assert check(records, random.Random(0), 1.0, 100) > 0
