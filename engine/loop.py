"""Decide and learn, event by event, at the speed of compiled code.

For worlds and tables where every arm's reward is known, so that a run needs nothing from outside
between two events. `LinearLoop` is a disjoint linear policy: the sums of `DisjointLinear` and the
same choices, with means and inverses kept up to date instead of derived anew. They are derived
from the sums again on a fixed grid of events, so that rounding does not pile up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine.batches import Floats, Ints, Keys, hash_key
from engine.errors import ConfigError, ShapeError
from engine.kernels import arms as kernels
from engine.kernels.linear import derive_ridge
from engine.kernels.loop import bound_widths, decide_densely, decide_lazily
from engine.kernels.loop_columnwise import decide_columnwise
from engine.kernels.random import fold_keys
from engine.kernels.sums import add_rows, update_gram
from engine.models.ridge import check_ridge, flat_prior
from engine.state import State

__all__ = ["ColumnwiseLoop", "LinearLoop", "LoopResult", "LoopSettings", "run_linear"]

LoopKind = Literal["greedy", "ucb", "thompson", "squarecb"]
KINDS = {
    "greedy": kernels.GREEDY,
    "ucb": kernels.UCB,
    "thompson": kernels.THOMPSON,
    "squarecb": kernels.SQUARECB,
}
BLOCK = 1024  # events between looks at what pruning saves
STALE = 256  # updates after which an arm's inverse is derived from its sums again
WHITENED = (1, 4, 16, 64, 256)  # blocks after which widths are bounded by other moments
FEW_ARMS = 32  # below it arms innermost gain nothing
MAX_SHARE = 0.3  # of arms evaluated exactly, above which evaluating all costs less
MAX_PATIENCE = 64  # blocks evaluated densely before pruning is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """What a loop chose and earned; ``exact_share`` of the arms needed their exact width."""

    picks: Ints  # (n,)
    rewards: Floats  # (n,)
    exact_share: float
    dense_share: float  # of events for which every width was evaluated


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How a loop chooses.

    Parameters
    ----------
    exploration
        ``greedy``, ``ucb``, ``thompson`` (a fresh draw of every arm) or ``squarecb`` (inverse gap
        weighting with γ = gamma · √t).
    alpha
        Width of UCB and Thompson.
    ridge
        The prior's precision is ``ridge · d``, as in `DisjointLinear`.
    floor
        Probability of a uniform pick.
    """

    exploration: LoopKind = "ucb"
    alpha: float = 0.35
    ridge: float = 0.01
    gamma: float = 10.0
    floor: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_ridge(self.ridge)
        if self.exploration not in KINDS:
            raise ConfigError(
                f"exploration is {self.exploration!r}; give one of {', '.join(KINDS)}"
            )
        given = (self.alpha, self.gamma, self.floor)
        if not (0 <= given[0] < np.inf and 0 <= given[1] < np.inf and 0 <= given[2] <= 1):
            raise ConfigError(
                f"alpha, gamma and floor are {given}; give numbers of 0 or more, and a floor of "
                "at most 1"
            )

    @property
    def kind(self) -> int:
        """Number of the exploration in the kernels; without width it is greedy."""
        alike = self.exploration in {"ucb", "thompson"} and not self.alpha
        return kernels.GREEDY if alike else KINDS[self.exploration]


