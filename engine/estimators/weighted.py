"""Importance-weighted estimators as mergeable sums: IPS, clipped IPS and SNIPS.

The unit is a slate. With ``w_l`` the product over slots 1…l of target over logged conditional
propensities, IPS is the mean of ``Σ_l w_l r_l``: unbiased when the reward of a slot depends on
the slots up to it (RIPS; McInerney et al. 2020). With one slot it is plain IPS. Clipped IPS uses
``min(w_l, clip)``; SNIPS divides the sum of each slot by its summed weight instead of n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError, ShapeError

__all__ = ["Estimate", "WeightedSums"]

NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One estimator's answer; None where the log gives none.

    ``se`` and ``ci`` (95 %) are by the delta method, over clusters. ``ess``, ``max_weight`` and
    ``mean_weight`` are of whole slates: the weight at the last slot a slate has.
    """

    estimator: str
    value: float | None
    se: float | None
    ci: tuple[float, float] | None
    ess: float
    max_weight: float
    mean_weight: float
    n: int


class WeightedSums:
    """Sums from which all three estimators, their errors and diagnostics are derived.

    Parameters
    ----------
    slots
        Number of slots k of the longest slate.
    clip
        Largest weight clipped IPS uses.
    """

    def __init__(self, slots: int, *, clip: float = 10.0) -> None:
        if slots < 1 or not clip > 0:
            raise ConfigError(f"slots is {slots} and clip {clip}; give 1 or more, and above 0")
        self.slots = slots
        self.clip = clip
        self.n = 0
        # Per cluster: k of Σ s w r, k of Σ s min(w, clip) r, k of Σ s w, one Σ s.
        self._sum = np.zeros(3 * slots + 1)
        self._products = np.zeros((3 * slots + 1, 3 * slots + 1))
        self._clusters = 0
        self._weights = np.zeros((2, 3))  # raw and clipped: Σ w, Σ w² and max w of whole slates
        self._rewarded = np.zeros(2)  # Σ and Σ ² of a slate's weighted reward

    def add(
        self,
        weight: Floats,
        reward: Floats,
        *,
        sampling: Floats | None = None,
        shown: Floats | None = None,
        cluster: Ints | None = None,
    ) -> None:
        """Add slates.

        Parameters
        ----------
        weight, reward
            ``(n, k)``: ``w_l`` and ``r_l`` of each slot.
        sampling
            1 / sampling rate of each slate, ``(n,)``; 1 when not given.
        shown
            1 where the slate has the slot, else 0, ``(n, k)``; all 1 when not given.
        cluster
            Label of each slate's cluster (a user, say), ``(n,)``: slates of one are not taken
            for independent. A cluster must be added whole in one call.

        Raises
        ------
        ShapeError
            When shapes do not fit, or a weight or reward is negative or not finite.
        """
        n = len(weight)
        if weight.shape != (n, self.slots) or reward.shape != weight.shape:
            raise ShapeError(
                f"weight is {weight.shape} and reward {reward.shape}; give (n, {self.slots})"
            )
        if not (np.isfinite(weight).all() and np.isfinite(reward).all() and np.all(weight >= 0)):
            raise ShapeError("a weight or reward is not finite, or a weight is below 0")
        s = np.ones(n) if sampling is None else sampling
        present = np.ones_like(weight) if shown is None else shown
        raw, clipped = weight * present, np.minimum(weight, self.clip) * present
        rows = np.hstack([raw * reward, clipped * reward, raw, np.ones((n, 1))]) * s[:, None]
        if cluster is not None:
            labels, index = np.unique(cluster, return_inverse=True)
            grouped = np.zeros((len(labels), rows.shape[1]))
            np.add.at(grouped, index, rows)
            rows = grouped
        self.n += n
        self._clusters += len(rows)
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows
        last = np.maximum(present.sum(axis=1).astype(np.int64) - 1, 0)
        for kept, of_slots in zip(self._weights, (raw, clipped), strict=True):
            w = of_slots[np.arange(n), last]
            kept[:2] += w.sum(), w @ w
            kept[2] = max(kept[2], w.max(initial=0.0))
        earned = (raw * reward).sum(axis=1)
        self._rewarded += earned.sum(), (earned * earned).sum()

    def merge(self, other: WeightedSums) -> WeightedSums:
        """Sums of both; ``ShapeError`` when slots or clip differ."""
        if (self.slots, self.clip) != (other.slots, other.clip):
            raise ShapeError("sums of other slots or another clip cannot be merged")
        whole = WeightedSums(self.slots, clip=self.clip)
        whole.n = self.n + other.n
        whole._clusters = self._clusters + other._clusters
        whole._sum = self._sum + other._sum
        whole._products = self._products + other._products
        whole._weights = self._weights + other._weights
        both = np.maximum(self._weights[:, 2], other._weights[:, 2])
        whole._weights[:, 2] = both
        whole._rewarded = self._rewarded + other._rewarded
        return whole

    @property
    def effective_rewarded(self) -> float:
        """(Σ w r)² / Σ (w r)²: how many rewarded slates carry the estimate."""
        total, squares = self._rewarded
        return float(total * total / squares) if squares > 0 else 0.0

    @property
    def mean_weight_error(self) -> float:
        """Standard error of the mean weight."""
        total, squares, _ = self._weights[0]
        n = max(self.n, 1)
        return math.sqrt(max(squares / n - (total / n) ** 2, 0.0) / n)

    @property
    def top_share(self) -> float:
        """Share of the largest weight in the sum of weights."""
        total, _, largest = self._weights[0]
        return float(largest / total) if total > 0 else 0.0

    def estimates(self) -> list[Estimate]:
        """Return IPS, clipped IPS and SNIPS."""
        k = self.slots
        zero = np.zeros(3 * k + 1)
        size = self._sum[-1]
        each = []
        for name, start, which in (("ips", 0, 0), ("clipped_ips", k, 1)):
            value, gradient = 0.0, zero.copy()
            if size > 0:
                value = self._sum[start : start + k].sum() / size
                gradient[start : start + k] = 1.0 / size
                gradient[-1] = -value / size
            each.append(self._estimate(name, which, value, gradient, known=size > 0))
        total = self._sum[2 * k : 3 * k]
        value, gradient = 0.0, zero.copy()
        known = bool(np.all(total > 0))
        if known:
            ratios = self._sum[:k] / total
            value = float(ratios.sum())
            gradient[:k] = 1.0 / total
            gradient[2 * k : 3 * k] = -ratios / total
        each.append(self._estimate("snips", 0, value, gradient, known=known))
        return each

    def _estimate(
        self, name: str, which: int, value: float, gradient: Floats, *, known: bool
    ) -> Estimate:
        total, squares, largest = self._weights[which]
        # Clusters' deviations have mean zero by construction, so this is their sum of squares.
        variance = float(gradient @ self._products @ gradient)
        se = math.sqrt(max(variance, 0.0))
        if self._clusters > 1:
            se *= math.sqrt(self._clusters / (self._clusters - 1))
        spread = NORMAL_95 * se
        return Estimate(
            estimator=name,
            value=float(value) if known else None,
            se=se if known else None,
            ci=(float(value - spread), float(value + spread)) if known else None,
            ess=float(total * total / squares) if squares > 0 else 0.0,
            max_weight=float(largest),
            mean_weight=float(total / self.n) if self.n else 0.0,
            n=self.n,
        )
