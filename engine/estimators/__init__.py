"""Off-policy estimators: what another policy would have earned, from sums that add."""

from engine.estimators.verdict import Thresholds, Verdict, judge
from engine.estimators.weighted import Estimate, WeightedSums

__all__ = ["Estimate", "Thresholds", "Verdict", "WeightedSums", "judge"]
