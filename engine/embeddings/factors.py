"""Matrix factorisation and factorisation machines over one embedding table, on plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.table import Checks, EmbeddingTable, Flags, Ints, Keys
from engine.errors import ConfigError, ShapeError
from engine.kernels.embeddings.factors import LOGISTIC, SQUARED, TOTALS, learn_factors
from engine.kernels.embeddings.layout import MAX_HELD

__all__ = [
    "LOSSES",
    "TOTALS",
    "FactorTable",
    "Loss",
    "Sums",
    "factor_config",
    "learn_events",
    "predict",
]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

Loss = Literal["squared", "logistic"]
LOSSES: dict[str, int] = {"squared": SQUARED, "logistic": LOGISTIC}
MOST_FIELDS = MAX_HELD // 2
WEIGHT, MEAN, SQUARES, LEAST, MOST, EVENTS = range(TOTALS)


def factor_config(fields: Sequence[str], vector: VectorConfig, **settings: Any) -> TableConfig:
    """Make the settings of a table that holds every field's ids with like vectors and biases."""
    if not 1 <= len(fields) <= MOST_FIELDS:
        raise ConfigError(f"fields are {list(fields)}; give 1 to {MOST_FIELDS} of them")
    vectors = (replace(vector, name=name, bias=True) for name in dict.fromkeys(fields))
    return TableConfig(features=tuple(vectors), **settings)


def learn_events(
    table: EmbeddingTable,
    totals: Floats,
    *,
    features: Ints,
    values: Floats,
    keys: Keys,
    checks: Checks,
    target: Floats,
    weight: Floats,
    seconds: Ints,
    loss: str,
) -> Floats:
    """Learn events in order; returns what was predicted of each before it was learned.

    Writes: table, totals. See `engine.kernels.embeddings.factors.learn_factors` for shapes.
    """
    n, fields = keys.shape
    claimed, work = np.empty(fields, dtype=np.int64), np.zeros((2, table.width), dtype=np.float32)
    predicted = np.empty(n)
    keys, checks = np.ascontiguousarray(keys), np.ascontiguousarray(checks)
    target, weight = np.ascontiguousarray(target), np.ascontiguousarray(weight)
    seconds = np.ascontiguousarray(seconds)
    table.run(
        lambda start: learn_factors(
            table.table, start, keys, checks, features, values, target, weight, seconds,
            LOSSES[loss], totals, claimed, work, predicted,
        ),
        n,
    )  # fmt: skip
    return predicted


def predict(totals: Floats, score: Floats, loss: str) -> Floats:
    """What scores say of the target, ``(n,)``: as the kernel does before it learns."""
    if loss == "logistic":
        wins = max(totals[WEIGHT] * totals[MEAN], 0.0) + 0.5
        losses = max(totals[WEIGHT] * (1.0 - totals[MEAN]), 0.0) + 0.5
        told: Floats = wins / (wins + losses * np.exp(np.minimum(-score, 700.0)))
        return told
    if totals[EVENTS] == 0.0:
        return np.zeros(len(score))
    spread = math.sqrt(totals[SQUARES] / totals[WEIGHT])
    clipped: Floats = np.clip(totals[MEAN] + spread * score, totals[LEAST], totals[MOST])
    return clipped


@dataclass(frozen=True, slots=True)
class Sums:
    """Σ x v and biases plus all inner products of some fields, event by event."""

    vector: Floats  # (n, d)
    score: Floats  # (n,)

    @classmethod
    def none(cls, n: int, d: int) -> Sums:
        """No fields."""
        return cls(np.zeros((n, d)), np.zeros(n))

    def plus(self, vectors: Singles, present: Flags, value: float) -> Sums:
        """Add a field: float32 ``(n, 1 + d)``, bias first, where it is ``present`` ``(n,)``."""
        x = value * np.where(present[:, None], vectors, 0.0).astype(np.float64)
        inner = np.einsum("ij,ij->i", self.vector, x[:, 1:])
        return Sums(self.vector + x[:, 1:], self.score + x[:, 0] + inner)

    def at(self, rows: Ints) -> Sums:
        """Return those of some events."""
        return Sums(self.vector[rows], self.score[rows])

    def with_other(self, other: Sums) -> Floats:
        """Score of both together, ``(n,)``."""
        inner: Floats = np.einsum("ij,ij->i", self.vector, other.vector)
        return self.score + other.score + inner


class FactorTable:
    """A factorisation machine of ids: matrix factorisation with two fields.

    Parameters
    ----------
    fields
        Name of what each column of keys is an id of. A name may stand twice: such fields share
        their vectors, as the last items a user chose do.
    vector
        What every field has; its name is ignored.
    loss
        ``squared`` or ``logistic``, then targets lie from 0 to 1.
    values
        Weight with which each field enters; 1 when not given.
    settings
        Of `TableConfig`: ``max_rows``, ``seed``, ``sketch_bytes``.
    """

    def __init__(
        self,
        fields: Sequence[str],
        vector: VectorConfig,
        loss: Loss = "squared",
        values: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        if loss not in LOSSES:
            raise ConfigError(f"loss is {loss!r}; give one of {', '.join(LOSSES)}")
        self.loss = loss
        self.table = EmbeddingTable(factor_config(fields, vector, **settings))
        self.features = np.array([self.table.number(name) for name in fields], dtype=np.int64)
        self.values = np.ones(len(fields)) if values is None else np.array(values, dtype=float)
        if self.values.shape != self.features.shape or not np.isfinite(self.values).all():
            raise ConfigError(f"values are {values}; give a finite number for each of {fields}")
        self.totals = np.zeros(TOTALS)

    def update(
        self,
        keys: Keys,
        target: Floats,
        seconds: Ints,
        weight: Floats | None = None,
        checks: Checks | None = None,
    ) -> Floats:
        """Learn events in order. Writes: this table.

        Parameters
        ----------
        keys
            Of the ids of every event, 0 where one is absent, uint64 ``(n, fields)``.
        target, weight
            ``(n,)`` each.
        seconds
            Event times, int64 ``(n,)``.
        checks
            Second hashes of the ids, uint32 ``(n, fields)``.

        Returns
        -------
        What was predicted of each before it was learned, ``(n,)``.
        """
        n, fields = len(keys), len(self.features)
        weight = np.ones(n) if weight is None else weight
        checks = np.zeros((n, fields), dtype=np.uint32) if checks is None else checks
        shapes = [a.shape for a in (keys, checks, target, weight, seconds)]
        if shapes != [(n, fields)] * 2 + [(n,)] * 3 or keys.dtype != np.uint64:
            raise ShapeError(
                f"keys, checks, target, weight and seconds are {shapes}; give ({n}, {fields}) "
                f"twice, ({n},) thrice, and keys of uint64"
            )
        if not (np.isfinite(target).all() and np.all((weight > 0) & np.isfinite(weight))):
            raise ShapeError("target is not finite, or weight not above 0")
        return learn_events(
            self.table,
            self.totals,
            features=self.features,
            values=self.values,
            keys=keys,
            checks=checks,
            target=target.astype(np.float64),
            weight=weight.astype(np.float64),
            seconds=seconds,
            loss=self.loss,
        )

    def predict(self, keys: Keys) -> Floats:
        """Prediction for ids ``(n, fields)``, 0 where one is absent; learns nothing."""
        sums = Sums.none(len(keys), self.table.width - 1)
        for f, value in enumerate(self.values):
            column = np.ascontiguousarray(keys[:, f])
            vectors, _ = self.table.lookup(column, int(self.features[f]))
            sums = sums.plus(vectors, column != 0, float(value))
        return predict(self.totals, sums.score, self.loss)
