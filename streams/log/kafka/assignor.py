"""How a group shares out partitions: cooperatively, stickily, and each topic for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from streams.log.kafka.library import ConsumerProtocolAssignment, CooperativeStickyAssignor

__all__ = ["FairAssignor"]


class FairAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """Each member gets its part of every topic.

    The library's own counts partitions and no more: one member may get all of the topic that is
    work, and another all of the one that is none.

    Parameters
    ----------
    before_join
        Called before every join, in the library's thread.
    """

    def __init__(self, before_join: Callable[[], None]) -> None:
        super().__init__()
        self._before_join = before_join

    def metadata(self, topics: Any) -> Any:
        """What this member says of itself to the group."""
        self._before_join()
        return super().metadata(topics)

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, Any]:
        """Share out each topic among the members that want it."""
        members = list(members)
        shares: dict[str, list[Any]] = {member.member_id: [] for member in members}
        for topic in sorted({topic for member in members for topic in member.metadata.topics}):
            wanting = [_of(member, topic) for member in members if topic in member.metadata.topics]
            for member, assignment in super().assign(cluster, wanting).items():
                shares[member] += assignment.assigned_partitions
        return {
            member: ConsumerProtocolAssignment(self.version, share, b"")
            for member, share in shares.items()
        }


def _of(member: Any, topic: str) -> Any:
    """Make a member that wants, and owns, nothing but one topic."""
    owned = [one for one in member.metadata.owned_partitions or () if one.topic == topic]
    metadata = SimpleNamespace(
        topics=[topic], owned_partitions=owned, generation_id=member.metadata.generation_id
    )
    return SimpleNamespace(member_id=member.member_id, metadata=metadata)
