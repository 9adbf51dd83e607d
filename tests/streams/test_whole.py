"""Whole batches of Kafka hold what the library's own single records hold, and fail as they do."""

import random
import struct
import uuid

import numpy as np
import pytest

from streams.events import Tick, encode_event
from streams.log import whole as module
from streams.log.base import Record
from streams.log.batches import RecordBatch
from streams.log.kafka.library import KafkaConsumer, KafkaProducer, TopicPartition
from streams.log.whole import gather, take_whole_batches
from streams.scan import decode_columns
from tests.streams.test_scan import PLAN

from kafka.consumer.fetcher import Fetcher  # isort: skip
from kafka.errors import CorruptRecordError  # isort: skip
from kafka.protocol.consumer import IsolationLevel  # isort: skip
from kafka.record.default_records import DefaultRecordBatchBuilder  # isort: skip
from kafka.record.legacy_records import LegacyRecordBatchBuilder  # isort: skip
from kafka.record.memory_records import MemoryRecords  # isort: skip
from kafka.record.util import calc_crc32c  # isort: skip

SINGLE = Fetcher.PartitionRecords
WHOLE = module._whole(SINGLE)
ATTRIBUTES, CRC = 21, 17  # places in a batch's header
APPEND_TIME, TRANSACTIONAL, CONTROL = 8, 16, 32
TP = TopicPartition("events", 0)
START = 1_700_000_000_000


class Aborted:
    def __init__(self, producer_id, first_offset):
        self.producer_id, self.first_offset = producer_id, first_offset


def seal(batch, attributes=0, max_stamp=None):
    """Set attributes that only a broker sets, and the sum anew."""
    flags = struct.unpack_from(">h", batch, ATTRIBUTES)[0]
    struct.pack_into(">h", batch, ATTRIBUTES, flags | attributes)
    if max_stamp is not None:
        struct.pack_into(">q", batch, ATTRIBUTES + 14, max_stamp)
    struct.pack_into(">I", batch, CRC, calc_crc32c(memoryview(batch)[ATTRIBUTES:]))
    return batch


