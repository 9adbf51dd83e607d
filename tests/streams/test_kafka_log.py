"""The log on a real Kafka: what it promises as every log does, and what only Kafka can do to it."""

import random
import subprocess
import sys
import threading
import time
import uuid

import pytest

from streams.errors import LogError, LostRecordsError, UnfitTopicError
from streams.log.base import CATALOGUE, EVENTS, OUTCOMES, Place
from streams.log.batches import RecordBatch
from streams.log.kafka import KafkaLog, open_kafka
from streams.log.kafka.clients import make_admin, make_consumer, make_producer
from streams.log.kafka.library import KafkaNetClient, KafkaProducer, TopicPartition
from tests.servers.topics import administration
from tests.streams.kafka_cases import config_of, read, until

LIMIT = 1000


@pytest.fixture
def make_log(kafka):
    """Logs over topics of their own, made already; ``of`` shares another log's."""
    made = []

    def make(*, of: KafkaLog | None = None, create: bool = True, **settings) -> KafkaLog:
        plain = config_of(kafka, **settings)
        if of is not None:
            plain = config_of(kafka, **{**settings, "prefix": of.config.prefix})
        log = KafkaLog(plain)
        made.append(log)
        if create and of is None:
            log.create_topics()
        return log

    yield make
    for log in made:
        log.close()
        log.close()


def test_records_stand_where_their_places_say_stamped_by_the_append(make_log):
    log = make_log()
    before = time.time_ns() // 1_000_000
    entries = [(f"key-{number % 7}", b"%d" % number) for number in range(500)]
    places = log.append(EVENTS, entries)
    after = time.time_ns() // 1_000_000
    assert len({place.partition for place in places}) == 3
    found = {p: read(log, p) for p in range(3)}
    for (key, value), place in zip(entries, places, strict=True):
        record = found[place.partition][place.offset]
        assert (record.offset, record.key, record.value) == (place.offset, key, value)
    for partition, records in found.items():
        stamps = [record.stamp for record in records]
        assert before <= stamps[0] <= stamps[-1] <= after
        assert stamps == sorted(stamps)
        assert log.end(EVENTS, partition) == len(records)
        assert log.begin(EVENTS, partition) == 0


def test_keys_keep_their_order_and_go_where_kafkas_own_producers_put_them(make_log, kafka):
    log = make_log()
    for start in range(0, 300, 30):
        log.append(EVENTS, [(f"k{n % 5}", b"%d" % n) for n in range(start, start + 30)])
    producer = KafkaProducer(bootstrap_servers=kafka.split(","))
    try:
        theirs = [
            producer.send(log.config.name(EVENTS), key=b"k%d" % key, value=b"").get(10)
            for key in range(5)
        ]
    finally:
        producer.close()
    by_key: dict[str, list[int]] = {}
    where: dict[str, set[int]] = {}
    for partition in range(3):
        for record in read(log, partition):
            if record.value:
                by_key.setdefault(record.key, []).append(int(record.value))
                where.setdefault(record.key, set()).add(partition)
    assert by_key == {f"k{key}": list(range(key, 300, 5)) for key in range(5)}
    assert where == {f"k{key}": {done.partition} for key, done in enumerate(theirs)}


def test_a_partition_may_be_named_and_must_exist(make_log):
    log = make_log()
    assert log.append(EVENTS, [("a", b""), ("b", b"")], 2) == [Place(2, 0), Place(2, 1)]
    with pytest.raises(LogError, match="partition 3"):
        log.append(EVENTS, [("a", b"")], 3)
    for partition in (3, -1):
        with pytest.raises(LogError, match=f"partition is {partition}; .* has 3"):
            log.poll(EVENTS, 0, 1, partition)
    assert log.append(EVENTS, [("a", b"")], 2) == [Place(2, 2)]


def test_whole_batches_are_records_however_they_are_taken(make_log, monkeypatch):
    log = make_log(partitions=1)
    entries = [(f"käse-{n}", random.Random(n).randbytes(n % 700)) for n in range(2000)]
    log.append(EVENTS, entries)
    batch = log.poll(EVENTS, 0, 10)
    assert isinstance(batch, RecordBatch)
    assert len(batch) == 10
    monkeypatch.setattr("streams.log.kafka.source.take_whole_batches", lambda _: False)
    single = make_log(of=log)
    for limit in (1, 7, 999, 5000):
        count = 40 if limit == 1 else 2000
        whole = read(log, offset=2000 - count, limit=limit)
        assert whole == read(single, offset=2000 - count, limit=limit)
        assert [(record.key, record.value) for record in whole] == entries[2000 - count :]


