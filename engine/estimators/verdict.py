"""Whether an off-policy estimate can be trusted, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.estimators.weighted import WeightedSums

__all__ = ["Thresholds", "Verdict", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Below ``refuse_*`` an estimate is refused, below ``caution_*`` it is to be read with care.

    Parameters
    ----------
    refuse_ess, caution_ess
        Effective sample size.
    refuse_rewarded, caution_rewarded
        Effective number of rewarded slates.
    caution_share
        Largest share one weight may have in the sum of weights.
    refuse_clusters, caution_clusters
        Independent users, or slates where users are not named.
    weight_errors
        How many standard errors the mean weight may lie from 1.
    refuse_unsupported, caution_unsupported
        Target probability on items the log could not have shown, or shows too rarely.
    """

    refuse_ess: float = 50.0
    caution_ess: float = 500.0
    refuse_rewarded: float = 20.0
    caution_rewarded: float = 200.0
    caution_share: float = 0.1
    weight_errors: float = 4.0
    refuse_clusters: int = 5
    caution_clusters: int = 30
    refuse_unsupported: float = 0.05
    caution_unsupported: float = 0.001


@dataclass(slots=True)
class Verdict:
    """``trust``, ``caution`` or ``refuse``, with reasons for whatever is not trust."""

    verdict: str = "trust"
    reasons: list[str] = field(default_factory=list)

    def lower(self, verdict: str, reason: str) -> None:
        """Note a reason; the verdict never rises again."""
        order = ("trust", "caution", "refuse")
        self.verdict = max(self.verdict, verdict, key=order.index)
        self.reasons.append(reason)


def judge(
    sums: WeightedSums,
    *,
    deterministic: float = 0.0,
    unsupported: float = 0.0,
    thresholds: Thresholds | None = None,
) -> Verdict:
    """Judge the estimates of some sums.

    Parameters
    ----------
    deterministic
        Share of the log's slots that were certain (propensity 1 with a choice to be made).
    unsupported
        Mean target probability on candidates the log could not have shown.
    """
    limits = thresholds or Thresholds()
    verdict = Verdict()
    ips = sums.estimates()[0]
    if ips.value is None or ips.max_weight <= 0:
        verdict.lower("refuse", "no logged slate could have been shown by this policy")
        return verdict
    if deterministic > 0.5:
        verdict.lower(
            "refuse",
            f"{deterministic:.0%} of the logged choices were certain: the log says nothing of "
            "other choices. Serve with a floor or another exploration",
        )
    _judge_size(verdict, "effective sample size", ips.ess, limits.refuse_ess, limits.caution_ess)
    _judge_size(
        verdict,
        "effective number of rewarded slates",
        sums.effective_rewarded,
        limits.refuse_rewarded,
        limits.caution_rewarded,
    )
    clusters = sums.clusters
    _judge_size(
        verdict,
        "number of users (slates where none is named)",
        clusters,
        limits.refuse_clusters,
        limits.caution_clusters,
    )
    _judge_weight(verdict, ips.mean_weight - 1.0, sums.mean_weight_error, limits.weight_errors)
    if sums.top_share > limits.caution_share:
        verdict.lower("caution", f"one slate holds {sums.top_share:.0%} of all weight")
    if unsupported > limits.caution_unsupported:
        worst = "refuse" if unsupported > limits.refuse_unsupported else "caution"
        verdict.lower(
            worst,
            f"the policy puts {unsupported:.1%} of its probability on items that the log never "
            "shows there: their rewards are unknown",
        )
    return verdict


def _judge_weight(verdict: Verdict, off: float, error: float, allowed: float) -> None:
    if abs(off) <= max(allowed * error, 1e-9):
        return
    reason = f"the mean weight is {1 + off:.3f}"
    if error > 0:
        reason += (
            f", {abs(off) / error:.1f} standard errors from 1: logged propensities may be wrong, "
            "or items be missing from the log"
        )
    else:
        reason += " and every weight the same: too few exploratory choices were logged"
    verdict.lower("caution", reason)


def _judge_size(verdict: Verdict, name: str, size: float, refuse: float, caution: float) -> None:
    if size < max(refuse, caution):
        level, wanted = ("refuse", refuse) if size < refuse else ("caution", caution)
        verdict.lower(level, f"the {name} is {size:.1f}, below {wanted:g}")