def batch(base, records, codec=0, producer=-1, attributes=0, max_stamp=None):
    """A batch of ``(offset, stamp, key, value, headers)``, as it lies in a partition."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=bool(attributes & TRANSACTIONAL),
        producer_id=producer,
        producer_epoch=producer,
        base_sequence=producer,
        batch_size=1 << 24,
    )
    for offset, *rest in records:
        builder.append(offset - base, *rest)
    built = bytearray(builder.build())
    built[:8] = base.to_bytes(8, "big")
    return seal(built, attributes, max_stamp)


def marker(base, producer, *, abort):
    key = struct.pack(">hh", 0, 0 if abort else 1)
    flags = TRANSACTIONAL | CONTROL
    return batch(base, [(base, START, key, b"", [])], producer=producer, attributes=flags)


def records(rng, base, n, step=1):
    texts = (None, b"", b"a", "é".encode(), rng.randbytes(300))
    return [
        (
            base + i * step,
            START + rng.randrange(1000),
            rng.choice(texts),
            rng.choice(texts),
            [("header", rng.choice(texts))] * rng.choice([0, 0, 2]),
        )
        for i in range(n)
    ]


def read(kind, raw, fetch_offset=0, take=None, **options):
    """Take all records; returns them, where the next fetch begins, and the error that ended it."""
    reader, taken = kind(fetch_offset, TP, MemoryRecords(bytes(raw)), **options), []
    while reader:
        try:
            found = reader.take(take)
        except CorruptRecordError:
            return taken, reader.next_fetch_offset, "corrupt"
        if not found:
            break
        taken += found
    return taken, reader.next_fetch_offset, None


def check(raw, fetch_offset=0, **options):
    """Both ways must give the same; returns the records."""
    single, end, error = read(SINGLE, raw, fetch_offset, **options)
    taken, whole_end, whole_error = read(WHOLE, raw, fetch_offset, take=1, **options)
    expected = [record for found in gather(single) for record in found]
    held = [record for found in gather(taken) for record in found]
    assert held == expected
    assert (whole_end, whole_error) == (end, error)
    stamped = [found.append_stamped for found in gather(taken)]
    assert all(stamped) == all(one.timestamp_type == 1 for one in single)
    return held


@pytest.mark.parametrize("codec", [0, 1, 3, 4])
def test_batches_of_every_codec(codec):
    rng = random.Random(codec)
    raw = b"".join(batch(base, records(rng, base, 50), codec) for base in range(0, 500, 50))
    assert [record.offset for record in check(raw)] == list(range(500))


def test_the_log_stamps_all_records_of_a_batch_alike():
    rng = random.Random(1)
    raw = batch(0, records(rng, 0, 5), 3, attributes=APPEND_TIME, max_stamp=START + 5000)
    assert {record.stamp for record in check(raw)} == {START + 5000}
    (found,) = gather(read(WHOLE, raw)[0])
    assert found.append_stamped
    mixed = raw + batch(5, records(rng, 5, 5))
    check(mixed)
    (found,) = gather(read(WHOLE, mixed)[0])
    assert not found.append_stamped


def test_a_fetch_may_begin_and_end_anywhere():
    rng = random.Random(2)
    raw = b"".join(batch(base, records(rng, base, 10), 3) for base in (0, 10, 20))
    for offset in (0, 1, 9, 10, 15, 29):
        assert [record.offset for record in check(raw, offset)] == list(range(offset, 30))
    for size in (0, 5, 60, 61, len(raw) // 2, len(raw) - 1):
        check(raw[:size])


def test_what_compaction_leaves():
    rng = random.Random(3)
    gaps = batch(0, records(rng, 0, 5, step=3)) + batch(100, records(rng, 100, 3, step=7))
    assert [record.offset for record in check(gaps)] == [0, 3, 6, 9, 12, 100, 107, 114]
    check(gaps, 4)
    hollow = bytearray(batch(0, records(rng, 0, 3)))
    struct.pack_into(">i", hollow, 23, 99)  # its last record, number 99, is gone
    struct.pack_into(">i", hollow, 57, 3)
    hollow = seal(hollow)
    assert read(WHOLE, hollow)[1] == 100
    check(hollow)
    check(bytes(hollow), 50)


@pytest.mark.parametrize("level", list(IsolationLevel))
def test_transactions_are_the_librarys_own_business(level):
    rng = random.Random(4)
    parts = [
        batch(0, records(rng, 0, 3), producer=7, attributes=TRANSACTIONAL),
        batch(3, records(rng, 3, 3), producer=8, attributes=TRANSACTIONAL),
        marker(6, 7, abort=True),
        batch(7, records(rng, 7, 2), producer=7, attributes=TRANSACTIONAL),
        marker(9, 8, abort=False),
        marker(10, 7, abort=False),
    ]
    held = check(b"".join(parts), isolation_level=level, aborted_transactions=[Aborted(7, 0)])
    first = 3 if level == IsolationLevel.READ_COMMITTED else 0
    assert [record.offset for record in held] == [*range(first, 6), 7, 8]


def test_batches_of_old_brokers():
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1 << 20)
    for offset in range(5):
        builder.append(offset, START + offset, b"key", b"value")
    assert len(check(bytes(builder.build()))) == 5


def test_broken_batches_end_the_reading_as_in_the_library():
    rng = random.Random(5)
    good = batch(0, records(rng, 0, 5))
    flipped = bytearray(batch(5, records(rng, 5, 5)))
    flipped[70] ^= 1
    assert len(check(good + flipped + batch(10, records(rng, 10, 5)))) == 5
    counted = bytearray(batch(5, records(rng, 5, 5)))
    for count in (4, 6, 2**31 - 1, -1):
        struct.pack_into(">i", counted, 57, count)
        assert read(WHOLE, good + seal(counted))[2] == "corrupt"
        held = [record for found in gather(read(WHOLE, good + counted)[0]) for record in found]
        assert len(held) == 5


def test_many_batches_are_gathered_to_few():
    rng = random.Random(6)
    raw = b"".join(batch(base, records(rng, base, 100), 3) for base in range(0, 30_000, 100))
    taken = read(WHOLE, raw)[0]
    assert len(taken) == 300
    gathered = gather(taken)
    assert len(gathered) == -(-sum(len(one.value.data) for one in taken) // module.GATHERED_BYTES)
    assert sum(map(len, gathered)) == 30_000
    assert gather([]) == []


def test_a_batch_is_a_sequence_of_records():
    plain = [Record(3 * i, START + i, f"k{i}", b"v" * i) for i in range(20)]
    made = RecordBatch.of(plain, append_stamped=True)
    assert list(made) == plain
    assert made[3] == plain[3]
    assert made[-1] == plain[-1]
    assert list(made[4:9]) == plain[4:9]
    assert list(made[::3]) == plain[::3]
    assert list(made.since(7)) == plain[3:]
    assert made[5:].spans.value(0) == plain[5].value
    with pytest.raises(IndexError):
        made[20]
    assert len(RecordBatch.of([], append_stamped=True)) == 0


def test_columns_come_of_a_batch_as_it_is():
    ticks = [(i, START, b"key", encode_event(Tick(ts=i)), []) for i in range(10)]
    (found,) = gather(read(WHOLE, batch(0, ticks, 3))[0])
    columns = decode_columns(PLAN, found.spans)
    assert columns.unsure == 0
    assert np.shares_memory(columns.data, found.data)  # no copy to pad it
    assert columns.offset.tolist() == list(range(10))


class Odd:
    """A consumer of another release."""

    class _Fetcher:
        class PartitionRecords:
            pass

    def __init__(self):
        self._fetcher = self._Fetcher()


def test_another_library_is_left_as_it_is(caplog):
    for odd in (object(), Odd()):
        assert take_whole_batches(odd) is False
    assert odd._fetcher.PartitionRecords is Odd._Fetcher.PartitionRecords
    assert "one by one" in caplog.text


def test_a_consumer_of_a_real_broker(kafka):
    topic = f"whole-{uuid.uuid4().hex[:8]}"
    rng = random.Random(7)
    producer = KafkaProducer(bootstrap_servers=kafka, compression_type="lz4", linger_ms=20)
    sent = [(b"key%d" % i, rng.randbytes(rng.randint(0, 400))) for i in range(3000)]
    make_topic(kafka, topic)
    for key, value in sent:
        producer.send(topic, value, key, headers=[("h", b"x")])
    producer.close(timeout=30)
    held = {}
    for whole in (True, False):
        consumer = KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="none")
        assert not whole or take_whole_batches(consumer)
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 17)
        held[whole] = poll_all(consumer, len(sent) - 17)
        assert consumer.position(TopicPartition(topic, 0)) == len(sent)
        consumer.close()
    assert held[True] == held[False]
    assert [(r.key.encode(), r.value) for r in held[True]] == sent[17:]


def make_topic(bootstrap, topic):
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    admin.close()


def poll_all(consumer, n):
    records = []
    for _ in range(200):
        for polled in consumer.poll(timeout_ms=500).values():
            records += [record for found in gather(polled) for record in found]
        if len(records) >= n:
            break
    return records
