"""Making a consumer of kafka-python hand over whole record batches instead of single records.

The objects it makes of every record cost more than all that is done with them. What is fetched,
from where, sums, control batches and aborted transactions stay its own business: it goes over
batches as ever, but each seems to hold one record, whose value is the batch.

This leans on parts of kafka-python that are not its interface. So it is tried on made-up batches
first, beside what the library itself makes of them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.kernels.record_batch import ROWS, walk_records
from streams.log.base import Record
from streams.log.batches import RecordBatch

with warnings.catch_warnings():  # reading its protocol's schemas, it uses what Python deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.errors import CorruptRecordError
    from kafka.record.default_records import DefaultRecordBatchBuilder
    from kafka.record.memory_records import MemoryRecords
    from kafka.structs import TopicPartition

__all__ = ["gather", "take_whole_batches"]

logger = logging.getLogger(__name__)

GATHERED_BYTES = 1 << 20  # of records at a time: about what a core has of cache for itself
SMALLEST_RECORD = 7
APPEND_TIME = 1


def take_whole_batches(consumer: Any) -> bool:
    """Make a `KafkaConsumer` return one object for each batch from ``poll``; see `gather`.

    ``max_records`` and ``max_poll_records`` then count batches. Call it before anything is
    fetched. Returns whether the library is as it must be; if not, nothing is changed, and a
    warning says why.
    """
    try:
        fetcher = consumer._fetcher  # noqa: SLF001 - offered nowhere
        whole = _whole(fetcher.PartitionRecords)
        _try(fetcher.PartitionRecords, whole)
        fetcher.PartitionRecords = whole
    except Exception as error:  # whatever another release may do
        logger.warning(
            "kafka-python is not as known (%s: %s): records are read one by one, slower",
            type(error).__name__,
            error,
        )
        return False
    return True


def gather(polled: Sequence[Any]) -> list[RecordBatch]:
    """Records of one partition, as ``poll`` returned them, in batches of about a MiB.

    Takes what any consumer returns, be it single records.
    """
    gathered: list[RecordBatch] = []
    held: list[RecordBatch] = []
    size = 0
    for batch in _batches(polled):
        if held and size + len(batch.data) > GATHERED_BYTES:
            gathered.append(RecordBatch.join(held))
            held, size = [], 0
        if len(batch):
            held.append(batch)
            size += len(batch.data)
    return [*gathered, RecordBatch.join(held)] if held else gathered


def _batches(polled: Sequence[Any]) -> Iterator[RecordBatch]:
    single: list[Any] = []
    for one in polled:
        if not isinstance(one.value, RecordBatch):
            single.append(one)
            continue
        yield one.value
    if single:
        yield _lay(single)


def _lay(records: Sequence[Any]) -> RecordBatch:
    """Lay kafka-python's records one after the other."""
    return RecordBatch.of(
        [
            Record(
                record.offset,
                record.timestamp,
                record.key.decode(errors="replace") if record.key else "",
                record.value or b"",
            )
            for record in records
        ],
        append_stamped=all(record.timestamp_type == APPEND_TIME for record in records),
    )


class _WholeRecord:
    """A batch that passes for a record, at the offset of its last one."""

    key = None
    headers = ()
    checksum = None

    def __init__(self, batch: Any, records: RecordBatch, offset: int) -> None:
        self.value = records
        self.offset = offset
        self.size_in_bytes = batch.size_in_bytes
        self.timestamp = int(records.places[1, -1]) if len(records) else -1
        self.timestamp_type = batch.timestamp_type

    def validate_crc(self) -> bool:
        return True  # the batch was


class _WholeBatch:
    """A batch that seems to hold one record."""

    def __init__(self, batch: Any, fetch_offset: int) -> None:
        self._batch = batch
        self._fetch_offset = fetch_offset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:  # of control batches the marker itself is asked for
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        if self._batch.magic < 2:
            return iter(self._batch)  # of brokers before 0.11: one by one
        records = _walk(self._batch)
        if self._batch.base_offset < self._fetch_offset:
            records = records.since(self._fetch_offset)
        return iter([_WholeRecord(self._batch, records, self._batch.last_offset)])


class _WholeBatches:
    """Batches of one fetch, as the library's fetcher takes them one after the other."""

    def __init__(self, records: Any, fetch_offset: int) -> None:
        self._records = records
        self._fetch_offset = fetch_offset

    def next_batch(self) -> _WholeBatch | None:
        batch = self._records.next_batch()
        return None if batch is None else _WholeBatch(batch, self._fetch_offset)


def _whole(partition_records: Any) -> Any:
    """Make the class of what the fetcher reads batches from."""

    class WholePartitionRecords(partition_records):  # type: ignore[misc]
        def _unpack_records(self, tp: Any, records: Any, *_: Any) -> Any:
            batches = _WholeBatches(records, self.fetch_offset)
            return super()._unpack_records(tp, batches, None, None)

    return WholePartitionRecords


def _walk(batch: Any) -> RecordBatch:
    batch._maybe_uncompress()  # noqa: SLF001
    buffer, begin, count = batch._buffer, batch._pos, batch.records_count  # noqa: SLF001
    where = f"batch at offset {batch.base_offset}"
    if not 0 <= count <= (len(buffer) - begin) // SMALLEST_RECORD:
        raise CorruptRecordError(f"{where}: {count} records do not fit in {len(buffer)} bytes")
    stamped = batch.timestamp_type == APPEND_TIME
    data = np.frombuffer(buffer, dtype=np.uint8)
    places = np.empty((ROWS, count), dtype=np.int64)
    append_stamp = batch.max_timestamp if stamped else -1
    broken = walk_records(
        data, begin, batch.base_offset, batch.first_timestamp, append_stamp, places
    )
    if broken >= 0:
        raise CorruptRecordError(f"{where}: record {broken} is broken")
    return RecordBatch(data, places, append_stamped=stamped)


def _try(single: Any, whole: Any) -> None:
    """Read made-up batches both ways; raises when something differs."""
    built = bytearray()
    for base, codec in ((0, 0), (3, 1)):
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=codec,
            is_transactional=False,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=1 << 16,
        )
        for offset in range(3):
            builder.append(offset, 1000 + offset, b"key", b"value" * 50, [("header", b"")])
        batch = builder.build()
        batch[:8] = base.to_bytes(8, "big")
        built += batch
    given = (1, TopicPartition("topic", 0))
    expected = single(*given, MemoryRecords(bytes(built))).take()
    got = whole(*given, MemoryRecords(bytes(built)))
    taken = got.take()
    found = [record for one in taken for record in one.value]
    if found != list(_lay(expected)) or got.next_fetch_offset != 6 or len(taken) != 2:
        raise ValueError("batches and single records differ")
