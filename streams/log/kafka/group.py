"""Membership of a Kafka consumer group: it shares out partitions and fetches nothing.

kafka-python joins inside its consumer's poll, and begins anew when the poll's time was over before
the join was: a member that polls in short steps never gets in. So a thread of ours waits for the
group, and the owner's poll only takes what came of it. The thread goes one step for each poll of
the owner, so that an owner that hangs falls out of the group; and no step while the owner has
changes to take, so that what was revoked is released before others get it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from streams.errors import LogError
from streams.log.kafka.assignor import FairAssignor
from streams.log.kafka.clients import cannot, make_admin, make_consumer
from streams.log.kafka.config import KafkaConfig
from streams.log.kafka.library import (
    FencedInstanceIdError,
    MemberToRemove,
    OffsetAndMetadata,
    TopicPartition,
)
from streams.log.kafka.news import News
from streams.membership import Change, Release, Shards

__all__ = ["KafkaMembership"]

logger = logging.getLogger(__name__)

STEP_MS = 250  # a close waits for a step under way
REST_SECONDS = 0.02  # between two steps
CLOSE_MS = 2_000
STABLE = "<stable>"

Shard = tuple[str, int]


class KafkaMembership:
    """A member of the group, by the cooperative protocol: what stays is never interrupted.

    Parameters
    ----------
    config
        Brokers, group, and how this member is known.
    topics
        Topics whose partitions are shared; they must exist.

    Attributes
    ----------
    rebalances
        Generations of the group that this member has been part of.
    trouble
        What keeps it from the group just now, "" when all is well.
    """

    def __init__(self, config: KafkaConfig, topics: Iterable[str]) -> None:
        self._config = config
        self._topics = {config.name(topic): topic for topic in topics}
        self.rebalances = 0
        self.trouble = ""
        self._turn = threading.Condition()
        self._granted = False
        self._fenced = False
        self._closed = False
        self._assignor = FairAssignor(self._before_join)
        self._news = News(self._turn, self._assignor)
        self._consumer: Any = None
        self._generation = -1
        self._owned: set[Shard] = set()
        self._offsets: dict[Shard, int] = {}
        self._thread = threading.Thread(target=self._run, name="kafka-membership", daemon=True)

    @property
    def owned(self) -> frozenset[Shard]:
        """Partitions owned now."""
        return frozenset(self._owned)

    def poll(self, release: Release) -> Change:
        """What changed. A broker that does not answer changes nothing.

        ``release`` is called, in this thread, with partitions that go to another member, which
        gets them after it has returned.

        Raises
        ------
        LogError
            When another process has joined under the same ``instance_id``, from the poll after
            the one that told of the loss; after the close.
        """
        if self._closed:
            raise LogError("the membership is closed; join with another")
        with self._turn:
            self._granted = False
            assigned, revoked, lost = map(self._ours, self._news.take())
            fenced = self._fenced
        if fenced:
            return self._shut_out()
        self._count()
        if assigned or revoked or lost:
            self._change(assigned, revoked, lost, release)
        with self._turn:
            self._granted = True
            self._turn.notify_all()
        if self._thread.ident is None:
            self._thread.start()
        return Change(assigned=assigned, lost=lost)

    def commit(self, offsets: Mapping[Shard, int]) -> None:
        """Tell tools that measure lag what was committed, in the background."""
        self._offsets.update(offsets)
        if self._consumer is None or self._closed or not offsets:
            return
        try:
            self._consumer.commit_async(self._foreign(offsets), callback=_log_commit)
        except Exception as error:
            logger.info("group offsets were not committed: %s: %s", type(error).__name__, error)

    def close(self) -> None:
        """Leave the group; a member with a name only when it is set to."""
        if self._closed:
            return
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self._thread.ident is not None:
            self._thread.join(STEP_MS / 1000 + 1.0)
        owned, self._owned = self._owned, set()
        self._leave(owned)

    # ---- the owner's side --------------------------------------------------------------------

    def _change(self, assigned: Shards, revoked: Shards, lost: Shards, release: Release) -> None:
        logger.info(
            "group %s: assigned %s, revoked %s, lost %s",
            self._config.group,
            assigned,
            revoked,
            lost,
        )
        self._owned -= {*lost, *revoked}
        if revoked:
            release(revoked)
        for gone in (*lost, *revoked):
            self._offsets.pop(gone, None)
        self._owned |= set(assigned)

    def _count(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            generation = consumer.group_metadata().generation_id
            if generation >= 0 and generation != self._generation:
                self._generation = generation
                self.rebalances += 1

    def _shut_out(self) -> Change:
        name, group = self._config.instance_id, self._config.group
        lost, self._owned = tuple(sorted(self._owned)), set()
        self._offsets.clear()
        if not lost:
            raise LogError(
                f"another process has joined group {group!r} as {name!r}; "
                "give each process its own instance_id"
            )
        logger.error("another process has joined group %s as %s: all is lost here", group, name)
        return Change(lost=lost)

    def _ours(self, keys: Iterable[Any]) -> Shards:
        return tuple(sorted((self._topics[key.topic], key.partition) for key in keys))

    def _foreign(self, offsets: Mapping[Shard, int]) -> dict[Any, Any]:
        return {
            TopicPartition(self._config.name(topic), partition): OffsetAndMetadata(offset)
            for (topic, partition), offset in offsets.items()
        }

    # ---- the thread's side -------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_turn():
            try:
                self._step()
            except FencedInstanceIdError:
                self._fenced = True
            except Exception as error:
                self._tell(str(cannot("join", error)))
            else:
                self._tell("")

    def _wait_for_turn(self) -> bool:
        with self._turn:
            self._turn.wait_for(lambda: self._closed, timeout=REST_SECONDS)
            self._turn.wait_for(
                lambda: (
                    self._closed or (self._granted and not self._news.waiting and not self._fenced)
                )
            )
            self._granted = False
            self._news.told = False
            return not self._closed

    def _step(self) -> None:
        if self._consumer is None:
            consumer = self._join()
            if self._closed:
                consumer.close(autocommit=False, timeout_ms=0)
                return
            self._consumer = consumer
        inner = self._consumer._coordinator  # noqa: SLF001 - the consumer's poll would fetch too
        while not self._closed and not self._news.told:
            inner.poll(timeout_ms=STEP_MS)
            if inner.coordinator_unknown():
                self._tell("no broker answers for the group")
            elif not inner.need_rejoin():
                break
        # kafka-python stops the heartbeats of a fenced member and tells nobody.
        beats = getattr(inner, "_heartbeat_enabled", True)
        stable = self._consumer.group_metadata().state == STABLE
        if stable and not beats and not inner.need_rejoin():
            self._fenced = self._config.instance_id is not None

    def _join(self) -> Any:
        config = self._config
        consumer = make_consumer(
            config,
            group_id=config.group,
            group_instance_id=config.instance_id,
            session_timeout_ms=config.session_ms,
            heartbeat_interval_ms=config.heartbeat_ms,
            max_poll_interval_ms=config.poll_interval_ms,
            partition_assignment_strategy=[self._assignor],
        )
        consumer.subscribe(topics=list(self._topics), listener=self._news)
        # A leader that does not know the partitions yet would hand out none.
        for name in self._topics:
            if not consumer.partitions_for_topic(name):
                consumer.close(autocommit=False, timeout_ms=0)
                raise LogError(f"Kafka has no topic {name}; create the topics first")
        return consumer

    def _before_join(self) -> None:
        # When the group forgot this member while it was joining, kafka-python goes on as the owner
        # of all it had, and tells nobody that others have owned it since.
        consumer = self._consumer
        if consumer is None or consumer.group_metadata().generation_id >= 0:
            return
        held = consumer.assignment()
        if held:
            consumer._subscription.assign_from_subscribed([])  # noqa: SLF001 - as it does itself
            self._news.on_partitions_lost(held)

    def _tell(self, trouble: str) -> None:
        if trouble and not self.trouble:
            logger.warning("group %s: %s", self._config.group, trouble)
        if self.trouble and not trouble:
            logger.warning("group %s is reached again", self._config.group)
        self.trouble = trouble

    # ---- leaving -----------------------------------------------------------------------------

    def _leave(self, owned: Iterable[Shard]) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        known = {one: self._offsets[one] for one in owned if one in self._offsets}
        if known and not self._fenced:
            with suppress(Exception):
                consumer.commit(self._foreign(known), timeout_ms=CLOSE_MS)
        with suppress(Exception):
            consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        if self._config.instance_id and self._config.leave_on_close and not self._fenced:
            self._give_up_name()

    def _give_up_name(self) -> None:
        # kafka-python never lets a named member leave.
        try:
            admin = make_admin(self._config)
            try:
                admin.remove_group_members(
                    self._config.group,
                    [MemberToRemove(group_instance_id=self._config.instance_id)],
                )
            finally:
                admin.close()
        except Exception as error:
            logger.warning("cannot leave group %s: %s", self._config.group, error)


def _log_commit(_: Any, outcome: Any) -> None:
    if isinstance(outcome, Exception):
        logger.info("group offsets were not committed: %s", outcome)
