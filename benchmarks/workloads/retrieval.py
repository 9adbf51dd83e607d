"""retrieval: the ten best of many vectors by product, fresh, while they move, and afterwards.

Whoever is not exact scans as much as it needs for nine and a half of the true ten when fresh; how
many it still finds after every vector has moved is told beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Absent, Contender, Contest, Figure, Skipped, absent
from benchmarks.peers.vectors import FaissFlat, FaissInverted, Hnsw, NumpyScan
from engine.retrieval.centroids import lists_for
from engine.retrieval.exact import search_exact
from engine.retrieval.inverted import InvertedFile
from engine.retrieval.records import Records

__all__ = [
    "WORLDS",
    "Exact",
    "Inverted",
    "Mover",
    "contests",
    "make_vectors",
    "recall_of",
    "tuned",
]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

NAME, UNIT = "retrieval", "queries or moves"
K = 10
COLUMNS = 32
ENOUGH = 0.95  # of the true ten
TUNED_ON, ASKED, TOGETHER = 200, 512, 64  # queries
NO_TRUTH = np.empty((0, K), dtype=np.int64)
MOVED = 1000  # rows at a time
SLOW = 100_000  # rows from which a graph takes minutes to build and to move


class Exact:
    """Our exact scan."""

    name = "slatestream, exact"
    scans: tuple[int, ...] = ()

    def __init__(self, vectors: Singles, lists: int) -> None:  # noqa: ARG002
        self.records = Records(slab=vectors.copy(), size=vectors.shape[1])

    def search(self, queries: Singles, k: int) -> Ints:
        """Rows of the k best."""
        return search_exact(self.records, queries, k).rows

    def move(self, rows: Ints, vectors: Singles) -> None:
        """Give rows other vectors."""
        self.records.slab[rows] = vectors


class Inverted(Exact):
    """Our inverted file."""

    name = "slatestream, inverted file"
    scans = FaissInverted.scans

    def __init__(self, vectors: Singles, lists: int) -> None:
        super().__init__(vectors, lists)
        self.index = InvertedFile.over(self.records, lists=lists)
        self.nprobe = 1

    def tune(self, scan: int) -> None:
        """Scan so many lists."""
        self.nprobe = scan

    def search(self, queries: Singles, k: int) -> Ints:
        """Rows of the k best found."""
        return self.index.search(self.records, queries, k, nprobe=self.nprobe).rows

    def move(self, rows: Ints, vectors: Singles) -> None:
        """Give rows other vectors."""
        super().move(rows, vectors)
        self.index.update(self.records, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Where every row is at first and after it has moved, and queries, ``(n, d)`` each."""

    before: Singles
    after: Singles
    queries: Singles


class Mover:
    """Moves rows of one index, a thousand a call, to and fro; `finish` leaves all of them moved."""

    def __init__(self, index: Any, vectors: Vectors) -> None:
        self.index, self.at = index, 0
        self.turn, self.back, self.after = vectors.after, vectors.before, vectors.after
        order = np.random.default_rng(8).permutation(len(vectors.after))
        few = min(MOVED, len(order))
        self.parts = [order[i : i + few] for i in range(0, len(order) - few + 1, few)]

    def step(self, _: object = None) -> None:
        """Move some."""
        rows = self.parts[self.at]
        self.index.move(rows, self.turn[rows])
        self.at += 1
        if self.at == len(self.parts):
            self.at, self.turn, self.back = 0, self.back, self.turn

    def finish(self) -> None:
        """Bring all to where they are in the end."""
        while self.at or self.turn is self.after:
            self.step()


def contests(quick: bool) -> Iterator[Contest | Figure | Skipped]:
    """A size for exact scans and graphs, and one for inverted files alone."""
    sizes = ((300, 4),) if quick else ((50_000, COLUMNS), (500_000, COLUMNS))
    for rows, columns in sizes:
        for world in WORLDS if rows < SLOW else ("factors",):
            vectors = make_vectors(world, rows, columns)
            params = f"{world}, {rows:,} of {columns}"
            yield from _size(vectors, params, rows < SLOW)
            if rows >= SLOW:
                reason = f"building it over {rows:,} vectors and moving them would take minutes"
                yield Skipped(workload=NAME, params=params, peer=Hnsw.name, reason=reason)


def make_vectors(world: str, rows: int, columns: int) -> Vectors:
    """Draw one of `WORLDS`, always the same."""
    rng, draw = np.random.default_rng(9), WORLDS[world]
    queries = draw(rng, TUNED_ON + ASKED, columns, 0.0)
    before, after = (draw(rng, rows, columns, 0.4) for _ in range(2))
    return Vectors(before=before, after=after, queries=queries)


def _factors(rng: np.random.Generator, n: int, columns: int, spread: float) -> Singles:
    """As models learn them: a spectrum of 1/√i, lengths lognormal."""
    spectrum = 1.0 / np.sqrt(np.arange(1, columns + 1))
    lengths = np.exp(spread * rng.normal(size=(n, 1)))
    return (rng.normal(size=(n, columns)) * spectrum * lengths).astype(np.float32)


