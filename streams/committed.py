"""Embedding tables as they are committed, read without being anybody's owner."""

from __future__ import annotations

from dataclasses import dataclass

from engine.embeddings.part import tables_of
from engine.embeddings.table import EmbeddingTable
from streams.agenda import Remembered
from streams.positions import Saved
from streams.store import Store

__all__ = ["CommittedTable", "read_tables"]


@dataclass(frozen=True, kw_only=True)
class CommittedTable:
    """A policy's table, and up to where in which topic it was learned."""

    policy: str
    part: str
    table: EmbeddingTable
    topic: str
    partition: int
    next_offset: int


def read_tables(store: Store, policy: str | None = None) -> list[CommittedTable]:
    """Load the tables of all policies, or of one, from what was committed last.

    Raises
    ------
    StoreError
        When the store cannot be read, or what it holds cannot be put together.
    """
    found = []
    for tail in store.tail({}):
        saved = Saved(base=tail.base or {}, deltas=tail.deltas, closed=Remembered.of({}))
        position = tail.position
        for name, state in position.states(saved).items():
            if policy is not None and name != policy:
                continue
            found += [
                CommittedTable(
                    policy=name,
                    part=part,
                    table=table,
                    topic=position.topic,
                    partition=position.partition,
                    next_offset=position.next_offset,
                )
                for part, table in tables_of(state.parts).items()
            ]
    return _learned(found)


def _learned(found: list[CommittedTable]) -> list[CommittedTable]:
    """Of a policy's tables in several shards, that of the one that learns it."""
    best: dict[tuple[str, str], CommittedTable] = {}
    for each in found:
        name = (each.policy, each.part)
        # A shard that leaves outcomes to the policy's owner has an empty one.
        if name not in best or _met(each.table) > _met(best[name].table):
            best[name] = each
    return list(best.values())


def _met(table: EmbeddingTable) -> int:
    statistics = table.statistics()
    return statistics.admitted + statistics.rejected
