"""Folding again from the join point gives what never stopping gives, at every offset."""

import random

import pytest

from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import BadEventError
from streams.events import Event, decode_event
from streams.join import Joiner, JoinPoint
from streams.log.base import EVENTS, Record
from tests.streams.cases import comparable, random_log


def decoded(record: Record) -> Event | BadEventError:
    try:
        return decode_event(record.value)
    except BadEventError as error:
        return error


def position(joiner: Joiner) -> tuple:
    """Everything a commit stores of a joiner."""
    return (
        joiner.join_point(),
        joiner.next_offset,
        joiner.clock,
        joiner.counts.to_dict(),
        dict(joiner.closed),
        joiner.config,
    )


def restored(stored: tuple, records: list[Record]) -> Joiner:
    start, next_offset, clock, counts, closed, config = stored
    joiner = Joiner(start)
    joiner.skip(closed)
    for record in records[start.offset : next_offset]:
        joiner.add(record, decoded(record))
    joiner.resume(Counts(counts), closed)
    assert (joiner.clock, joiner.config, joiner.next_offset) == (clock, config, next_offset)
    assert joiner.pending() == joiner.counts.pending
    return joiner


def check_seed(seed: int, length: int = 150) -> int:
    """Restore at random offsets and go on; returns how many restores saw something open."""
    rng = random.Random(seed)
    records = random_log(seed, length).poll(EVENTS, 0, length + 1)
    whole = Joiner(JoinPoint(0, 0, EngineConfig()))
    others: list[Joiner] = []
    refolded = 0
    for record in records:
        event = decoded(record)
        for joiner in (whole, *others):
            joiner.add(record, event)
            assert joiner.counts.exact
        emitted = [comparable(outcome) for outcome in whole.outcomes]
        stored = position(whole)
        for joiner in others:
            assert [comparable(outcome) for outcome in joiner.outcomes] == emitted
            assert position(joiner) == stored
            joiner.outcomes.clear()
        whole.outcomes.clear()
        if rng.random() < 0.2:
            others.append(restored(stored, records))
            refolded += stored[0].offset < stored[1]
            others = others[-4:]
    return refolded


@pytest.mark.parametrize("seed", range(60))
def test_a_restored_joiner_goes_on_as_if_it_never_stopped(seed):
    assert check_seed(seed) > 0