def _clusters(rng: np.random.Generator, n: int, columns: int, _: float) -> Singles:
    """Around two hundred directions."""
    middles = np.random.default_rng(10).normal(size=(200, columns))
    found = middles[rng.integers(0, 200, n)] + 0.5 * rng.normal(size=(n, columns))
    return found.astype(np.float32)


WORLDS = {"factors": _factors, "clusters": _clusters}


def recall_of(found: Ints, true: Ints) -> float:
    """Share of the true rows that were found."""
    pairs = zip(found.tolist(), true.tolist(), strict=True)
    return sum(len(set(a) & set(b)) for a, b in pairs) / true.size


def _size(vectors: Vectors, params: str, every: bool) -> Iterator[Contest | Figure]:
    """Queries of fresh indexes, then moves, then the same queries."""
    lists = lists_for(len(vectors.before))
    true, kinds = (
        _truth(vectors.before, vectors),
        [FaissInverted, Hnsw] if every else [FaissInverted],
    )
    mine = tuned(Inverted, vectors, lists, true)
    peers = [tuned(kind, vectors, lists, true) for kind in kinds]
    yield from _queries(f"{params}, fresh", vectors, true, mine, peers)
    if every:
        yield from _exact(params, vectors)
    movers = [_mover(each, vectors) for each in (mine, *peers)]
    few = min(MOVED, len(vectors.before))
    moving = [
        each if isinstance(each, Absent) else _contender(each.index, few, each.step)
        for each in movers
    ]
    yield Contest(
        params=f"{params}, vectors moved",
        mode="batched",
        unit=UNIT,
        ours=_present(moving[0]),
        peers=tuple(moving[1:]),
    )
    for each in movers:
        if isinstance(each, Mover):
            each.finish()
    true = _truth(vectors.after, vectors)
    yield from _queries(f"{params}, all moved", vectors, true, mine, peers)


def _mover(index: Any, vectors: Vectors) -> Mover | Absent:
    return index if isinstance(index, Absent) else Mover(index, vectors)


def _truth(at: Singles, vectors: Vectors) -> Ints:
    return search_exact(Records(slab=at, size=at.shape[1]), vectors.queries, K).rows


def tuned(kind: Any, vectors: Vectors, lists: int, true: Ints) -> Any:
    """An index that finds enough, or why there is none."""
    missing = absent(kind.name, kind.module) if hasattr(kind, "module") else None
    if missing:
        return missing
    made = kind(vectors.before, lists)
    for scan in made.scans:
        made.tune(scan)
        made.name, made.label = f"{kind.name}, scanning {scan}", f"inverted file scanning {scan}"
        if recall_of(made.search(vectors.queries[:TUNED_ON], K), true[:TUNED_ON]) >= ENOUGH:
            break
    return made


def _queries(
    params: str, vectors: Vectors, true: Ints, mine: Any, peers: Sequence[Any]
) -> Iterator[Contest | Figure]:
    """Queries one at a time and together, and how many of the true ten each finds."""
    asked, true = vectors.queries[TUNED_ON:], true[TUNED_ON:]
    for each in (mine, *peers):
        if not isinstance(each, Absent):
            what, found = f"recall@{K}, {each.name}", recall_of(each.search(asked, K), true)
            yield Figure(workload=NAME, params=params, what=what, value=found, unit="of 1")
    yield from _both_ways(f"{params}, {mine.label}", asked, mine, peers)


def _exact(params: str, vectors: Vectors) -> Iterator[Contest]:
    """Exact scans; what has moved makes no difference to them."""
    kinds = (NumpyScan, FaissFlat)
    peers = [tuned(kind, vectors, 1, NO_TRUTH) for kind in kinds]
    mine = Exact(vectors.before, 1)
    yield from _both_ways(f"{params}, exact scan", vectors.queries[TUNED_ON:], mine, peers)


def _both_ways(params: str, asked: Singles, mine: Any, peers: Sequence[Any]) -> Iterator[Contest]:
    for many in (1, TOGETHER):
        yield Contest(
            params=params if many == 1 else f"{params}, {many} a call",
            mode="per-call" if many == 1 else "batched",
            unit=UNIT,
            ours=_present(_asking(mine, asked, many)),
            peers=tuple(_asking(peer, asked, many) for peer in peers),
        )


def _asking(index: Any, asked: Singles, many: int) -> Contender | Absent:
    if isinstance(index, Absent):
        return index
    parts, at = [asked[i : i + many] for i in range(0, len(asked) - many + 1, many)], 0
    calls = max(1, 16 // many)  # a clock is read no more often than every few calls

    def call(_: object) -> None:
        nonlocal at
        for _ in range(calls):
            index.search(parts[at], K)
            at = (at + 1) % len(parts)

    return _contender(index, many * calls, call)


def _contender(index: Any, units: int, call: Any) -> Contender:
    return Contender(name=index.name, units=units, call=call)


def _present(contender: Contender | Absent) -> Contender:
    assert isinstance(contender, Contender)  # noqa: S101  (ours are here)
    return contender