def test_polls_go_back_and_forth(make_log):
    log = make_log(partitions=2)
    for _ in range(3):  # batches of several sizes
        log.append(EVENTS, [("", b"%d" % n) for n in range(400)], 0)
        log.append(EVENTS, [("", b"%d" % n) for n in range(10)], 1)
    draw = random.Random(3)
    for _ in range(60):
        partition, end = draw.choice([(0, 1200), (1, 30)])
        offset = draw.randrange(end + 1)
        found = log.poll(EVENTS, offset, draw.randrange(1, 50), partition)
        assert [r.offset for r in found] == list(range(offset, offset + len(found)))
        assert bool(found) == (offset < end)
    assert log.poll(EVENTS, 5, 0) == []


def test_many_partitions_and_topics_are_read_side_by_side(make_log):
    log = make_log(partitions=8)
    for topic in (EVENTS, OUTCOMES):
        for partition in range(8):
            log.append(topic, [(topic, b"%d" % n) for n in range(50 * partition)], partition)
    log.append(CATALOGUE, [("item", b"")])
    assert log.partitions(CATALOGUE) == 1
    for topic in (EVENTS, OUTCOMES):
        assert [len(read(log, p, topic=topic, limit=30)) for p in range(8)] == [
            50 * partition for partition in range(8)
        ]
    assert len(read(log, topic=CATALOGUE)) == 1


def test_threads_append_and_poll_at_once(make_log):
    log = make_log(partitions=2)
    taken: list[Place] = []
    failures: list[Exception] = []

    def append(number: int) -> None:
        try:
            for _ in range(20):
                taken.extend(log.append(EVENTS, [(str(number), b"%d" % number)] * 5))
        except LogError as error:
            failures.append(error)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found = [0, 0]
    while sum(found) < 400 and not failures:
        for partition in range(2):
            found[partition] += len(log.poll(EVENTS, found[partition], 100, partition))
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(taken) == [Place(p, n) for p in range(2) for n in range(found[p])]


def test_what_retention_passed_is_told_and_the_rest_is_read_on(make_log, kafka):
    log = make_log()
    for partition in range(2):
        log.append(EVENTS, [("", b"%d" % n) for n in range(100)], partition)
    assert len(log.poll(EVENTS, 0, 10, 0)) == 10
    with administration(kafka) as admin:
        admin.delete_records({TopicPartition(log.config.name(EVENTS), 0): 60})
    fresh = make_log(of=log)
    for _ in range(2):
        with pytest.raises(LostRecordsError, match=r"records 10 to 59 of .* retention"):
            fresh.poll(EVENTS, 10, 10, 0)
        assert len(read(fresh, 1)) == 100
    assert fresh.begin(EVENTS, 0) == 60
    assert [r.offset for r in read(fresh, 0, 60)] == list(range(60, 100))


def test_a_log_that_ends_before_what_was_read_is_told(make_log):
    log = make_log()
    log.append(EVENTS, [("", b"")] * 5, 0)
    assert log.poll(EVENTS, 5, 9) == []
    with pytest.raises(LostRecordsError, match="ends at 5, before 9"):
        log.poll(EVENTS, 9, 9)
    assert len(log.poll(EVENTS, 0, 9)) == 5


def test_stamps_of_producers_stop_the_reading_and_are_found_beforehand(make_log, kafka):
    log = make_log(create=False)
    configs = {"message.timestamp.type": "CreateTime"}
    with administration(kafka) as admin:
        admin.create_topics(
            {log.config.name(EVENTS): {"num_partitions": 1, "configs": configs}},
            wait_for_metadata=True,
        )
    log.append(EVENTS, [("", b"")])
    for _ in range(2):
        with pytest.raises(UnfitTopicError, match=r"message\.timestamp\.type=LogAppendTime"):
            log.poll(EVENTS, 0, 1)
    findings = log.check_topics(1000)
    assert [(f.level, f.code) for f in findings] == [
        ("error", "missing"),
        ("error", "stamps"),
        ("warning", "partitions"),
    ]
    assert log.create_topics() == [log.config.name(CATALOGUE), log.config.name(OUTCOMES)]


