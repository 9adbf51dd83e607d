"""What has been claimed and committed, kept beside the store: it catches the store at a wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field

from streams.config import EngineConfig
from streams.positions import Commit, Position
from streams.store import Store

Key = tuple[str, int]


class ViolationError(AssertionError):
    """A property that must always hold did not."""


def require(true: bool, message: str) -> None:
    """Raise ``ViolationError`` unless it is true."""
    if not true:
        raise ViolationError(message)


@dataclass
class Entry:
    """Newest claim and commit of a shard; ``begin`` and ``config`` are where learning began."""

    epoch: int = 0
    seq: int = 0
    begin: int | None = None
    config: EngineConfig = field(default_factory=EngineConfig)
    next_offset: int = 0
    join_offset: int = 0


class Ledger:
    """Checks each claim and commit when it is made.

    Parameters
    ----------
    audit
        Called with every new position, to look closer.
    """

    def __init__(self, audit: Callable[[Position], None]) -> None:
        self._audit = audit
        self.shards: dict[Key, Entry] = {}
        self.commits = 0
        self.fenced = 0

    def entry(self, key: Key) -> Entry:
        """Return what is known of a shard."""
        return self.shards.setdefault(key, Entry())

    def claimed(self, position: Position) -> None:
        """Check a claim that the store granted."""
        key = (position.topic, position.partition)
        entry = self.entry(key)
        if entry.begin is None:
            entry.begin = entry.next_offset = entry.join_offset = position.next_offset
        require(position.epoch == entry.epoch + 1, f"{key}: epoch {position.epoch} was claimed")
        found = (position.seq, position.next_offset, position.join_point.offset)
        stored = (entry.seq, entry.next_offset, entry.join_offset)
        require(found == stored, f"{key}: claimed at {found}, committed was {stored}")
        entry.epoch = position.epoch

    def committed(self, before: Position, after: Position, commit: Commit) -> None:
        """Check a commit that the store took."""
        key = (before.topic, before.partition)
        entry = self.entry(key)
        require(
            before.epoch == entry.epoch,
            f"{key}: a commit of epoch {before.epoch} landed, {entry.epoch} had claimed the shard",
        )
        require(
            (before.seq, after.seq) == (entry.seq, entry.seq + 1),
            f"{key}: commit {after.seq} after {before.seq} landed on {entry.seq}",
        )
        require(
            after.next_offset > entry.next_offset,
            f"{key}: committed offset went from {entry.next_offset} to {after.next_offset}",
        )
        self._check_counts(key, entry, commit)
        entry.seq, entry.next_offset = after.seq, after.next_offset
        entry.join_offset = after.join_point.offset
        self.commits += 1
        self._audit(after)

    def refused(self, position: Position) -> None:
        """Check a commit that the store fenced."""
        key = (position.topic, position.partition)
        entry = self.entry(key)
        newest = (position.epoch, position.seq) == (entry.epoch, entry.seq)
        require(not newest, f"{key}: the owner itself was fenced at {position.epoch}")
        self.fenced += 1

    def unchanged(self, store: Store, key: Key) -> None:
        """Check that a commit which failed left nothing behind."""
        entry = self.entry(key)
        for tail in store.tail({}):
            position = tail.position
            if (position.topic, position.partition) == key:
                found = (position.epoch, position.seq, position.next_offset)
                expected = (entry.epoch, entry.seq, entry.next_offset)
                require(found == expected, f"{key}: {found} is stored, {expected} was committed")

    @staticmethod
    def _check_counts(key: Key, entry: Entry, commit: Commit) -> None:
        counted = commit.counts.to_dict()
        consumed = sum(fates["consumed"] for fates in counted.values())
        begin = entry.begin or 0
        require(commit.counts.exact, f"{key}: counts do not add up: {counted}")
        require(
            begin + consumed == commit.next_offset,
            f"{key}: {consumed} records counted from {begin} to {commit.next_offset}",
        )
