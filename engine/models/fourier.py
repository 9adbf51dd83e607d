"""A linear model over random Fourier features: kernel regression at the cost of a linear one.

Source: Rahimi and Recht 2007, "Random features for large-scale kernel machines". Published code
of bandits over such features starts from a wrong inverse, counts the first reward twice and
leaves out the features' normalisation; here the base model learns, from its own sums, and rows
have the length stated below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests, hash_key
from engine.errors import ConfigError, suggest
from engine.features import Numeric, Schema
from engine.kernels.fourier import draw_frequencies, map_features
from engine.models.base import Axes, Model, Traits, resolve
from engine.models.hybrid import HybridLinear
from engine.models.linear import DisjointLinear
from engine.models.ridge import check_ridge
from engine.models.shared import SharedLinear, check_item_columns, join
from engine.state import State

__all__ = ["Fourier", "frequencies"]

BASES: dict[str, Any] = {"linear": DisjointLinear, "shared": SharedLinear, "hybrid": HybridLinear}
MOST_FEATURES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Fourier(Model):
    """Expected rewards are a Gaussian process with kernel ``(1 + k(y, y')) / ridge``.

    k(y, y') = exp(-|y - y'|² / (2 p bandwidth²)) over the p columns of y, approximated by random
    features; the 1 is a constant feature, so that a constant reward is learned as one. A base
    that learns by item reads y from the context; a shared one from context, item and their
    declared products; a hybrid base does both.

    Parameters
    ----------
    base
        The linear model: ``linear``, ``shared`` or ``hybrid``.
    features
        Number of random features of a row, even: half cosines, half sines. The error of k is of
        the order of ``1 / √features``.
    bandwidth
        Distance, as root mean square over columns, at which rewards are no longer alike.
    feature_seed
        Seeds the frequencies, together with their number and the name of the column.
    ridge
        The base model's, here the inverse of the prior variance of a reward's expectation.
    """

    base: str = "linear"
    features: int = 64
    bandwidth: float = 1.0
    feature_seed: int = 0
    ridge: float = 0.01

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ConfigError(f"base is {self.base!r}{suggest(self.base, BASES)}")
        if not (2 <= self.features <= MOST_FEATURES and self.features % 2 == 0):
            raise ConfigError(
                f"features is {self.features}; give an even number from 2 to {MOST_FEATURES}"
            )
        if not (math.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise ConfigError(f"bandwidth is {self.bandwidth}; give a number above 0")
        if not 0 <= self.feature_seed < 2**63:
            raise ConfigError(f"feature_seed is {self.feature_seed}; give 0 to 2^63 - 1")
        check_ridge(self.ridge)

    @property
    def _model(self) -> Model:
        model: Model = BASES[self.base](ridge=self.ridge)
        return model

    @property
    def _mapped(self) -> Schema:
        """Schema of the mapped rows, whatever the schema of the raw ones."""
        return _schema(
            self.features if self.base != "shared" else 0,
            self.features if self.base != "linear" else 0,
        )

    @property
    def traits(self) -> Traits:
        """The base model's, but that sums do not outlive the columns they were mapped from."""
        return replace(self._model.traits, aligns=False)

    def check(self, schema: Schema) -> None:
        """Refuse a schema that leaves the kernel nothing to compare."""
        if self.base != "linear":
            check_item_columns(self, schema)
        if self.base != "shared" and len(schema.columns) < 2:
            raise ConfigError(
                f"Fourier features with base {self.base!r} compare contexts, and the schema has "
                "no context feature; declare one, or use another model"
            )

    def axes(self) -> Axes:
        """The base model's sums, over the mapped rows."""
        axes, sizes = self._model.axes(), self._mapped.sizes
        return Axes(
            items=dict(resolve(axes.items, sizes)),
            shared=dict(resolve(axes.shared, sizes)),
            squared=axes.squared,
        )

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Let the base model learn from the mapped rows. Writes: state."""
        x = self._context(outcomes.x, schema)
        z = np.empty((len(rows), 0))
        if self.base != "linear":
            z = self._map(schema.joint(outcomes.x, outcomes.z), _joint_columns(schema))
        self._model.update(state, rows, replace(outcomes, x=x, z=z), weight, self._mapped)

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return the base model's arrays by item."""
        return self._model.derive(sums, state, self._mapped)

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Return the base model's arrays that belong to no item."""
        return self._model.derive_shared(state, self._mapped)

    def derive_whole(
        self, sums: dict[str, Floats], state: State, schema: Schema
    ) -> tuple[dict[str, Floats], dict[str, NDArray[Any]]]:
        """Return both."""
        return self._model.derive_whole(sums, state, self._mapped)

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """The base model's beliefs at the mapped rows."""
        x = self._context(requests.x, schema)
        z = np.empty((len(requests.rows), 0))
        if self.base != "linear":
            z = self._map(join(requests, schema), _joint_columns(schema))
        return self._model.believe(posterior, replace(requests, x=x, z=z), self._mapped)

    def _context(self, x: Floats, schema: Schema) -> Floats:
        """Mapped context rows, a constant first; the constant alone for a shared base."""
        constant = np.full((len(x), 1), self._length)
        if self.base == "shared":
            return constant
        return np.concatenate([constant, self._map(x, schema.columns)], axis=1)

    @property
    def _length(self) -> float:
        # The bases' prior precision is ridge times the number of columns: this takes it back.
        return math.sqrt(self._mapped.sizes["f"])

    def _map(self, rows: Floats, columns: tuple[str, ...]) -> Floats:
        """Map rows whose first column is the intercept, which the kernel does not read."""
        drawn = frequencies(self.feature_seed, self.features, self.bandwidth, columns[1:])
        out = np.empty((len(rows), self.features))
        map_features(np.ascontiguousarray(rows[:, 1:]), drawn, self._length, out)
        return out


@lru_cache(maxsize=64)
def frequencies(seed: int, features: int, bandwidth: float, columns: tuple[str, ...]) -> Floats:
    """Frequencies ``(p, features / 2)``, a function of these settings and of nothing else.

    Columns enter by name, so their order does not matter.
    """
    keys = np.array([hash_key(column) for column in columns], dtype=np.uint64)
    out = np.empty((len(columns), features // 2))
    scale = 1.0 / (bandwidth * math.sqrt(len(columns)))
    draw_frequencies(np.uint64(seed), keys, scale, out)
    return out


@lru_cache(maxsize=16)
def _schema(context: int, item: int) -> Schema:
    return Schema(
        features=(
            *(Numeric(name=f"context-{number}") for number in range(context)),
            *(Numeric(name=f"item-{number}", of="item") for number in range(item)),
        )
    )


def _joint_columns(schema: Schema) -> tuple[str, ...]:
    """Names of the columns of a joint row."""
    return (*schema.columns, *schema.item_columns, *schema.products)