def test_a_topic_made_anew_has_another_id_and_is_not_read(make_log, kafka):
    log = make_log(partitions=1)
    log.append(EVENTS, [("", b"old")] * 20)
    assert len(log.poll(EVENTS, 0, 10)) == 10
    before = log.topic_id(EVENTS)
    assert uuid.UUID(before)
    assert log.topic_id(CATALOGUE) != before
    name = log.config.name(EVENTS)
    with administration(kafka) as admin:
        admin.delete_topics([name])
        until(lambda: name not in admin.list_topics())
    with pytest.raises(LogError, match="no topic"):
        log.topic_id(EVENTS)
    assert log.partitions(EVENTS) == 0
    log.create_topics()
    assert log.topic_id(EVENTS) != before
    writer = make_log(of=log)
    writer.append(EVENTS, [("", b"new")] * 30)

    def refused() -> bool:
        # The rest of what came from the old topic may still be handed out; nothing of the new is.
        try:
            assert {record.value for record in log.poll(EVENTS, 20, 10)} <= {b"old"}
        except UnfitTopicError as error:
            return before in str(error)
        except LogError:
            return False
        return False

    until(refused, "the new topic's refusal")


def test_missing_topics_are_told_and_not_made_by_accident(make_log):
    log = make_log(create=False)
    for ask in (
        lambda: log.poll(EVENTS, 0, 1),
        lambda: log.append(EVENTS, [("", b"")]),
        lambda: log.topic_id(EVENTS),
        lambda: log.end(EVENTS),
    ):
        with pytest.raises(LogError, match=r"no topic|not known"):
            ask()
    assert log.partitions(EVENTS) == 0
    assert log.describe() == []
    made = log.create_topics()
    assert len(made) == 3
    assert log.create_topics() == []
    assert log.append(EVENTS, [("", b"")], 0) == [Place(0, 0)]


@pytest.mark.parametrize("make_client", [make_admin, make_consumer, make_producer])
def test_no_client_asks_for_topics_to_be_made(kafka, make_client):
    clients = []

    class Client(KafkaNetClient):
        def __init__(self, **settings) -> None:
            super().__init__(**settings)
            clients.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.log.kafka.clients.KafkaNetClient", Client)
        made = make_client(config_of(kafka))
    try:
        assert clients[0].cluster.metadata_request().allow_auto_topic_creation is False
    finally:
        made.close()


