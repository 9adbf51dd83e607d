"""Bayesian personalised ranking over one embedding table, on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import VectorConfig
from engine.embeddings.factors import Sums, factor_config
from engine.embeddings.ring import Ring
from engine.embeddings.table import Checks, EmbeddingTable, Ints, Keys
from engine.errors import ConfigError, ShapeError
from engine.kernels.embeddings.layout import MAX_HELD
from engine.kernels.embeddings.pairs import learn_pairs

__all__ = ["MOST_PAIRS", "Negatives", "PairTable", "learn_choices"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MOST_PAIRS = MAX_HELD // 2
Negatives = Literal["ring", "shown"]


def learn_choices(
    table: EmbeddingTable,
    ring: Ring,
    *,
    features: Ints,
    values: Floats,
    keys: Keys,
    checks: Checks,
    chosen: Flags,
    weight: Floats,
    seconds: Ints,
    slates: Ints,
    negatives: Negatives,
    pairs: int,
) -> Floats:
    """Learn events in order; returns the chance by which each chosen item stood above others.

    Writes: table, ring. See `engine.kernels.embeddings.pairs.learn_pairs` for shapes. With
    ``shown`` the ring keeps no items, and a slate's rows must lie in one call.
    """
    n, fields = keys.shape
    shown = negatives == "shown"
    items = ring.keys[:0] if shown else ring.keys
    keys, checks = np.ascontiguousarray(keys), np.ascontiguousarray(checks)
    flags = np.ascontiguousarray(chosen, dtype=np.uint8)
    weight, seconds = np.ascontiguousarray(weight), np.ascontiguousarray(seconds)
    slates, own = np.ascontiguousarray(slates), np.ascontiguousarray(keys[:, -1])
    drawn, claimed = np.empty(pairs, dtype=np.uint64), np.empty(fields, dtype=np.int64)
    others = np.empty(pairs, dtype=np.int64)
    work, won = np.zeros((3, table.width), dtype=np.float32), np.empty(n)
    table.run(
        lambda start: learn_pairs(
            table.table, start, keys, checks, features, values, flags, weight, seconds, slates,
            items, ring.head, pairs, shown, own, drawn, others, claimed, work, won,
        ),
        n,
    )  # fmt: skip
    return won


class PairTable:
    """Vectors learned so that what was chosen in a context scores above what was not.

    Parameters
    ----------
    fields
        Name of what each column of keys is an id of, the item's last. A name may stand twice.
    vector
        What every field has; its name is ignored.
    values
        Weight with which each field enters; 1 when not given.
    negatives
        ``ring``: drawn from the last ``ring_size`` items chosen, so in proportion to their recent
        popularity; scores then say how much more likely an item is here than everywhere, and the
        log of its popularity is to be added. ``shown``: what was in the same slate and not chosen;
        items then have biases.
    pairs
        Negatives of every event.
    settings
        Of `TableConfig`: ``max_rows``, ``seed``, ``sketch_bytes``.
    """

    def __init__(
        self,
        fields: Sequence[str],
        vector: VectorConfig,
        values: Sequence[float] | None = None,
        *,
        negatives: Negatives = "ring",
        ring_size: int = 20_000,
        pairs: int = 8,
        **settings: Any,
    ) -> None:
        if not 1 <= pairs <= MOST_PAIRS or negatives not in {"ring", "shown"}:
            raise ConfigError(
                f"negatives is {negatives!r} and pairs {pairs}; give ring or shown, and 1 to "
                f"{MOST_PAIRS}"
            )
        self.negatives, self.pairs = negatives, pairs
        self.table = EmbeddingTable(factor_config(fields, vector, **settings))
        self.ring = Ring(ring_size)
        self.features = np.array([self.table.number(name) for name in fields], dtype=np.int64)
        self.values = np.ones(len(fields)) if values is None else np.array(values, dtype=float)
        if self.values.shape != self.features.shape or not np.isfinite(self.values).all():
            raise ConfigError(f"values are {values}; give a finite number for each of {fields}")

    def update(
        self,
        keys: Keys,
        seconds: Ints,
        *,
        chosen: Flags | None = None,
        weight: Floats | None = None,
        slates: Ints | None = None,
        checks: Checks | None = None,
    ) -> Floats:
        """Learn events in order. Writes: this table.

        Parameters
        ----------
        keys
            Of the ids of every event, 0 where one is absent, uint64 ``(n, fields)``.
        seconds
            Event times, int64 ``(n,)``.
        chosen
            Whether the item was chosen, ``(n,)``; all were when not given.
        weight
            ``(n,)``, 1 when not given.
        slates
            One number for the rows of a slate, which lie side by side, int64 ``(n,)``.
        checks
            Second hashes of the ids, uint32 ``(n, fields)``.

        Returns
        -------
        The mean chance by which each chosen item stood above its negatives before it was learned
        of, NaN without any, ``(n,)``.
        """
        n, fields = len(keys), len(self.features)
        chosen = np.ones(n, dtype=np.bool_) if chosen is None else chosen
        weight = np.ones(n) if weight is None else weight
        slates = np.arange(n) if slates is None else slates
        checks = np.zeros((n, fields), dtype=np.uint32) if checks is None else checks
        shapes = [a.shape for a in (keys, checks, seconds, chosen, weight, slates)]
        if shapes != [(n, fields)] * 2 + [(n,)] * 4 or keys.dtype != np.uint64:
            raise ShapeError(
                f"keys, checks, seconds, chosen, weight and slates are {shapes}; give ({n}, "
                f"{fields}) twice, ({n},) four times, and keys of uint64"
            )
        if not np.all((weight > 0) & np.isfinite(weight)):
            raise ShapeError("weight is not above 0")
        return learn_choices(
            self.table,
            self.ring,
            features=self.features,
            values=self.values,
            keys=keys,
            checks=checks,
            chosen=chosen,
            weight=weight.astype(np.float64),
            seconds=seconds,
            slates=slates,
            negatives=self.negatives,
            pairs=self.pairs,
        )

    def score(self, context: Keys, items: Keys) -> Floats:
        """Scores of items ``(m,)`` in one context ``(fields - 1,)``; learns nothing."""
        sums = Sums.none(1, self.table.width - 1)
        for f, key in enumerate(context):
            vectors, _ = self.table.lookup(context[f : f + 1], int(self.features[f]))
            sums = sums.plus(vectors, np.array([key != 0]), float(self.values[f]))
        vectors, _ = self.table.lookup(items, int(self.features[-1]))
        scores: Floats = vectors[:, 0] + vectors[:, 1:] @ sums.vector[0]
        return scores
