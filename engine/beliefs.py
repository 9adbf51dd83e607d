"""What is believed of candidates, and the slates made of it: arrays over a batch of requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Belief", "Joint", "Slates"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NOT_GIVEN: Any = None  # filled in when made


class Joint:
    """Beliefs of candidates that share parameters: ``mean + features @ factor @ z + own · ε``.

    Parameters
    ----------
    features
        ``(offsets[-1], f)``, or a function that makes them when first asked for: they are large,
        and only joint draws need them.
    factor
        ``(f, f)``, lower triangle, of the shared parameters' covariance. z is ``(f,)`` standard
        normal, one for all candidates of a request.
    independent
        ``(offsets[-1],)``, the standard deviation that is a candidate's own; ε is standard normal,
        one a candidate. Zeros when not given.
    """

    __slots__ = ("_features", "_independent", "factor")

    def __init__(
        self,
        *,
        features: Floats | Callable[[], Floats],
        factor: Floats,
        independent: Floats | None = None,
    ) -> None:
        self._features = features
        self._independent = independent
        self.factor = factor

    @property
    def features(self) -> Floats:
        """Rows that multiply the shared parameters, ``(offsets[-1], f)``."""
        if callable(self._features):
            self._features = self._features()
        return self._features

    @property
    def independent(self) -> Floats:
        """Standard deviation of a candidate's own part, ``(offsets[-1],)``."""
        if self._independent is None:
            self._independent = np.zeros(len(self.features))
        return self._independent

    def only(self, kept: Flags) -> Joint:
        """Return the beliefs of the marked candidates alone, ``kept (offsets[-1],)``."""
        own = self._independent
        return Joint(
            features=lambda: self.features[kept],
            factor=self.factor,
            independent=None if own is None else own[kept],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What a model believes of every candidate of a batch, flat like `Requests.rows`.

    ``family`` is the shape of one candidate's uncertainty: ``normal`` N(mean, sd²), ``beta``
    Beta(a, b), ``gamma`` Gamma(shape a, rate b), ``student`` (t with a degrees of freedom, located
    at mean, scale b), ``logit`` (the log-odds of the reward are N(a, b²)), ``edges`` (normal, sd
    infinite where nothing is known) or ``mean`` (no distribution is told; sd is 0, or the spread
    of the replicas).
    """

    family: str
    mean: Floats  # expected reward
    sd: Floats  # its standard deviation, for rewards of unit noise
    noise: Floats  # variance of a reward about its mean; 1 where sd holds it already
    count: Floats  # weight of the outcomes learned from
    total: float  # the same over all items of the policy
    a: Floats = NOT_GIVEN  # see family; empty when it has none
    b: Floats = NOT_GIVEN
    replicas: Floats = NOT_GIVEN  # (R, offsets[-1]) means of bootstrap replicas; R = 0 without
    joint: Joint | None = None  # None: candidates' beliefs are independent

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.empty(0))
        if self.replicas is None:
            object.__setattr__(self, "replicas", np.empty((0, len(self.mean))))

    def only(self, kept: Flags) -> Belief:
        """Return the beliefs of the marked candidates alone, ``kept (offsets[-1],)``."""
        return Belief(
            family=self.family,
            mean=self.mean[kept],
            sd=self.sd[kept],
            noise=self.noise[kept],
            count=self.count[kept],
            total=self.total,
            a=self.a[kept] if len(self.a) else self.a,
            b=self.b[kept] if len(self.b) else self.b,
            replicas=self.replicas[:, kept],
            joint=self.joint and self.joint.only(kept),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slates:
    """Ordered lists, one row a request, with the probability of every choice."""

    picks: Ints  # (n, k) positions in the request's candidates
    score: Floats  # (n, k) expected reward
    propensity: Floats  # (n, k) probability of the pick given the slots before it
    error: Floats  # (n, k) 0 exact, absolute bound when quadrature, standard error when sampled
    method: str  # "exact", "quadrature" or "monte_carlo"; pinned slots are told apart below
    greedy: Flags  # (n, k) whether the pick had the highest mean of those left
    pinned: Flags = NOT_GIVEN  # (n, k) slots that the request itself filled: propensity 1
    recurrence: Ints = NOT_GIVEN  # (n, k) monte_carlo: draws until the pick came again, else 0

    def __post_init__(self) -> None:
        if self.pinned is None:
            object.__setattr__(self, "pinned", np.zeros(self.picks.shape, dtype=np.bool_))
        if self.recurrence is None:
            object.__setattr__(self, "recurrence", np.zeros(self.picks.shape, dtype=np.int64))

    @property
    def unbiased(self) -> Floats:
        """Propensities whose reciprocals are unbiased, ``(n, k)``: of an estimate, 1 / draws."""
        return np.where(self.recurrence > 0, 1.0 / np.maximum(self.recurrence, 1), self.propensity)

    def methods(self) -> list[list[str]]:
        """Name the method of every slot, ``(n, k)``."""
        return [["pinned" if pin else self.method for pin in row] for row in self.pinned.tolist()]
