"""How attention falls along a slate: which outcomes say something of an item.

Both corrections leave sums additive: an outcome's share in them depends on its own slate alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.batches import Outcomes
from engine.errors import ConfigError

__all__ = ["Examination"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Chance that a slot was looked at.

    Parameters
    ----------
    cascade
        A slate is read from the top until its last reaction: later slots are not learned, all are
        when there was none. Source: Craswell et al. 2008, as extended to several clicks.
    chances
        Fixed chance of every slot, the last holding for all later ones: the reward expected of a
        slot is its chance times the item's own. Source: Craswell et al. 2008, examination
        hypothesis. Empty: every slot is looked at.
    """

    cascade: bool = False
    chances: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 < chance <= 1 for chance in self.chances):
            raise ConfigError(
                f"examination is {self.chances}; give chances above 0, at most 1, one a slot"
            )
        if self.cascade and self.chances:
            raise ConfigError("examination is both cascade and chances; give one of them")

    def apply(self, outcomes: Outcomes) -> Outcomes:
        """Outcomes of the slots that were, or may have been, looked at."""
        if self.cascade:
            kept = (outcomes.last < 0) | (outcomes.slot <= outcomes.last)
            return outcomes if kept.all() else outcomes.take(np.flatnonzero(kept))
        if self.chances:
            chances = np.array(self.chances)
            at = np.minimum(outcomes.slot, len(chances) - 1)
            return replace(outcomes, examination=chances[at])
        return outcomes