def test_topics_are_made_once_however_many_want_them(make_log):
    log = make_log(create=False)
    others = [log, *(make_log(of=log) for _ in range(3))]
    threads = [threading.Thread(target=other.create_topics) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({other.topic_id(EVENTS) for other in others}) == 1


def test_what_is_described_and_found_wrong(make_log, kafka):
    log = make_log(partitions=4)
    facts = {fact.topic: fact for fact in log.describe()}
    assert {topic: fact.partitions for topic, fact in facts.items()} == {
        EVENTS: 4,
        CATALOGUE: 1,
        OUTCOMES: 4,
    }
    assert facts[EVENTS].identity == log.topic_id(EVENTS)
    assert facts[EVENTS].settings["message.timestamp.type"] == "LogAppendTime"
    assert facts[EVENTS].settings["cleanup.policy"] == "delete"
    assert log.brokers() == [f"1 {kafka}"]
    week = 7 * 86_400_000
    assert [f.code for f in log.check_topics(week - 1) if f.level == "error"] == []
    short = [f for f in log.check_topics(week) if f.level == "error"]
    assert [(f.topic, f.code) for f in short] == [
        (log.config.name(EVENTS), "retention"),
        (log.config.name(OUTCOMES), "retention"),
    ]
    assert "retention.ms" in str(short[0])
    other = make_log(of=log, partitions=5)
    assert "partitions" in [f.code for f in other.check_topics(1)]


def test_what_is_read_ahead_stays_within_its_bounds(make_log):
    log = make_log(partitions=4)
    for partition in range(4):
        for _ in range(5):
            log.append(EVENTS, [("", bytes(1000))] * 400, partition)
    bounded = make_log(of=log, partition_bytes=300_000, total_bytes=600_000)
    offsets = dict.fromkeys(range(4), 0)
    most = 0
    draw = random.Random(5)
    while offsets.keys():
        # Partition 3 is read first a little, then last.
        partition = draw.choice([p for p in offsets if p < 3] or [3])
        found = bounded.poll(EVENTS, offsets[partition], 50, partition)
        assert [r.offset for r in found] == [offsets[partition] + n for n in range(len(found))]
        offsets[partition] += len(found)
        most = max(most, bounded.buffered_bytes)
        if not found:
            assert offsets.pop(partition) == 2000
        if most and 3 in offsets and not offsets[3]:
            offsets[3] += len(bounded.poll(EVENTS, 0, 50, 3))
    assert 50_000 < most < 600_000 + 4 * 300_000


def test_a_partition_that_goes_silent_is_rescued(make_log, caplog):
    log = make_log(partitions=2, stall_ms=200, fetch_ms=3000)
    log.append(EVENTS, [("", b"%d" % n) for n in range(10)], 1)
    assert len(log.poll(EVENTS, 0, 10, 1)) == 10
    reader = log._readers[EVENTS]
    reader._source._consumer.pause(TopicPartition(log.config.name(EVENTS), 1))
    log.append(EVENTS, [("", b"late")], 1)
    assert [record.value for record in log.poll(EVENTS, 10, 10, 1)] == [b"late"]
    said = [record.message for record in caplog.records if "brought nothing" in record.message]
    assert len(said) == 2
    assert "sought anew" in said[0]
    assert "new consumer" in said[1]


def test_records_that_do_not_come_are_an_error_and_not_the_end(make_log):
    log = make_log(partitions=1, fetch_ms=200)
    log.append(EVENTS, [("", b"")] * 3)
    assert len(log.poll(EVENTS, 0, 2)) == 2
    assert len(log.poll(EVENTS, 2, 2)) == 1
    log._readers[EVENTS]._source._consumer.pause(TopicPartition(log.config.name(EVENTS), 0))
    log.append(EVENTS, [("", b"")])
    with pytest.raises(LogError, match="ends at 4, and nothing came from 3 on"):
        log.poll(EVENTS, 3, 2)


def test_what_transactions_gave_up_is_no_record_and_markers_are_none(make_log, kafka):
    log = make_log(partitions=1)
    producer = KafkaProducer(bootstrap_servers=kafka.split(","), transactional_id=log.config.prefix)
    try:
        producer.init_transactions()
        for value, finish in (
            (b"kept", producer.commit_transaction),
            (b"given up", producer.abort_transaction),
        ):
            producer.begin_transaction()
            producer.send(log.config.name(EVENTS), value).get(10)
            finish()
    finally:
        producer.close()
    assert [record.value for record in read(log)] == [b"kept"]
    after = read(log)[-1].offset + 1
    assert log.poll(EVENTS, after, 10) == []
    assert log.end(EVENTS) == after  # nothing is left to read: markers are no lag
    assert [place.offset for place in log.append(EVENTS, [("", b"next")])] == [4]
    assert [record.value for record in read(log, offset=after)] == [b"next"]


def test_too_large_a_record_is_refused_and_others_are_not(make_log):
    log = make_log(partitions=1)
    with pytest.raises(LogError, match=r"MessageSizeTooLarge.*0 of 1"):
        log.append(EVENTS, [("", bytes(2 << 20))])
    assert log.append(EVENTS, [("", b"small")]) == [Place(0, 0)]
    with pytest.raises(LogError, match="wait to be acknowledged"):
        make_log(of=log, producer_bytes=1000).append(EVENTS, [("", bytes(2000))])


def test_partitions_not_polled_are_let_go(make_log, monkeypatch):
    monkeypatch.setattr("streams.log.kafka.reader.FORGET_SECONDS", 0.1)
    log = make_log(partitions=3)
    for partition in range(3):
        log.append(EVENTS, [("", bytes(100))] * 10, partition)
        assert len(log.poll(EVENTS, 0, 5, partition)) == 5
    time.sleep(0.15)
    reader = log._readers[EVENTS]
    assert len(log.poll(EVENTS, 5, 5, 2)) == 5
    assert log.poll(EVENTS, 10, 5, 2) == []
    until(lambda: log.poll(EVENTS, 10, 5, 2) == [] and set(reader._slots) == {2})
    assert len(log.poll(EVENTS, 5, 9, 0)) == 5


def test_a_url_opens_the_log(make_log, kafka):
    log = make_log()
    log.append(EVENTS, [("k", b"v")], 0)
    again = open_kafka(f"kafka://{kafka}/{log.config.prefix}")
    assert [(record.key, record.value) for record in read(again)] == [("k", b"v")]
    again.close()


def test_encryption_where_there_is_none_is_told(kafka):
    # In a process of its own: kafka-python leaves sockets open when a handshake fails.
    program = f"""
from streams.log.kafka import open_kafka
try:
    open_kafka("kafka://{kafka}?security_protocol=SSL&connect_ms=800").end("events")
except Exception as error:
    print(type(error).__name__, error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert said.startswith(b"LogError")
    assert b"Handshake failed" in said