class Loop(ABC):
    """A policy of ``items`` arms over context rows of ``d`` columns, that decides and learns."""

    def __init__(self, d: int, items: int | Sequence[str], settings: LoopSettings) -> None:
        ids = [f"arm-{i}" for i in range(items)] if isinstance(items, int) else list(items)
        if d < 1 or not ids:
            raise ShapeError(f"d is {d} and there are {len(ids)} items; give 1 or more of both")
        self.item_ids = ids
        self._kind = settings.kind
        self._settings = np.array([settings.alpha, settings.gamma, settings.floor, 0.0])
        self._seed = np.uint64(settings.seed)
        self._item_keys = np.array([hash_key(item_id) for item_id in ids], dtype=np.uint64)
        self._theta = np.zeros((d, len(ids)))

    @property
    def events(self) -> int:
        """How many events were decided and learned."""
        return int(self._settings[3])

    def run(self, x: Floats, rewards: Floats) -> LoopResult:
        """Decide and learn from events ``x (n, d)`` with every arm's ``rewards (n, K)``.

        Runs may be cut anywhere: the next goes on where the last ended.

        Raises
        ------
        ShapeError
            When the arrays do not fit, or hold what is not finite.
        """
        x, rewards = np.ascontiguousarray(x, float), np.ascontiguousarray(rewards, float)
        d, m = self._theta.shape
        if x.ndim != 2 or x.shape[1] != d or rewards.shape != (len(x), m):
            raise ShapeError(f"x is {x.shape} and rewards {rewards.shape}; give (n, {d}), (n, {m})")
        if not (np.isfinite(x).all() and np.isfinite(rewards).all()):
            raise ShapeError("x or rewards hold a value that is not finite")
        n, before = len(x), self.events
        picks, exact, dense, start = np.empty(n, dtype=np.int64), 0, 0, 0
        while start < n:
            stop = min(n, start + BLOCK - self.events % BLOCK)
            part = slice(start, stop)
            keys = fold_keys(self._seed, np.arange(before + start, before + stop, dtype=np.uint64))
            widths = self._step(x[part], rewards[part], keys, picks[part])
            exact += widths
            dense += (stop - start) * (widths == (stop - start) * m)
            self._settings[3] += stop - start
            start = stop
        return LoopResult(
            picks=picks,
            rewards=rewards[np.arange(n), picks],
            exact_share=exact / max(n * m, 1),
            dense_share=dense / max(n, 1),
        )

    @abstractmethod
    def _step(self, x: Floats, rewards: Floats, keys: Keys, picks: Ints) -> int:
        """Decide and learn a block. Writes: picks. Returns how many widths it evaluated."""


