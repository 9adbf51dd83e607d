"""What is searched, what may be returned, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ConfigError, ShapeError

__all__ = ["NO_ROWS", "Exclusions", "Filters", "Found", "Records", "as_queries", "filters_of"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

NO_ROWS: Ints = np.empty(0, dtype=np.int64)
ALL: Bytes = np.empty(0, dtype=np.uint8)
LARGEST_K = 10_000
MOST_ROWS = 2**31 - 2**24  # places of entries are int32, and lists leave some unused


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """A view of a slab: one record a row, with the vector at words ``start : start + size``.

    Attributes
    ----------
    slab
        float32 ``(rows, words)``, C-contiguous; read as it is at the time of a call, never copied
        whole. A file is mapped copy-on-write: kernels are compiled for arrays that can be written.
    live
        uint8 ``(rows,)``, 0 for a row that holds nothing; empty when all rows do.
    size
        Numbers of a vector.
    start
        Word at which it begins.
    bias
        Word that is added to a row's product; -1 for none.

    Raises
    ------
    ShapeError
        When the arrays do not fit together.
    """

    slab: Singles
    size: int
    start: int = 0
    bias: int = -1
    live: Bytes = field(default_factory=lambda: ALL)

    def __post_init__(self) -> None:
        slab = self.slab
        if slab.dtype != np.float32 or slab.ndim != 2 or not slab.flags.c_contiguous:
            raise ShapeError(
                f"slab is {slab.dtype} {slab.shape}; give a C-contiguous float32 (rows, words)"
            )
        words = slab.shape[1]
        if not (
            self.size >= 1 and 0 <= self.start <= words - self.size and -1 <= self.bias < words
        ):
            raise ShapeError(
                f"vectors at words {self.start}:{self.start + self.size}, bias at {self.bias}; "
                f"a record has words 0:{words}"
            )
        if len(slab) > MOST_ROWS:
            raise ShapeError(f"slab has {len(slab)} rows; give at most {MOST_ROWS}")
        _check_column("live", self.live, np.uint8, len(slab))

    @property
    def flat(self) -> Singles:
        """The slab as one line of numbers."""
        return self.slab.reshape(-1)

    @property
    def words(self) -> int:
        """Numbers of a record."""
        return int(self.slab.shape[1])

    @property
    def width(self) -> int:
        """Numbers of a vector with its bias behind it."""
        return self.size + (self.bias >= 0)

    def live_rows(self) -> Ints:
        """Rows that hold something, rising."""
        return np.flatnonzero(self.live) if len(self.live) else np.arange(len(self.slab))

    def vectors(self, rows: Ints) -> Singles:
        """Copies of the rows' vectors, biases behind them, ``(n, width)``."""
        found = self.slab[rows, self.start : self.start + self.size]
        if self.bias < 0:
            return np.ascontiguousarray(found)
        return np.concatenate([found, self.slab[rows, self.bias, None]], axis=1)

    def check_rows(self, rows: ArrayLike) -> Ints:
        """Rows as the kernels take them; ``ShapeError`` when one is outside the slab."""
        given = np.ascontiguousarray(rows, dtype=np.int64)
        if given.ndim != 1 or (len(given) and not 0 <= given.min() <= given.max() < len(self.slab)):
            raise ShapeError(f"rows are not of 0 to {len(self.slab) - 1}; give rows of the slab")
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusions:
    """Rows that are not returned to query i: ``rows[offsets[i] : offsets[i + 1]]``, sorted."""

    offsets: Ints
    rows: Ints

    @classmethod
    def of(cls, by_query: Sequence[ArrayLike]) -> Exclusions:
        """Gather lists of rows, one a query, in any order."""
        lists = [np.sort(np.asarray(rows, dtype=np.int64).reshape(-1)) for rows in by_query]
        offsets = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(rows) for rows in lists], out=offsets[1:])
        return cls(offsets=offsets, rows=np.concatenate([NO_ROWS, *lists]))

    def __post_init__(self) -> None:
        offsets = self.offsets
        whole = len(offsets) and offsets[0] == 0 and offsets[-1] == len(self.rows)
        if not whole or np.any(np.diff(offsets) < 0):
            raise ShapeError(
                f"offsets of exclusions are {offsets[:3]}…, for {len(self.rows)} rows; give rising "
                "ones from 0 to as many as there are rows"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which rows may be returned at all: those that pass every filter given.

    Attributes
    ----------
    available
        uint8 ``(rows,)``, 0 for a row that may not be returned; empty: all may.
    available_from, expires_at
        int64 ``(rows,)``, ms: a row may be returned when ``available_from <= now < expires_at``.
    now_ms
        The time of the request.
    """

    available: Bytes = field(default_factory=lambda: ALL)
    available_from: Ints = field(default_factory=lambda: NO_ROWS)
    expires_at: Ints = field(default_factory=lambda: NO_ROWS)
    now_ms: int = 0

    def check(self, rows: int) -> None:
        """Raise ``ShapeError`` when a filter is not of so many rows."""
        _check_column("available", self.available, np.uint8, rows)
        _check_column("available_from", self.available_from, np.int64, rows)
        _check_column("expires_at", self.expires_at, np.int64, rows)


NO_FILTERS = Filters()


def filters_of(
    given: Filters | None, excluded: Exclusions | None, records: Records, queries: int
) -> tuple[Filters, Ints, Ints]:
    """Filters, and offsets and rows of exclusions, as kernels take them, checked."""
    filters = given or NO_FILTERS
    if given is not None:
        given.check(len(records.slab))
    if excluded is None:
        return filters, np.zeros(queries + 1, dtype=np.int64), NO_ROWS
    if len(excluded.offsets) != queries + 1:
        raise ShapeError(
            f"exclusions are of {len(excluded.offsets) - 1} queries; give them for {queries}"
        )
    return filters, excluded.offsets, excluded.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Best first: rows int64 ``(n, k)``, -1 where fewer may be returned; scores float32."""

    rows: Ints
    scores: Singles

    @classmethod
    def room(cls, queries: int, k: int) -> Found:
        """Arrays that a scan fills; ``ConfigError`` when k is out of bounds."""
        if not 1 <= k <= LARGEST_K:
            raise ConfigError(f"k is {k}; give 1 to {LARGEST_K}")
        return cls(
            rows=np.empty((queries, k), dtype=np.int64),
            scores=np.empty((queries, k), dtype=np.float32),
        )


def as_queries(queries: ArrayLike, records: Records) -> Singles:
    """Queries as the kernels take them, ``(n, width)``: a 1 behind each where there is a bias.

    Raises ``ShapeError`` when they are not ``(n, size)`` finite numbers.
    """
    given = np.ascontiguousarray(queries, dtype=np.float32)
    if given.ndim != 2 or given.shape[1] != records.size or not np.isfinite(given).all():
        raise ShapeError(f"queries are {given.shape}; give finite numbers (n, {records.size})")
    if records.bias < 0:
        return given
    return np.concatenate([given, np.ones((len(given), 1), dtype=np.float32)], axis=1)


def _check_column(name: str, given: NDArray[np.generic], dtype: type, rows: int) -> None:
    fits = given.dtype == dtype and given.flags.c_contiguous and given.shape in {(rows,), (0,)}
    if not fits:
        raise ShapeError(
            f"{name} is {given.dtype} {given.shape}; give a contiguous {np.dtype(dtype)} ({rows},)"
        )
