"""The best k rows of an inverted file: the likeliest lists scanned, and on until k are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.memory import prefetch1
from engine.kernels.retrieval.best import sink1, sort1
from engine.kernels.retrieval.dots import score_block1
from engine.kernels.retrieval.filters import offer_block1
from engine.kernels.retrieval.lists import BLOCK, LINE

__all__ = ["probe_lists"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Bytes = NDArray[np.uint8]


@inline_uncounted
def fetch1(flat: Singles, words: int, start: int, size: int, entries: Shorts, block: int) -> None:
    """Ask for the rows of a block; of places not filled, for rows that are there all the same."""
    for at in range(block * BLOCK, (block + 1) * BLOCK):
        for word in range(start, start + size, LINE):
            prefetch1(flat, np.int64(entries[at]) * words + word)


@kernel(
    "void(f4[::1], i8, i8, i8, i8, u1[::1], u1[::1], i8[::1], i8[::1], i8, f4[:,::1], i8[::1],"
    " i8[::1], f4[::1], f4[::1], i8[::1], i8, i8, i4[::1], i4[::1], i4[::1], i4[::1], i8[::1],"
    " f4[::1], i8[::1], f4[::1], i8[:,::1], f4[:,::1])",
    scoring=True,
    counted=False,
)
def probe_lists(
    flat: Singles, words: int, start: int, size: int, bias: int,
    live: Bytes, available: Bytes, begins: Ints, ends: Ints, now: int,
    queries: Singles, offsets: Ints, excluded: Ints,
    centroids: Singles, spreads: Singles, numbers: Ints, lists: int, seen_at_least: int,
    heads: Shorts, sizes: Shorts, entries: Shorts, chain: Shorts,
    ids: Ints, values: Singles, order: Ints, hopes: Singles,
    rows: Ints, scores: Singles,
) -> None:  # fmt: skip
    """Writes: rows, scores, and scratch before them. Best ``k`` of the lists scanned.

    Scores and filters are those of `engine.kernels.retrieval.exact.scan_rows`; queries have a 1
    behind them when there is a bias. Lists come by ``q · c + |q| spread``, and are scanned until
    they were ``lists``, held ``seen_at_least`` entries together, and k rows were found.
    """
    width = queries.shape[1]
    for i in range(len(queries)):
        query, norm = queries[i], np.float32(0.0)
        for j in range(width):
            norm += query[j] * query[j]
        norm = np.sqrt(norm)
        score_block1(centroids, width, 0, width, numbers, 0, len(heads), query, 0, hopes)
        left = 0
        for each in range(len(heads)):
            if sizes[each] > 0:  # written so that the best comes out of the heap first
                hopes[left] = -(hopes[each] + norm * spreads[each])
                order[left] = each
                left += 1
        for at in range(left // 2 - 1, -1, -1):
            sink1(order, hopes, at, left, order[at], hopes[at])
        count, done, seen = 0, 0, 0
        if left:
            fetch1(flat, words, start, size, entries, np.int64(heads[order[0]]))
        while left and (done < lists or seen < seen_at_least or count < rows.shape[1]):
            each = order[0]
            left -= 1
            sink1(order, hopes, 0, left, order[left], hopes[left])
            block, rest = np.int64(heads[each]), np.int64(sizes[each])
            m = (rest - 1) % BLOCK + 1
            while rest > 0 and block >= 0:
                following = np.int64(chain[block]) if rest > m else -1
                if following < 0 and left:
                    following = np.int64(heads[order[0]])
                if following >= 0:
                    fetch1(flat, words, start, size, entries, following)
                for s in range(m):
                    ids[s] = entries[block * BLOCK + s]
                score_block1(flat, words, start, size, ids, 0, m, query, 0, values)
                if bias >= 0:
                    for s in range(m):
                        values[s] += flat[ids[s] * words + bias]
                count = offer_block1(
                    ids, values, m, live, available, begins, ends, now,
                    excluded, offsets[i], offsets[i + 1], rows[i], scores[i], count,
                )  # fmt: skip
                rest -= m
                seen += m
                block, m = np.int64(chain[block]), BLOCK
            done += 1
        sort1(rows[i], scores[i], count)
