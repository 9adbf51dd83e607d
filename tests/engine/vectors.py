"""Slabs, filters and worlds of vectors for the tests of retrieval."""

import numpy as np

from engine.retrieval.records import Filters, Records


def make_records(rng, *, rows, size, bias, dead=0.2):
    """Small whole numbers, so that scores are exact and often equal; NaN where nothing is."""
    words = size + 3
    slab = np.full((rows, words), np.nan, dtype=np.float32)
    slab[:, 2 : 2 + size] = rng.integers(-3, 4, (rows, size))
    if bias:
        slab[:, 0] = rng.integers(-9, 10, rows)
    live = (rng.random(rows) >= dead).astype(np.uint8)
    return Records(slab=slab, size=size, start=2, bias=0 if bias else -1, live=live)


def make_filters(rng, rows):
    """A third unavailable, a fifth not yet there, a fifth expired; now on the edges of some."""
    return Filters(
        available=(rng.random(rows) > 0.3).astype(np.uint8),
        available_from=rng.integers(90, 103, rows),
        expires_at=rng.integers(98, 111, rows),
        now_ms=100,
    )


def clustered(rng, n, size, centres=64, spread=0.5):
    """Vectors around few directions, and queries of the same kind."""
    middles = np.random.default_rng(5).normal(size=(centres, size))
    found = middles[rng.integers(0, centres, n)] + spread * rng.normal(size=(n, size))
    return found.astype(np.float32)
