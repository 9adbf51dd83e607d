"""What one uninterrupted fold of each partition gives, as far as anybody asks for."""

from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.shard import Shard
from tests.simulation.ledger import Ledger

Letters = dict[tuple[int, int], str]  # reasons, by partition and offset


class Oracle:
    """Folds partitions from where learning began, ``cut`` records at a time.

    Attributes
    ----------
    letters
        Reasons of the dead letters met.
    """

    def __init__(self, log: MemoryLog, ledger: Ledger, cut: int) -> None:
        self.letters: Letters = {}
        self._log = log
        self._ledger = ledger
        self._cut = cut
        self._shards: dict[int, Shard] = {}

    def at(self, number: int, offset: int) -> Shard:
        """Return a partition's shard at an offset, its landmarks where a commit puts them."""
        entry = self._ledger.entry((EVENTS, number))
        shard = self._shards.get(number)
        if shard is None or shard.next_offset > offset:
            shard = self._shards[number] = Shard(entry.config)
        at = max(shard.next_offset, entry.begin or 0)
        while at < offset:
            records = self._log.poll(EVENTS, at, min(self._cut, offset - at), number)
            shard.fold(records)
            for letter in shard.joiner.dead:
                self.letters[number, letter.offset] = letter.reason
            shard.mark_committed()
            at = shard.next_offset
        shard.settle()
        return shard
