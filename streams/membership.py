"""Which partitions a process owns: what a consumer group, or nobody else being there, assigns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Change", "Membership", "Release", "Shards", "SoleOwner"]

Shards = Sequence[tuple[str, int]]  # topics and partitions
Release = Callable[[Shards], None]


class Change(NamedTuple):
    """What was assigned since the last poll, and what was lost without a chance to commit."""

    assigned: Shards = ()
    lost: Shards = ()


class Membership(Protocol):
    """A member of a group that shares partitions.

    It only assigns work: that two members never both move a shard's state forward is the store's
    business.
    """

    rebalances: int

    def poll(self, release: Release) -> Change:
        """Take part in the group; quick, to be called often.

        ``release`` is called with shards that another member is to have, before it can have them.
        """
        ...

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Tell the group how far shards are learned, for tools that show lag. Never raises."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class SoleOwner:
    """Owns everything it is given, from the first poll on."""

    def __init__(self, shards: Shards) -> None:
        self.rebalances = 0
        self._shards = tuple(shards)

    def poll(self, release: Release) -> Change:
        """Assign everything, once."""
        del release
        assigned, self._shards = self._shards, ()
        return Change(assigned=assigned)

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Nobody asks."""

    def close(self) -> None:
        """Nobody to leave."""
