"""Settings of an embedding table, and of the ids of each feature in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import HEADER, SETTINGS

__all__ = ["Optimizer", "TableConfig", "VectorConfig"]

Optimizer = Literal["sgd", "rowwise", "adagrad", "ftrl", "adam"]
OPTIMIZERS: dict[str, int] = {"sgd": 0, "rowwise": 1, "adagrad": 2, "ftrl": 3, "adam": 4}
LINE = 16  # words of a cache line
MOST_ROWS = 1 << 32
MOST_BYTES = (1 << 32) - (1 << 24)  # a save of more has no place in MessagePack
MOST_THRESHOLD = 15  # the sketch's counters hold no more


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorConfig:
    """What the ids of one feature have in the table.

    Parameters
    ----------
    name
        Of the feature.
    dimension
        Numbers of a vector, without its bias.
    bias
        Whether each id has a bias besides, the first number of its vector.
    optimizer
        Of every step, see `engine.kernels.embeddings.optimizers`.
    rate, bias_rate
        Learning rates.
    l2, bias_l2
        Shrinking, with every step.
    epsilon
        Added to Adagrad's and Adam's root, against large first steps.
    beta1, beta2
        Of Adam, 0.9 and 0.999 when not given; of FTRL beta and l1, 1 and 0.
    accumulator, bias_accumulator
        Where Adagrad's sums of squared gradients begin, against large first steps: a size in
        units of the loss's gradient, where epsilon is only against a division by 0.
    scale
        Standard deviation of a vector's initial numbers; a bias begins at 0.
    threshold
        Times an id must be met before it has a vector of its own, at most 15.
    ttl_seconds
        Event time without being met after which an id is forgotten; 0 never.
    """

    name: str
    dimension: int = 16
    bias: bool = False
    optimizer: Optimizer = "rowwise"
    rate: float = 0.05
    bias_rate: float = 0.05
    l2: float = 0.0
    bias_l2: float = 0.0
    epsilon: float = 1e-6
    beta1: float | None = None
    beta2: float | None = None
    accumulator: float = 0.0
    bias_accumulator: float = 0.0
    scale: float = 0.1
    threshold: int = 1
    ttl_seconds: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(
                f"feature {self.name!r}: optimizer is {self.optimizer!r}; give one of "
                f"{', '.join(OPTIMIZERS)}"
            )
        if not (1 <= self.dimension <= 1024 and 1 <= self.threshold <= MOST_THRESHOLD):
            raise ConfigError(
                f"feature {self.name!r}: dimension is {self.dimension} and threshold "
                f"{self.threshold}; give 1 to 1024, and 1 to {MOST_THRESHOLD}"
            )
        least = {"l2": self.l2, "bias_l2": self.bias_l2, "scale": self.scale}
        least |= {"accumulator": self.accumulator, "bias_accumulator": self.bias_accumulator}
        above = {"rate": self.rate, "bias_rate": self.bias_rate, "epsilon": self.epsilon}
        for name, value in (least | above).items():
            if not (math.isfinite(value) and (value > 0 or (name in least and value == 0))):
                raise ConfigError(
                    f"feature {self.name!r}: {name} is {value}; give a number "
                    f"{'of at least' if name in least else 'above'} 0"
                )
        one, other = self.betas
        below = 1.0 if self.optimizer == "adam" else math.inf
        if not (0 <= one < below and 0 <= other < below):
            raise ConfigError(
                f"feature {self.name!r}: beta1 and beta2 are {one} and {other}; give numbers of at "
                f"least 0, and below {below}"
            )
        if not 0 <= self.ttl_seconds < 1 << 31:
            raise ConfigError(
                f"feature {self.name!r}: ttl_seconds is {self.ttl_seconds}; give 0 (never) or more"
            )

    @property
    def width(self) -> int:
        """Numbers of a vector, its bias included."""
        return self.dimension + self.bias

    @property
    def betas(self) -> tuple[float, float]:
        """What beta1 and beta2 are for this optimizer."""
        one, other = (1.0, 0.0) if self.optimizer == "ftrl" else (0.9, 0.999)
        return (
            one if self.beta1 is None else self.beta1,
            other if self.beta2 is None else self.beta2,
        )

    @property
    def words(self) -> int:
        """Words a record needs, of 32 bits."""
        state = {"sgd": 0, "rowwise": 2, "adagrad": self.width}.get(self.optimizer, 2 * self.width)
        return HEADER + self.width + state

    def to_row(self) -> NDArray[np.float64]:
        """Return the row of `Table.settings` of this feature, ``(16,)``."""
        row = np.zeros(SETTINGS)
        row[at.DIMENSION], row[at.BIAS] = self.width, self.bias
        row[at.OPTIMIZER] = OPTIMIZERS[self.optimizer]
        row[at.RATE], row[at.BIAS_RATE] = self.rate, self.bias_rate
        row[at.L2], row[at.BIAS_L2] = self.l2, self.bias_l2
        row[at.EPSILON], row[at.BETA1], row[at.BETA2] = self.epsilon, *self.betas
        row[at.SCALE] = self.scale
        row[at.ACCUMULATOR], row[at.BIAS_ACCUMULATOR] = self.accumulator, self.bias_accumulator
        row[at.THRESHOLD], row[at.TTL] = self.threshold, self.ttl_seconds
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConfig:
    """One table for the ids of all features: keys are hashes that the feature's name salts.

    Parameters
    ----------
    features
        In the order in which calls number them. A record is as long as the longest needs.
    max_rows
        Ids that may have vectors at once. Beyond it the least valuable of some drawn at random is
        evicted. Memory is taken as it fills.
    seed
        Of initial vectors, samples and hashes.
    sketch_bytes
        Of the counters of ids not admitted yet, a power of two. A byte for every two ids met
        between two agings, 128 ids a line of 64 bytes, keeps false admissions rare.
    max_jump_seconds
        How far one event may move the clock of expiry.
    """

    features: tuple[VectorConfig, ...]
    max_rows: int = 1_000_000
    seed: int = 0
    sketch_bytes: int = 1 << 20
    max_jump_seconds: int = 3600

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        if not names or len(set(names)) != len(names) or len(names) > 1000:
            raise ConfigError(f"features are {names}; give 1 to 1000, each once")
        if not at.MAX_HELD < self.max_rows < MOST_ROWS:
            raise ConfigError(
                f"max_rows is {self.max_rows}; give more than {at.MAX_HELD}, below {MOST_ROWS}"
            )
        size = self.sketch_bytes
        if size < 64 or size & (size - 1) or size > 1 << 36:
            raise ConfigError(f"sketch_bytes is {size}; give a power of two, 64 or more")
        if self.bytes >= MOST_BYTES:
            raise ConfigError(
                f"{self.max_rows:,} ids of {4 * self.words} bytes and a sketch of {size:,} take "
                f"up to {self.bytes:,} bytes; give a smaller max_rows, for {MOST_BYTES:,}"
            )
        if not 0 <= self.seed < 1 << 63 or self.max_jump_seconds < 1:
            raise ConfigError(
                f"seed is {self.seed} and max_jump_seconds {self.max_jump_seconds}; give a whole "
                "number from 0 to 2^63 - 1, and 1 or more"
            )

    @property
    def words(self) -> int:
        """Words of a record: whole cache lines."""
        return -(-max(feature.words for feature in self.features) // LINE) * LINE

    @property
    def grace(self) -> int:
        """Freed records that wait before one is used again, for readers on their way to it."""
        return max(min(1024, self.max_rows // 16), 1)

    @property
    def bytes(self) -> int:
        """Of the records and the sketch when the table is full."""
        return 4 * self.words * self.capacity + self.sketch_bytes

    @property
    def capacity(self) -> int:
        """Records there is room for: shared, in use, and waiting."""
        return len(self.features) + self.max_rows + self.grace + 1
