"""Members of a real consumer group: who owns what, and how it changes hands."""

import threading
import time

import pytest

from streams.errors import LogError
from streams.log.base import EVENTS, OUTCOMES
from streams.log.kafka import KafkaConfig, KafkaLog, KafkaMembership
from streams.log.kafka.library import TopicPartition
from streams.membership import Change
from tests.servers.topics import administration
from tests.streams.kafka_cases import config_of, until

PARTITIONS = 6
ALL = {(EVENTS, partition) for partition in range(PARTITIONS)}


class Owner:
    """A process's view of its membership: what it holds, what it was told, in which thread."""

    def __init__(self, config: KafkaConfig, topics=(EVENTS,)) -> None:
        self.member = KafkaMembership(config, topics)
        self.held: set = set()
        self.released: list = []
        self.lost: list = []
        self.threads: set = set()
        self.others: list[Owner] = []

    def poll(self) -> Change:
        change = self.member.poll(self.release)
        self.held -= set(change.lost)
        self.lost += change.lost
        assert not self.held & set(change.assigned)
        for other in self.others:
            assert not other.held & set(change.assigned)  # nobody else holds it still
        self.held |= set(change.assigned)
        assert self.held == self.member.owned
        return change

    def release(self, shards) -> None:
        self.threads.add(threading.get_ident())
        assert set(shards) <= self.held
        self.released += shards
        self.held -= set(shards)


@pytest.fixture
def make_owner(kafka):
    made: list[Owner] = []
    shared: list[KafkaConfig] = []

    def make(topics=(EVENTS,), **settings) -> Owner:
        settings = {"partitions": PARTITIONS, **settings}
        if shared:
            settings |= {"prefix": shared[0].prefix, "group_id": shared[0].group_id}
        config = config_of(kafka, **settings)
        if not shared:
            log = KafkaLog(config)
            log.create_topics()
            log.close()
            shared.append(config)
        owner = Owner(config, topics)
        owner.others = [other for other in made if not other.member._closed]
        for other in owner.others:
            other.others.append(owner)
        made.append(owner)
        return owner

    yield make
    for owner in made:
        owner.member.close()
        owner.member.close()


def share(*owners: Owner, what=None) -> None:
    """Poll all until each holds its part and together they hold everything."""

    def shared() -> bool:
        for owner in owners:
            owner.poll()
        sizes = {len(owner.held) for owner in owners}
        held = set().union(*(owner.held for owner in owners))
        return held == (what or ALL) and max(sizes) - min(sizes) <= 1

    until(shared, "a fair share")


def settled(*owners: Owner) -> bool:
    """Poll all; whether they are of one generation, and it stands."""
    for owner in owners:
        owner.poll()
    found = {owner.member._consumer.group_metadata()[1::3] for owner in owners}
    return len(found) == 1 and found.pop()[1] == "<stable>"


def test_a_member_alone_owns_all(make_owner):
    owner = make_owner()
    assert owner.poll() == Change()
    share(owner)
    until(lambda: owner.member.rebalances == 1, "the count")
    assert owner.member.trouble == ""


def test_members_share_and_hand_over_what_moves_only(make_owner):
    first = make_owner()
    share(first)
    second = make_owner()
    share(first, second)
    assert len(first.released) == 3  # the rest was never interrupted
    assert set(first.released) == second.held
    assert first.lost == second.lost == []
    assert first.threads == {threading.get_ident()}
    first.member.close()
    first.held.clear()
    share(second)
    assert len(second.released) == 0
    with pytest.raises(LogError, match="closed"):
        first.poll()


def test_nothing_moves_before_the_owner_took_its_leave(make_owner):
    first, second = make_owner(), make_owner()
    share(first)
    seen: list[int] = []

    def release(shards) -> None:
        for _ in range(50):
            second.poll()
            time.sleep(0.005)
        seen.append(len(second.held))
        first.held -= set(shards)

    first.release = release
    share(first, second)
    assert seen == [0]


def test_every_topic_is_shared(make_owner):
    topics = (EVENTS, OUTCOMES)
    first, second = make_owner(topics), make_owner(topics)
    everything = {(topic, partition) for topic in topics for partition in range(PARTITIONS)}
    share(first, second, what=everything)
    for owner in (first, second):  # each its part of the work, not one topic each
        assert sorted(topic for topic, _ in owner.held) == [EVENTS] * 3 + [OUTCOMES] * 3


def test_a_named_member_returns_to_its_partitions_without_a_rebalance(make_owner):
    first, second = make_owner(instance_id="one"), make_owner(instance_id="two")
    share(first, second)
    until(lambda: settled(first, second), "peace")
    held, rebalances, released = set(first.held), second.member.rebalances, len(second.released)
    first.member.close()
    first.held.clear()
    again = make_owner(instance_id="one")
    share(again, second)
    assert again.held == held
    assert len(second.released) == released
    assert second.member.rebalances == rebalances


def test_a_named_member_may_leave_for_good(make_owner):
    settings = {"session_ms": 60_000, "leave_on_close": True}  # nobody waits for so long
    first = make_owner(instance_id="one", **settings)
    second = make_owner(instance_id="two", **settings)
    share(first, second)
    first.member.close()
    first.held.clear()
    share(second)


def test_who_takes_anothers_name_shuts_it_out(make_owner):
    first = make_owner(instance_id="one")
    share(first)
    second = make_owner(instance_id="one")
    second.others.clear()
    first.others.clear()

    def shut_out() -> bool:
        second.poll()
        return bool(first.poll().lost)

    until(shut_out, "the loss")
    assert set(first.lost) == ALL
    with pytest.raises(LogError, match="'one'; give each process its own"):
        first.poll()
    share(second)


def test_an_owner_that_hangs_loses_its_partitions(make_owner):
    settings = {"session_ms": 1000, "poll_interval_ms": 1000}
    first, second = make_owner(**settings), make_owner(**settings)
    share(first)
    first.others.clear()
    second.others.clear()
    share(second)  # while the first does not poll
    until(lambda: first.poll().lost, "the loss")
    assert set(first.lost) == ALL
    second.others.append(first)
    first.others.append(second)
    share(first, second)
    assert first.released == []


def test_what_was_committed_is_told_to_the_group(make_owner, kafka):
    owner = make_owner()
    owner.member.commit({(EVENTS, 0): 3})  # not joined yet: no harm
    share(owner)
    owner.member.commit({(EVENTS, 1): 5})
    owner.member.commit({(EVENTS, 1): 7, (EVENTS, 2): 9})
    name = owner.member._config.name(EVENTS)
    group = owner.member._config.group_id

    def told(expected: dict) -> bool:
        with administration(kafka) as admin:
            found = admin.list_group_offsets([group])[group]
        return {key.partition: value.offset for key, value in found.items()} == expected

    until(lambda: told({1: 7, 2: 9}), "the commit")
    owner.member._offsets[EVENTS, 1] = 8
    owner.member.close()
    assert told({0: 3, 1: 8, 2: 9})
    assert TopicPartition(name, 1).topic == name


def test_without_its_topics_nobody_joins(kafka):
    owner = Owner(config_of(kafka))
    until(lambda: owner.poll() == Change() and owner.member.trouble, "the trouble")
    assert "no topic" in owner.member.trouble
    log = KafkaLog(owner.member._config)
    log.create_topics()
    log.close()
    share(owner, what={(EVENTS, partition) for partition in range(3)})
    until(lambda: owner.member.trouble == "", "the end of the trouble")
    owner.member.close()
