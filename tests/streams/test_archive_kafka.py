"""A live topic of Kafka, exported and replayed, gives the live state bit for bit."""

import random

import pytest

from streams.errors import LogError, LostRecordsError
from streams.learner import Learner
from streams.log.archive import ArchiveLog
from streams.log.archiving import write_archive
from streams.log.base import CATALOGUE, EVENTS, TOPICS
from streams.log.kafka import KafkaLog
from streams.log.kafka.library import KafkaProducer, TopicPartition
from streams.log.opening import read_log_as_of_now
from streams.replay import replay_all
from streams.store import Store
from tests.servers.topics import administration
from tests.streams.cases import HOUR, settings
from tests.streams.hosting import Hosting, traffic
from tests.streams.kafka_cases import config_of
from tests.streams.test_archive import everything

CONFIG = settings(HOUR, window=0.2, spec="linear-ucb:half_life_seconds=20")


@pytest.fixture
def live(kafka):
    log = KafkaLog(config_of(kafka, partitions=4))
    log.create_topics()
    yield log
    log.close()


def url(log: KafkaLog) -> str:
    return f"kafka://{','.join(log.config.servers)}/{log.config.prefix}"


def test_a_live_topic_exported_and_replayed_gives_the_live_state(live, tmp_path):
    store, rng = Store(tmp_path / "state.db"), random.Random(6)
    path = tmp_path / "a.archive"
    live.append(CATALOGUE, [("i", b"{}")])
    with Hosting(live, store, CONFIG) as hosting:
        for start in range(0, 1000, 50):
            live.append(EVENTS, traffic(rng, start, 50))
        hosting.wait_committed()
        during = read_log_as_of_now(url(live))
        live.append(EVENTS, traffic(rng, 1000, 50))  # the service goes on
        write_archive(during, tmp_path / "during.archive")
        during.close()
        hosting.wait_committed()
    learned = committed(live, store)
    source = read_log_as_of_now(url(live))
    written = write_archive(source, path)
    source.close()
    archive = ArchiveLog(path)
    assert sum(part.records for part in written.parts if part.topic == EVENTS) > 2000
    for topic in TOPICS:
        assert archive.topic_id(topic) == live.topic_id(topic)
        for part in range(live.partitions(topic)):
            assert everything(archive, topic, part) == everything(live, topic, part, 1000)
    found, read = replay_all(archive), replay_all(live)
    assert found.states["main"].hash() == read.states["main"].hash()
    assert len(found.states["main"]) == 6
    for part in range(4):
        shard, (digest, counts, offset) = found.shards[EVENTS, part], learned[part]
        assert (shard.hash, shard.counts, shard.next_offset) == (digest, counts, offset)
        assert shard.hash == read.shards[EVENTS, part].hash
    earlier = ArchiveLog(tmp_path / "during.archive")
    for part in range(4):
        records = everything(earlier, EVENTS, part)
        assert records == everything(archive, EVENTS, part)[: len(records)]
    earlier.close()
    archive.close()
    store.close()


def committed(log: KafkaLog, store: Store) -> dict[int, tuple]:
    """What was committed of each shard: its hash, counts and offset."""
    found = {}
    for part in range(4):
        learner = Learner(log, store, CONFIG, partition=part)
        learner.recover()
        assert learner.next_offset == log.end(EVENTS, part)
        found[part] = (learner.hash(), learner.counts, learner.next_offset)
    return found


def test_what_retention_left_and_transactions_skipped(live, kafka, tmp_path):
    for part in range(4):
        live.append(EVENTS, [("", b"%d" % number) for number in range(100)], part)
    topic = live.config.name(EVENTS)
    with administration(kafka) as admin:
        admin.delete_records({TopicPartition(topic, 0): 60, TopicPartition(topic, 1): 100})
    producer = KafkaProducer(bootstrap_servers=kafka.split(","), transactional_id=topic)
    try:
        producer.init_transactions()
        for value in (b"one", b"two"):
            producer.begin_transaction()
            producer.send(topic, value, partition=2).get(10)
            producer.commit_transaction()
    finally:
        producer.close()
    write_archive(live, tmp_path / "a.archive")
    archive = ArchiveLog(tmp_path / "a.archive")
    offsets = [[r.offset for r in everything(archive, EVENTS, part)] for part in range(4)]
    assert offsets == [
        list(range(60, 100)),
        [],
        [*range(101), 102],  # behind either stands a marker
        list(range(100)),
    ]
    bounds = [(archive.begin(EVENTS, p), archive.end(EVENTS, p)) for p in range(4)]
    assert bounds == [(60, 100), (100, 100), (0, 103), (0, 100)]
    with pytest.raises(LostRecordsError):
        archive.poll(EVENTS, 0, 1, 0)
    archive.close()


def test_a_prefix_without_topics_is_told(kafka):
    with pytest.raises(LogError, match=r"kafka://.*/nobody\. has no topic events"):
        read_log_as_of_now(f"kafka://{kafka}/nobody.?request_ms=3000")
