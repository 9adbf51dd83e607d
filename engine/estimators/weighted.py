"""Importance-weighted estimators as mergeable sums: IPS, clipped IPS and SNIPS.

The unit is a slate. With ``w_l`` the product over slots 1…l of target over logged conditional
propensities, IPS is the mean of ``Σ_l w_l r_l``: unbiased when the reward of a slot depends on
the slots up to it (RIPS; McInerney et al. 2020). With one slot it is plain IPS. Clipped IPS uses
``min(w_l, clip)``; SNIPS divides the sum of each slot by its summed weight instead of by the
number of slates that have it. All estimate the mean reward a slate, whatever its length.
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

    That is without any weight, and for SNIPS without any in a slot. ``se`` and ``ci`` (95 %) are
    by the delta method, over clusters, and None with fewer than two. ``ess``, ``max_weight`` and
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
        # Per cluster: k of Σ s w r, k of Σ s min(w, clip) r, k of Σ s w, k of Σ s over the slates
        # that have the slot, one Σ s.
        self._sum = np.zeros(4 * slots + 1)
        self._products = np.zeros((4 * slots + 1, 4 * slots + 1))
        self._clusters = 0
        # Of whole slates, raw and clipped: Σ s w, Σ s² w², Σ s² w, Σ s²; max s w and max w.
        self._weights = np.zeros((2, 4))
        self._largest = np.zeros((2, 2))
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
            When shapes do not fit, a number is not finite, a weight is below 0 or a sampling
            weight not above 0.
        """
        n = len(weight)
        if weight.shape != (n, self.slots) or reward.shape != weight.shape:
            raise ShapeError(
                f"weight is {weight.shape} and reward {reward.shape}; give (n, {self.slots})"
            )
        if not (np.isfinite(weight).all() and np.isfinite(reward).all() and np.all(weight >= 0)):
            raise ShapeError("a weight or reward is not finite, or a weight is below 0")
        s = np.ones(n) if sampling is None else sampling
        if s.shape != (n,) or not np.all((s > 0) & np.isfinite(s)):
            raise ShapeError(f"sampling is {s.shape}; give ({n},) numbers above 0")
        present = np.ones_like(weight) if shown is None else shown
        raw, clipped = weight * present, np.minimum(weight, self.clip) * present
        columns = [raw * reward, clipped * reward, raw, present, np.ones((n, 1))]
        rows = np.hstack(columns) * s[:, None]
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
        for which, of_slots in enumerate((raw, clipped)):
            w = of_slots[np.arange(n), last]
            sw = s * w
            self._weights[which] += sw.sum(), sw @ sw, sw @ s, s @ s
            largest = sw.max(initial=0.0), w.max(initial=0.0)
            self._largest[which] = np.maximum(self._largest[which], largest)
        earned = np.abs(s * (raw * reward).sum(axis=1))
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
        whole._largest = np.maximum(self._largest, other._largest)
        whole._rewarded = self._rewarded + other._rewarded
        return whole

    @property
    def clusters(self) -> int:
        """Number of independent clusters: of slates where none were named."""
        return self._clusters

    @property
    def effective_rewarded(self) -> float:
        """(Σ |w r|)² / Σ (w r)²: how many rewarded slates carry the estimate."""
        total, squares = self._rewarded
        return float(total * total / squares) if squares > 0 else 0.0

    @property
    def mean_weight_error(self) -> float:
        """Standard error of the mean weight."""
        total, squares, cross, sampling = self._weights[0]
        size = self._sum[-1]
        if not size > 0:
            return 0.0
        mean = total / size
        deviations = squares - 2.0 * mean * cross + mean * mean * sampling
        return math.sqrt(max(float(deviations), 0.0)) / float(size)

    @property
    def top_share(self) -> float:
        """Share of the largest weight in the sum of weights."""
        total = self._weights[0, 0]
        return float(self._largest[0, 0] / total) if total > 0 else 0.0

    def estimates(self) -> list[Estimate]:
        """Return IPS, clipped IPS and SNIPS."""
        k = self.slots
        zero = np.zeros(4 * k + 1)
        size = self._sum[-1]
        total, having = self._sum[2 * k : 3 * k], self._sum[3 * k : 4 * k]
        known = bool(np.any(total > 0))
        each = []
        for name, start, which in (("ips", 0, 0), ("clipped_ips", k, 1)):
            value, gradient = 0.0, zero.copy()
            if known:
                value = self._sum[start : start + k].sum() / size
                gradient[start : start + k] = 1.0 / size
                gradient[-1] = -value / size
            each.append(self._estimate(name, which, value, gradient, known=known))
        value, gradient = 0.0, zero.copy()
        known = known and bool(np.all((total > 0) | (having == 0)))
        if known:
            # A slot counts by the share of slates that have it: their lengths may differ.
            some = np.where(having > 0, total, 1.0)
            share, ratios = having / size, self._sum[:k] / some
            value = float((share * ratios).sum())
            gradient[:k] = share / some
            gradient[2 * k : 3 * k] = -share * ratios / some
            gradient[3 * k : 4 * k] = ratios / size
            gradient[-1] = -value / size
        each.append(self._estimate("snips", 0, value, gradient, known=known))
        return each

    def _estimate(
        self, name: str, which: int, value: float, gradient: Floats, *, known: bool
    ) -> Estimate:
        total, squares = self._weights[which, :2]
        size, se = float(self._sum[-1]), None
        if known and self._clusters > 1:
            # Clusters' deviations have mean zero by construction: this is their sum of squares.
            variance = max(float(gradient @ self._products @ gradient), 0.0)
            se = math.sqrt(variance * self._clusters / (self._clusters - 1))
        spread = None if se is None else NORMAL_95 * se
        return Estimate(
            estimator=name,
            value=float(value) if known else None,
            se=se,
            ci=None if spread is None else (float(value - spread), float(value + spread)),
            ess=float(total * total / squares) if squares > 0 else 0.0,
            max_weight=float(self._largest[which, 1]),
            mean_weight=float(total) / size if size > 0 else 0.0,
            n=self.n,
        )
