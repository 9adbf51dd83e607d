"""Outcomes on their way: a shard of `EVENTS` writes what others learn before it commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from streams.events import Impression, decode_event
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.outcomes import (
    OutcomeRecord,
    Outgoing,
    SentOutcome,
    SentSlot,
    choose_owner,
    cut_outcomes,
    encode_outcomes,
    no_topic,
)
from streams.positions import Chain, Mark
from streams.shard import Shard

__all__ = ["Outbox"]


class Outbox:
    """Writes a source's outcomes to the partitions of `OUTCOMES` that learn them.

    Parameters
    ----------
    partition
        The source: a partition of `EVENTS`.
    point
        Called with ``sent`` after every record written.
    """

    def __init__(self, log: EventLog, partition: int, point: Callable[[str], None]) -> None:
        self._log = log
        self._partition = partition
        self._point = point
        self._owners = 0  # partitions of `OUTCOMES`, once they were asked for
        self._source = ""  # identity of `EVENTS`, likewise

    def send(self, shard: Shard, chain: Chain) -> dict[str, Mark]:
        """Write what the shard has outgoing; returns once the log has it all.

        After a crash the same is written again, perhaps cut otherwise: marks tell it. Where
        nothing is outgoing nothing is written, and the next record covers that interval too.

        Parameters
        ----------
        chain
            Up to where each partition of `OUTCOMES` was written to as of the last commit.

        Returns
        -------
        dict
            The same as of the next commit.

        Raises
        ------
        ConfigError
            When there is no topic to write to.
        LogError
            When the log cannot be written or read; sending again is harmless.
        """
        after = dict(chain)
        by_owner: dict[int, list[Outgoing]] = {}
        if shard.outgoing:
            self._look(shard.outgoing[0].policy)
        for outgoing in shard.outgoing:
            owner = choose_owner(outgoing.policy, self._owners)
            by_owner.setdefault(owner, []).append(outgoing)
        for owner, group in sorted(by_owner.items()):
            name, end = f"{OUTCOMES}-{owner}", (shard.next_offset, 0)
            self._write(owner, shard.shown, group, after.get(name, (0, 0)), end)
            after[name] = end
        return after

    def _look(self, policy: str) -> None:
        if not self._owners:
            self._source = self._log.topic_id(EVENTS)
            self._owners = self._log.partitions(OUTCOMES)
        if not self._owners:
            raise no_topic(policy)

    def _write(
        self, owner: int, shown: Mapping[int, bytes], group: list[Outgoing], begin: Mark, end: Mark
    ) -> None:
        made: Counter[int] = Counter()
        outcomes = []
        for outgoing in group:
            mark = (outgoing.offset, made[outgoing.offset])
            made[outgoing.offset] += 1
            outcomes.append(_complete(outgoing, mark, self._find(shown, outgoing.opened)))
        settings = {outgoing.policy: outgoing.settings for outgoing in group}
        for start, stop, part in cut_outcomes(outcomes, begin, end):
            record = OutcomeRecord(
                ts=self._log.now_ms(),
                log=self._source,
                source=self._partition,
                begin=start,
                end=stop,
                policies={each.policy: settings[each.policy] for each in part},
                outcomes=tuple(part),
            )
            entry = (f"{EVENTS}-{self._partition}", encode_outcomes(record))
            self._log.append(OUTCOMES, [entry], owner)
            self._point("sent")

    def _find(self, shown: Mapping[int, bytes], offset: int) -> Impression:
        value = shown.get(offset)
        if value is None:  # it opened before settings made its policy one that learns elsewhere
            value = self._log.poll(EVENTS, offset, 1, self._partition)[0].value
        impression = decode_event(value)
        assert isinstance(impression, Impression)  # noqa: S101
        return impression


def _complete(outgoing: Outgoing, mark: Mark, impression: Impression) -> SentOutcome:
    slate = []
    for slot, reward in zip(outgoing.slots, outgoing.rewards, strict=True):
        item = impression.slate[slot]
        slate.append(SentSlot(item.item_id, slot, reward, item.unbiased, item.features))
    return SentOutcome(
        policy=outgoing.policy,
        mark=mark,
        time_ms=outgoing.time_ms,
        slate=tuple(slate),
        context=impression.context,
        weight=impression.weight,
        last=outgoing.last,
    )
