"""The best k rows of an inverted file: the likeliest lists scanned, and on until k are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.memory import prefetch1
from engine.kernels.retrieval.best import pick1, sort1
from engine.kernels.retrieval.dots import score_block1
from engine.kernels.retrieval.filters import offer_block1
from engine.kernels.retrieval.lists import BLOCK, LINE

__all__ = ["probe_lists"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Bytes = NDArray[np.uint8]

AHEAD = 8  # lines asked for ahead
LEAST = np.float32(-np.inf)


@inline_uncounted
def fetch1(copies: Singles, width: int, block: int) -> None:
    """Ask for the first vectors of a block; the processor goes on by itself."""
    begin = block * BLOCK * width
    for word in range(begin, begin + AHEAD * LINE, LINE):
        prefetch1(copies, word)


@kernel(
    "void(f4[::1], i8, i8, u1[::1], u1[::1], i8[::1], i8[::1], i8, f4[:,::1], i8[::1],"
    " i8[::1], f4[::1], f4[::1], i8[::1], i8, i8, i8, i4[::1], i4[::1], i4[::1], i4[::1], i8[::1],"
    " f4[::1], f4[::1], i8[::1], f4[::1], i8[:,::1], f4[:,::1])",
    scoring=True,
    counted=False,
)
def probe_lists(
    copies: Singles, width: int, size: int,
    live: Bytes, available: Bytes, begins: Ints, ends: Ints, now: int,
    queries: Singles, offsets: Ints, excluded: Ints,
    centroids: Singles, spreads: Singles, numbers: Ints,
    first: int, lists: int, seen_at_least: int,
    heads: Shorts, sizes: Shorts, entries: Shorts, chain: Shorts,
    ids: Ints, values: Singles, hopes: Singles, order: Ints, likely: Singles,
    rows: Ints, scores: Singles,
) -> None:  # fmt: skip
    """Writes: rows, scores, and scratch before them. Best ``k`` of the lists scanned.

    Scores and filters are those of `engine.kernels.retrieval.exact.scan_rows`; when there is a
    bias, ``width > size``, and queries have a 1 behind them. numbers count from 0, as many as there
    are lists and as a block has entries. Lists come by ``q · c + |q| spread``, and are scanned
    until they were ``lists``, held ``seen_at_least`` entries together, and k rows were found; those
    below ``first``, of an earlier version, are not counted.
    """
    for i in range(len(queries)):
        query, norm = queries[i], np.float32(0.0)
        for j in range(width):
            norm += query[j] * query[j]
        norm = np.sqrt(norm)
        score_block1(centroids, width, 0, width, numbers, 0, len(heads), query, 0, hopes)
        for each in range(len(heads)):
            hope = hopes[each] + norm * spreads[each]
            if not hope > LEAST:  # NaN marks a list that is not to be scanned
                hope = LEAST
            hopes[each] = hope if sizes[each] > 0 else np.nan
        count, done, seen, more = 0, 0, 0, True
        while more:
            picked = pick1(hopes, len(heads), order, likely)
            for at in range(picked):
                fetch1(copies, width, int(heads[order[at]]))
            more = picked > 0
            for at in range(picked):
                more = done < lists or seen < seen_at_least or count < rows.shape[1]
                if not more:
                    break
                each = order[at]
                hopes[each] = np.nan
                block, rest = int(heads[each]), int(sizes[each])
                m = (rest - 1) % BLOCK + 1
                while rest > 0 and block >= 0:
                    if rest > m:
                        fetch1(copies, width, int(chain[block]))
                    begin = block * BLOCK * width
                    score_block1(copies[begin:], width, 0, size, numbers, 0, m, query, 0, values)
                    for s in range(m):
                        ids[s] = entries[block * BLOCK + s]
                        if width > size:
                            values[s] += copies[begin + s * width + size]
                    count = offer_block1(
                        ids, values, m, live, available, begins, ends, now,
                        excluded, offsets[i], offsets[i + 1], rows[i], scores[i], count,
                    )  # fmt: skip
                    rest -= m
                    seen += m if each >= first else 0
                    block, m = int(chain[block]), BLOCK
                done += 1 if each >= first else 0
        sort1(rows[i], scores[i], count)