class LinearLoop(Loop):
    """A disjoint linear policy that decides and learns.

    Parameters
    ----------
    d, items
        Columns of a context row, and the arms.
    prune
        Bound widths where that pays; False evaluates every width of every event. The picks are
        the same.
    settings
        See `LoopSettings`.
    """

    def __init__(
        self, d: int, items: int | Sequence[str], *, prune: bool = True, **settings: Any
    ) -> None:
        given = LoopSettings(**settings)
        super().__init__(d, items, given)
        precision, m = given.ridge * d, len(self.item_ids)
        self._prior = flat_prior(precision, d)
        self._gram, self._moment = np.zeros((m, len(self._prior))), np.zeros((m, d))
        self._reward, self._square = np.zeros(m), np.zeros(m)
        self._covariance = np.tile(np.eye(d) / precision, (m, 1, 1))
        self._roots = np.stack([np.eye(d)] * 3)
        self._reach = np.full((2, m), np.sqrt(1.0 / precision) * (1.0 + 1e-9))
        self._counts, self._derived_at = np.zeros((2, m), np.int64), np.zeros(m, np.int64)
        self._columns: Floats | None = None  # the covariance, packed, arms innermost, while dense
        self._forms, self._patience, self._wait = 0, 1, 0
        self._has_widths = self._kind in {kernels.UCB, kernels.THOMPSON}
        if not prune and self._has_widths:
            self._evaluate_all()
            self._patience = self._wait = np.iinfo(np.int64).max

    def state(self) -> State:
        """Return the sums, as `DisjointLinear` keeps them."""
        d = len(self._theta)
        pairs = self._gram.shape[1]
        state = State({"count": (), "reward": (), "square": (), "gram": (pairs,), "moment": (d,)})
        state.put(
            self.item_ids,
            {
                "count": self._counts[0].astype(np.float64),
                "reward": self._reward,
                "square": self._square,
                "gram": self._gram,
                "moment": self._moment,
            },
        )
        return state

    def _step(self, x: Floats, rewards: Floats, keys: Keys, picks: Ints) -> int:
        widths = self._decide(x, rewards, keys, picks)
        self._forms += widths
        self._learn(x, rewards, picks)
        blocks, rest = divmod(self.events + len(x), BLOCK)
        if not rest:
            self._derive_stale()
            self._choose_kernel()
            if blocks in WHITENED and self._columns is None:
                self._whiten(self.events + len(x))
        return widths

    def _decide(self, x: Floats, rewards: Floats, keys: Keys, picks: Ints) -> int:
        given = (self._kind, x, rewards, keys, self._item_keys, self._settings, self._theta)
        if self._columns is not None:
            decide_densely(*given, self._columns, self._counts, picks)
            return len(x) * len(self.item_ids)
        return decide_lazily(
            *given, self._covariance, self._roots, self._reach, self._counts, picks
        )

    def _learn(self, x: Floats, rewards: Floats, picks: Ints) -> None:
        """Add the block to the sums."""
        reward, ones = rewards[np.arange(len(x)), picks], np.ones(len(x))
        update_gram(self._gram, self._moment, picks, x, reward, ones)
        add_rows(self._reward, picks, reward)
        add_rows(self._square, picks, reward * reward)

    def _derive_stale(self) -> None:
        arms = np.flatnonzero(self._counts[0] - self._derived_at >= STALE)
        if not len(arms):
            return
        d = len(self._theta)
        # An arm whose sums rounding left indefinite keeps what it has.
        theta = np.ascontiguousarray(self._theta[:, arms].T)
        if self._columns is not None:
            packed = np.ascontiguousarray(self._columns[:, arms].T)
        else:
            upper = np.triu_indices(d)
            packed = np.ascontiguousarray(self._covariance[arms][:, upper[0], upper[1]])
        derive_ridge(self._gram[arms], self._moment[arms], self._prior, theta, packed)
        self._theta[:, arms] = theta.T
        if self._columns is not None:
            self._columns[:, arms] = packed.T
        else:
            self._covariance[arms] = _unpack(packed, d)
        self._derived_at[arms] = self._counts[0, arms]

    def _choose_kernel(self) -> None:
        """Evaluate all arms where pruning costs more; try pruning again ever more rarely."""
        share, self._forms = self._forms / (BLOCK * len(self.item_ids)), 0
        if len(self.item_ids) < FEW_ARMS or not self._has_widths:
            return
        if self._columns is None and share > MAX_SHARE:
            self._evaluate_all()
            self._wait, self._patience = self._patience, min(2 * self._patience, MAX_PATIENCE)
        elif self._columns is None:
            self._patience = max(self._patience // 2, 1)
        elif self._wait > 0:
            self._wait -= 1
        else:
            self._covariance = _unpack(np.ascontiguousarray(self._columns.T), len(self._theta))
            self._columns = None
            for which in range(2):
                bound_widths(self._covariance, self._roots[which], self._reach[which])

    def _evaluate_all(self) -> None:
        upper = np.triu_indices(len(self._theta))
        self._columns = np.ascontiguousarray(self._covariance[:, upper[0], upper[1]].T)

    def _whiten(self, events: int) -> None:
        """Bound widths by the contexts' own second moments, which fit better than a sphere."""
        moments = _unpack(self._gram.sum(axis=0)[None, :] / events, len(self._theta))[0]
        moments[np.diag_indices_from(moments)] += 1e-6 * np.trace(moments) / len(moments) + 1e-300
        root = np.linalg.cholesky(moments)
        self._roots[1:] = root, np.linalg.inv(root)
        bound_widths(self._covariance, root, self._reach[1])


def _unpack(packed: Floats, d: int) -> Floats:
    """Symmetric matrices ``(m, d, d)`` of packed upper triangles."""
    full = np.empty((len(packed), d, d))
    i, j = np.triu_indices(d)
    full[:, i, j], full[:, j, i] = packed, packed
    return full


class ColumnwiseLoop(Loop):
    """A `ColumnwiseLinear` policy that decides and learns; ``settings`` are `LoopSettings`."""

    def __init__(self, d: int, items: int | Sequence[str], **settings: Any) -> None:
        given = LoopSettings(**settings)
        super().__init__(d, items, given)
        self._variance = np.full(self._theta.T.shape, 1.0 / (given.ridge * d))
        self._reach = np.sqrt(self._variance[:, 0])

    def _step(self, x: Floats, rewards: Floats, keys: Keys, picks: Ints) -> int:
        given = (self._kind, x, rewards, keys, self._item_keys, self._settings)
        return decide_columnwise(*given, self._theta, self._variance, self._reach, picks)


def run_linear(x: Floats, rewards: Floats, *, prune: bool = True, **settings: Any) -> LoopResult:
    """Run a new `LinearLoop` over events ``x (n, d)`` with every arm's ``rewards (n, K)``."""
    return LinearLoop(x.shape[1], rewards.shape[1], prune=prune, **settings).run(x, rewards)
