"""Whole record batches: the bytes as they came, with where each record lies in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from engine.kernels.record_batch import ROWS
from engine.kernels.tokens import PADDING
from streams.columns import RecordSpans
from streams.log.base import Record

__all__ = ["RecordBatch"]

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


class RecordBatch(Sequence[Record]):
    """Records of one partition, in order, made one by one only when asked for.

    Parameters
    ----------
    data
        Bytes that hold keys and values.
    places
        ``(6, n)`` int64: offset, stamp (ms), value start and length, key start and length.
    append_stamped
        Whether the log stamped every record when it was appended; otherwise their producers did.
    """

    __slots__ = ("append_stamped", "data", "places")

    def __init__(self, data: Bytes, places: Ints, *, append_stamped: bool) -> None:
        self.data = data
        self.places = places
        self.append_stamped = append_stamped

    @classmethod
    def of(cls, records: Sequence[Record], *, append_stamped: bool) -> RecordBatch:
        """Lay records one after the other."""
        keys = [record.key.encode() for record in records]
        values = [record.value for record in records]
        parts = [part for pair in zip(keys, values, strict=True) for part in pair]
        length = np.array([len(part) for part in parts], dtype=np.int64)
        start = np.cumsum(length) - length
        places = np.empty((ROWS, len(records)), dtype=np.int64)
        places[0] = [record.offset for record in records]
        places[1] = [record.stamp for record in records]
        places[2], places[3] = start[1::2], length[1::2]
        places[4], places[5] = start[::2], length[::2]
        data = np.frombuffer(bytearray().join([*parts, bytes(PADDING)]), dtype=np.uint8)
        return cls(data, places, append_stamped=append_stamped)

    @classmethod
    def join(cls, batches: Sequence[RecordBatch]) -> RecordBatch:
        """Lay batches one after the other, with what the scanner wants at the end."""
        padding = np.zeros(PADDING, dtype=np.uint8)
        data = np.concatenate([*(batch.data for batch in batches), padding])
        sizes = [len(batch.data) for batch in batches]
        counts = [len(batch) for batch in batches]
        places = np.concatenate([batch.places for batch in batches], axis=1)
        shift = np.repeat(np.cumsum(sizes) - sizes, counts)
        places[2] += shift
        places[4] += shift
        stamped = all(batch.append_stamped for batch in batches)
        return cls(data, places, append_stamped=stamped)

    @property
    def spans(self) -> RecordSpans:
        """The values, for `streams.scan.decode_columns`."""
        offset, stamp, start, length = self.places[:4]
        return RecordSpans(self.data, offset, stamp, start, length)

    def since(self, offset: int) -> RecordBatch:
        """Records from an offset on."""
        first = int(np.searchsorted(self.places[0], offset))
        return self[first:] if first else self

    def __len__(self) -> int:
        return len(self.places[0])

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordBatch: ...
    def __getitem__(self, index: int | slice) -> Record | RecordBatch:
        if isinstance(index, slice):
            places = self.places[:, index]
            if index.step not in {None, 1}:
                places = np.ascontiguousarray(places)
            return RecordBatch(self.data, places, append_stamped=self.append_stamped)
        return self._record(self.places[:, index].tolist())

    def __iter__(self) -> Iterator[Record]:
        return map(self._record, self.places.T.tolist())

    def _record(self, place: Sequence[int]) -> Record:
        offset, stamp, start, length, key, key_length = place
        value = self.data[start : start + length].tobytes()
        name = self.data[key : key + key_length].tobytes()
        return Record(offset, stamp, name.decode(errors="replace"), value)
