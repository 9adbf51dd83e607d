"""Thompson sampling: show what is best in a world drawn from the beliefs.

How propensities are got follows from what is drawn: one-dimensional quadrature when candidates'
beliefs are independent, counting when they share parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batches import Belief, Floats, Ints, Requests, Slates
from engine.errors import ConfigError
from engine.exploration.base import Exploration, Method, Terms, gather_slates
from engine.kernels.families import BETA, GAMMA, NORMAL, STUDENT
from engine.kernels.slates import draw_by_belief
from engine.kernels.thompson import integrate_wins
from engine.kernels.thompson_joint import draw_jointly
from engine.kernels.thompson_normal import draw_normal_slates
from engine.kernels.thompson_slate import draw_once, integrate_slates
from engine.models.base import Model

__all__ = ["QUADRATURE_BOUND", "MarginalThompson", "Thompson"]

QUADRATURE_BOUND = 1e-6
"""Largest absolute error of a probability by quadrature, tested over eight decades of spread."""

PREFIX_BOUND = 1e-9
"""Over the least probability of a slot before: the bound of one drawn once a slate."""

LEAST_SPREAD = 1e-9
"""In units of a belief's location: narrower ones are drawn this wide, so that draws told apart by
more than rounding decide, and alike candidates without any spread share a slot equally."""

LEAST_SCALE = 1e-30  # the same where the location is 0

FAMILIES = {"normal": NORMAL, "logit": NORMAL, "beta": BETA, "gamma": GAMMA, "student": STUDENT}
DRAWS = ("slot", "slate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thompson(Exploration):
    """Every candidate left is drawn from its belief, and the highest is shown.

    Beliefs that share parameters are drawn jointly, and their propensities counted in ``samples``
    further draws.

    Parameters
    ----------
    alpha
        Scales the spread of normal, logit and student beliefs; beta and gamma beliefs are drawn
        as they are.
    draws
        ``slot`` draws afresh for every slot; ``slate`` once for all slots of a slate (Eide et
        al. 2022 tell both), so that later slots rest on the same draw.
    samples
        Draws that propensities of joint draws are counted in.
    """

    alpha: float = 0.25
    draws: str = "slot"
    samples: int = 1000

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.draws not in DRAWS:
            raise ConfigError(f"draws is {self.draws!r}; give 'slot' or 'slate'")
        if self.samples < 1:
            raise ConfigError(f"samples is {self.samples}; give 1 or more")

    @property
    def slotwise(self) -> bool:
        """Whether a slot's choice depends on the slots before it by what they took alone."""
        return self.draws == "slot"

    def check(self, model: Model) -> None:
        """Refuse beliefs whose distribution is not known here."""
        check_family(model, FAMILIES)
        if model.traits.correlated:
            check_family(model, ("normal", "logit"))
            if self.draws == "slate":
                raise ConfigError(
                    f"one draw a slate cannot state propensities for {type(model).__name__}, "
                    "whose candidates share parameters; use draws=slot, or marginal-thompson"
                )

    def method(self, model: Model) -> Method:
        """How propensities over a model's beliefs are got."""
        return "monte_carlo" if model.traits.correlated else "quadrature"

    def shifts(self, model: Model) -> bool:
        """Whether beliefs are drawn about their means, so that adding to those moves them."""
        return model.traits.family in {"normal", "student"}

    def draw(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        if belief.joint is not None:
            return self._draw_jointly(belief, requests, picks, terms)
        if self.draws == "slate":
            return self._draw_once(belief, requests, picks, terms)
        return draw_marginals(belief, requests, picks, self.alpha, terms)

    def _draw_once(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        drawn = parameters(belief, self.alpha)
        offsets, item_keys, keys, seed, _, floor = terms.given(requests)
        draw_once(*drawn, offsets, item_keys, keys, seed, floor, picks)
        propensity = np.empty(picks.shape)
        integrate_slates(*drawn, offsets, floor, picks, propensity)
        least = np.minimum.accumulate(propensity, axis=1)
        error = np.full(picks.shape, QUADRATURE_BOUND)
        with np.errstate(divide="ignore"):
            error[:, 1:] = np.clip(PREFIX_BOUND / least[:, :-1], QUADRATURE_BOUND, 1.0)
        error[_left(requests, picks) == 1] = 0.0
        return gather_slates(belief, requests, picks, propensity, method="quadrature", error=error)

    def _draw_jointly(
        self, belief: Belief, requests: Requests, picks: Ints, terms: Terms
    ) -> Slates:
        assert belief.joint is not None  # noqa: S101
        location = belief.a if belief.family == "logit" else belief.mean
        hits, recurrence = np.empty(picks.shape), np.empty(picks.shape, dtype=np.int64)
        draw_jointly(
            location,
            np.ascontiguousarray(belief.joint.features),
            self.alpha * np.ascontiguousarray(belief.joint.factor),
            self.alpha * belief.joint.independent,
            *terms.given(requests),
            self.samples,
            picks,
            hits,
            recurrence,
        )
        left = _left(requests, picks)
        # Half a hit and half a miss more, for no number of draws makes a share certain.
        share = (hits * self.samples + 0.5) / (self.samples + 1.0)
        error = (1.0 - terms.floor) * np.sqrt(share * (1.0 - share) / self.samples)
        error[left == 1] = 0.0
        return gather_slates(
            belief,
            requests,
            picks,
            mix_floor(hits, terms.floor, left),
            method="monte_carlo",
            error=error,
            recurrence=recurrence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalThompson(Exploration):
    """Thompson sampling as if candidates that share parameters did not.

    Each is drawn from its own marginal, apart from the others: another policy than Thompson
    sampling, with propensities by quadrature instead of counting.

    Parameters
    ----------
    alpha
        Scales the spread of beliefs.
    """

    alpha: float = 0.25

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def check(self, model: Model) -> None:
        """Refuse unknown distributions, and beliefs that are independent anyway."""
        check_family(model, FAMILIES)
        if not model.traits.correlated:
            raise ConfigError(
                f"the candidates of {type(model).__name__} are independent: marginal-thompson is "
                "thompson there; use that"
            )

    def method(self, model: Model) -> Method:
        """How propensities over a model's beliefs are got."""
        return "quadrature"

    def shifts(self, model: Model) -> bool:
        """Whether beliefs are drawn about their means, so that adding to those moves them."""
        return model.traits.family in {"normal", "student"}

    def draw(self, belief: Belief, requests: Requests, picks: Ints, terms: Terms) -> Slates:
        """Fill ``picks`` and state each one's propensity."""
        return draw_marginals(belief, requests, picks, self.alpha, terms)


def draw_marginals(
    belief: Belief, requests: Requests, picks: Ints, alpha: float, terms: Terms
) -> Slates:
    """Fill ``picks`` with the highest of independent draws, fresh for every slot."""
    wins = draw_independent(parameters(belief, alpha), requests, picks, terms)
    left = _left(requests, picks)
    error = np.where(left == 1, 0.0, (1.0 - terms.floor) * QUADRATURE_BOUND)
    propensity = mix_floor(wins, terms.floor, left)
    return gather_slates(belief, requests, picks, propensity, method="quadrature", error=error)


def draw_independent(
    drawn: tuple[int, Floats, Floats, Floats], requests: Requests, picks: Ints, terms: Terms
) -> Floats:
    """Fill ``picks``; return the probability that each one's draw is highest, ``(n, k)``."""
    family, p, q, r = drawn
    wins = np.empty(picks.shape)
    if family != NORMAL:
        draw_by_belief(family, p, q, r, *terms.given(requests), picks)
        integrate_wins(family, p, q, r, requests.offsets, picks, wins)
        return wins
    left_out = np.empty(len(picks), dtype=np.bool_)
    draw_normal_slates(p, q, *terms.given(requests), picks, wins, left_out)
    if left_out.any():
        kept = left_out[requests.of_candidate]
        found = np.empty((int(left_out.sum()), picks.shape[1]))
        offsets = requests.only(kept).offsets[np.append(left_out, True)]
        integrate_wins(family, p[kept], q[kept], r, offsets, picks[left_out], found)
        wins[left_out] = found
    return wins


def parameters(belief: Belief, alpha: float) -> tuple[int, Floats, Floats, Floats]:
    """Return a belief as `engine.kernels.families` has it: family, p, q and r."""
    none = np.empty(0)
    if belief.family in {"beta", "gamma"}:
        return FAMILIES[belief.family], belief.a, belief.b, none
    if belief.family == "student":
        return STUDENT, belief.mean, widen(belief.mean, alpha * belief.b), belief.a
    if belief.family == "logit":
        return NORMAL, belief.a, widen(belief.a, alpha * belief.b), none
    return NORMAL, belief.mean, widen(belief.mean, alpha * belief.sd), none


def widen(location: Floats, spread: Floats) -> Floats:
    """Return spreads of at least `LEAST_SPREAD`: a point has no density to integrate."""
    return np.maximum(spread, np.maximum(LEAST_SPREAD * np.abs(location), LEAST_SCALE))


def mix_floor(wins: Floats, floor: float, left: Ints) -> Floats:
    """Mix a slot's probabilities with a uniform pick of those left; the last one is certain."""
    return np.where(left == 1, 1.0, (1.0 - floor) * wins + floor / left)


def check_alpha(alpha: float) -> None:
    """Raise ``ConfigError`` when a scale of spreads is not above 0."""
    if not 0 < alpha < np.inf:
        raise ConfigError(f"alpha is {alpha}; give a number above 0")


def check_family(model: Model, known: dict[str, int] | tuple[str, ...]) -> None:
    """Raise ``ConfigError`` when a model's beliefs are of no known distribution."""
    if model.traits.family not in known:
        raise ConfigError(
            f"Thompson sampling cannot state propensities for {model.traits.family!r} beliefs of "
            f"{type(model).__name__}; use a model with {', '.join(known)} beliefs, "
            "or another exploration"
        )


def _left(requests: Requests, picks: Ints) -> Ints:
    """How many candidates are left to each slot, ``(n, k)``."""
    return np.diff(requests.offsets)[:, None] - np.arange(picks.shape[1])
