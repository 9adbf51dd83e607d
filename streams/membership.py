"""Which partitions a process owns, and how it learns that this changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Change", "Membership", "Owned", "Release", "SoleOwner"]

Owned = tuple[str, int]
"""A topic and the number of one of its partitions."""

Release = Callable[[list[Owned]], None]
"""Called with partitions that are given up: commit what was learned of them now."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changed since the last poll, in this order: lost, revoked, assigned.

    Attributes
    ----------
    assigned
        Owned from now on: recover them from the store.
    revoked
        Given up in good order: the release hook was called for them, now drop them.
    lost
        Taken away: another may own them already. Drop them without a commit.
    """

    assigned: tuple[Owned, ...] = ()
    revoked: tuple[Owned, ...] = ()
    lost: tuple[Owned, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.assigned or self.revoked or self.lost)


class Membership(Protocol):
    """One process among those that share the partitions.

    It only assigns work: that nobody else commits is for the store to say.
    """

    rebalances: int

    def poll(self) -> Change:
        """What changed. Quick; call it often, from one thread. Raises LogError.

        Only when waiting does not help, as when another process took this one's name.
        """
        ...

    def commit(self, offsets: Mapping[Owned, int]) -> None:
        """Tell tools that measure lag what was committed. Failures are logged, never raised."""
        ...

    def close(self) -> None:
        """Release what is owned and leave; closing twice is harmless."""
        ...


class SoleOwner:
    """Owner of all partitions, from the first poll to the close."""

    def __init__(self, partitions: Iterable[Owned], on_release: Release | None = None) -> None:
        self.rebalances = 0
        self._partitions = tuple(partitions)
        self._on_release = on_release
        self._owned: tuple[Owned, ...] = ()

    def poll(self) -> Change:
        """Return all partitions as assigned, the first time."""
        if self.rebalances:
            return Change()
        self.rebalances = 1
        self._owned = self._partitions
        return Change(assigned=self._partitions)

    def commit(self, offsets: Mapping[Owned, int]) -> None:
        """Do nothing: nobody measures."""

    def close(self) -> None:
        """Release what is owned."""
        owned, self._owned = self._owned, ()
        self.rebalances = max(self.rebalances, 1)
        if owned and self._on_release is not None:
            self._on_release(list(owned))
