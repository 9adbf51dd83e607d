"""KL-UCB: the highest mean that an item's successes do not rule out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats
from engine.errors import ConfigError
from engine.exploration.index import Indexed
from engine.kernels.explore import find_kl_bounds
from engine.models.base import Model

__all__ = ["KLUCB"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KLUCB(Indexed):
    """The largest q with ``n · kl(mean, q) ≤ log t + c log log t``, kl of Bernoullis.

    n is the weight of an item's outcomes, t that of all. An item without outcomes has q = 1.
    Source: Garivier and Cappé 2011, "The KL-UCB algorithm", equation 2. The mean is the
    belief's, which holds the prior; the paper's is the plain share of successes.

    Parameters
    ----------
    c
        3 in the paper's theorem, 0 as it recommends in practice.
    """

    c: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.c < np.inf:
            raise ConfigError(f"c is {self.c}; give 0 or a number above it")

    def check(self, model: Model) -> None:
        """Refuse means that are not shares of counted successes."""
        if model.traits.family != "beta":
            raise ConfigError(
                "kl-ucb bounds a rate by counts of successes, and "
                f"{type(model).__name__} has {model.traits.family!r} beliefs; use the beta model, "
                "or ucb on this one"
            )

    def shifts(self, model: Model) -> bool:
        """Return False: the bound is of the counts, and a mean beside them means nothing."""
        return False

    def score(self, belief: Belief) -> Floats:
        """Return the upper bound."""
        total = max(belief.total, 1.0)
        budget = math.log(total)
        if total > math.e:
            budget += self.c * math.log(math.log(total))
        bound = np.empty(len(belief.mean))
        find_kl_bounds(belief.mean, belief.count, budget, bound)
        return bound
