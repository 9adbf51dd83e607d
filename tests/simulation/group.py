"""A group that shares out partitions as a broker does, and what its members know of it."""

from collections.abc import Callable, Mapping

from streams.membership import Change, Release
from tests.simulation.chaos import Chaos
from tests.simulation.ledger import Ledger, require

Key = tuple[str, int]
Point = Callable[[str], None]


class Member:
    """A `Membership`: what one process knows, which may be old.

    Attributes
    ----------
    held
        What it believes to own.
    deaf
        Polls for which it hears nothing, whatever the group decides.
    expired
        The group gave it up and it does not know yet.
    """

    def __init__(self, group: "Group", name: str, point: Point) -> None:
        self.name = name
        self.rebalances = 0
        self.held: list[Key] = []
        self.granted: list[Key] = []
        self.leaving: list[Key] = []
        self.deaf = 0
        self.expired = False
        self._group = group
        self._point = point

    def poll(self, release: Release) -> Change:
        if self.deaf:
            self.deaf -= 1
            return Change()
        lost: list[Key] = []
        if self.expired:
            lost, self.held, self.leaving, self.granted = self.held, [], [], []
            self._group.join(self)
        leaving, self.leaving = self.leaving, []
        if leaving:
            self._point("to release")
            release(leaving)
            self._point("released")
            self.held = [key for key in self.held if key not in leaving]
            self._group.released(self, leaving)
        assigned, self.granted = self.granted, []
        self.held += assigned
        self.rebalances += bool(lost or leaving or assigned)
        return Change(assigned=assigned, lost=lost)

    def commit(self, offsets: Mapping[Key, int]) -> None:
        self._point("to tell the group")
        for key, offset in offsets.items():
            committed = self._group.ledger.entry(key).next_offset
            require(offset <= committed, f"{key}: told {offset}, committed is {committed}")

    def close(self) -> None:
        self._group.leave(self)


class Group:
    """The coordinator: who is to own what, and who has given up what."""

    def __init__(self, chaos: Chaos, ledger: Ledger, shards: list[Key]) -> None:
        self.ledger = ledger
        self.members: list[Member] = []
        self.owners: dict[Key, Member | None] = dict.fromkeys(shards)
        self._targets: dict[Key, Member | None] = dict.fromkeys(shards)
        self._chaos = chaos

    def join(self, member: Member) -> None:
        """Take a member in."""
        member.expired = False
        self.members.append(member)
        self.share_out()

    def leave(self, member: Member) -> None:
        """A member says that it goes, or its session ended."""
        if member not in self.members:
            return
        self.members.remove(member)
        for key, owner in self.owners.items():
            if owner is member:
                self.owners[key] = None
        self.share_out()

    def expire(self, member: Member) -> None:
        """Give up a member that is perhaps still there."""
        self._chaos.note("group", f"gives up {member.name}")
        member.expired = True
        self.leave(member)

    def share_out(self) -> None:
        """Decide anew who is to own what."""
        for key in self.owners:
            self._targets[key] = self._chaos.pick(self.members) if self.members else None
        told = ", ".join(
            f"{key[1]} to {member.name}" for key, member in self._targets.items() if member
        )
        self._chaos.note("group", f"shares out: {told or 'nobody there'}")
        for key in self.owners:
            self._move(key)

    def released(self, member: Member, keys: list[Key]) -> None:
        """A member gave partitions up."""
        for key in keys:
            if self.owners[key] is member:
                self.owners[key] = None
                self._move(key)

    def _move(self, key: Key) -> None:
        owner, target = self.owners[key], self._targets[key]
        if target is owner:
            if owner is not None and key in owner.leaving:
                owner.leaving.remove(key)
        elif owner is None:
            self.owners[key] = target
            if target is not None:
                target.granted.append(key)
        elif key in owner.granted:  # not told yet
            owner.granted.remove(key)
            self.owners[key] = None
            self._move(key)
        elif key not in owner.leaving:
            owner.leaving.append(key)
