"""What must hold once everything has settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from streams.learner import Learner
from streams.log.base import EVENTS
from streams.positions import Position
from streams.tables import DEAD
from tests.simulation.ledger import require
from tests.simulation.oracle import Letters, Oracle

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


def is_settled(process: Process, shards: list[tuple[str, int]]) -> bool:
    """Whether a process owns all shards, and nothing in the log waits for anything."""
    learners = process.host.learners
    return list(learners) == shards and all(
        learner.current
        and not learner.lag()
        and learner.committed_offset == learner.next_offset
        and learner.shard.joiner.next_deadline is None
        for learner in learners.values()
    )


def progress(process: Process) -> str:
    """Tell how far a process is."""
    told = {
        key: (learner.current, learner.committed_offset, learner.next_offset, learner.lag())
        for key, learner in process.host.learners.items()
    }
    return f"(current, committed, learned, lag) {told}, troubled {process.host.troubled}"


def check_stored(world: World, position: Position) -> None:
    """Compare what is stored of a shard with one fold of its partition up to there."""
    whole = world.oracle.at(position.partition, position.next_offset)
    saved = world.storage.store.load(position)
    states = position.states(saved)
    where = f"{position.topic}-{position.partition} at {position.next_offset}"
    require(states.keys() == whole.states.keys(), f"{where}: policies {sorted(states)} are stored")
    for name, state in states.items():
        same = state.hash() == whole.states[name].hash()
        require(same, f"{where}: another state of {name} is stored")
    require(position.counts == whole.counts, f"{where}: {position.counts} != {whole.counts}")
    closed = whole.joiner.closed
    require(
        dict(zip(*map(list, saved.closed), strict=True))
        == dict(zip(*map(list, closed), strict=True)),
        f"{where}: other requests are stored as closed",
    )


def check_all(world: World, last: Process) -> None:
    """Compare every shard with one uninterrupted fold of its partition."""
    oracle = Oracle(world.broker.log, world.ledger, 97)
    for (_, number), learner in last.host.learners.items():
        whole = oracle.at(number, world.broker.log.end(EVENTS, number))
        where = f"events-{number}"
        require(learner.next_offset == whole.next_offset, f"{where}: not all is learned")
        require(learner.counts == whole.counts, f"{where}: {learner.counts} != {whole.counts}")
        require(not learner.counts.pending, f"{where}: {learner.counts.pending} never closed")
        require(learner.hash() == whole.hash(), f"{where}: another state than one fold gives")
        restored = Learner(world.broker.log, world.storage.store, world.current, partition=number)
        restored.recover()
        require(restored.hash() == whole.hash(), f"{where}: another state is stored")
        require(restored.counts == whole.counts, f"{where}: other counts are stored")
    if world.audience is not None:
        world.audience.check_final(world.ledger)
    _check_dead(world, oracle.letters)
    _check_logged(world)


def _check_dead(world: World, expected: Letters) -> None:
    with world.storage.store.database.reading() as connection:
        rows = connection.execute(select(DEAD.c.part, DEAD.c.offset, DEAD.c.reason)).all()
    found = {(part, offset): reason for part, offset, reason in rows}
    require(len(rows) == len(found), "a dead letter is kept twice")
    require(found == expected, f"dead letters {sorted(found)}, expected {sorted(expected)}")


def _check_logged(world: World) -> None:
    for place, key, value in world.traffic.logged:
        records = world.broker.log.poll(EVENTS, place.offset, 1, place.partition)
        found = [(record.key, record.value) for record in records]
        require(found == [(key, value)], f"what was told to be at {place} is not there")
