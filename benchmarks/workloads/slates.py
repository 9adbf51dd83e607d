"""slate: ten slots from 1,000 items by Thompson sampling, with the propensity of every slot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.contest import Absent, Contender, Contest
from benchmarks.peers import vowpal
from benchmarks.peers.numpy_thompson import estimate_slate, integrate_slate
from benchmarks.workloads.learned import Learned, learn
from engine.batches import Requests
from engine.exploration.base import Terms

__all__ = ["contests"]

ALPHA, FLOOR = 0.25, 0.02
SPECS = {
    "full covariance": f"linear-thompson:alpha={ALPHA},floor={FLOOR}",
    "diagonal": f"columnwise-thompson:alpha={ALPHA},floor={FLOOR}",
}


def contests(quick: bool) -> Iterator[Contest]:
    """Scores given, and by the model; batches of 20 requests and one a call."""
    items, slots, columns, n, batch = (8, 3, 3, 80, 2) if quick else (1000, 10, 32, 20_000, 20)
    x = np.random.default_rng(9).normal(size=(batch, columns))
    for model, spec in SPECS.items():
        params = f"{slots} of {items:,}, {model}, d={columns}"
        given = learn(spec, items, columns, n)
        requests = given.requests(x)
        singles = [given.requests(x[i : i + 1]) for i in range(batch)]
        if model == "full covariance":
            scores = f"{slots} of {items:,}, scores given"
            yield from _both(scores, _draw(given, [requests], slots), _draw(given, singles, slots))
        yield from _both(params, _rank(given, [requests], slots), _rank(given, singles, slots))


def _both(
    params: str,
    batched: tuple[Contender, tuple[Contender | Absent, ...]],
    single: tuple[Contender, tuple[Contender | Absent, ...]],
) -> Iterator[Contest]:
    yield Contest(params=params, mode="batched", unit="slates", ours=batched[0], peers=batched[1])
    yield Contest(params=params, mode="per-call", unit="slates", ours=single[0], peers=single[1])


def _draw(
    given: Learned, calls: list[Requests], slots: int
) -> tuple[Contender, tuple[Contender | Absent, ...]]:
    """The exploration alone: means and spreads in, picks and propensities out."""
    beliefs = [given.policy.believe(given.posterior, requests) for requests in calls]
    explore = given.policy.exploration

    def call(_: object) -> None:
        for requests, belief in zip(calls, beliefs, strict=True):
            picks = np.full((len(requests.keys), slots), -1, dtype=np.int64)
            explore.draw(belief, requests, picks, Terms(seed=1, floor=FLOOR))

    return _ours(calls, call), _numpy(given, calls, slots, scored=True)


def _rank(
    given: Learned, calls: list[Requests], slots: int
) -> tuple[Contender, tuple[Contender | Absent, ...]]:
    """Everything from a context to a slate."""

    def call(_: object) -> None:
        for requests in calls:
            given.policy.rank(given.posterior, requests, slots)

    numpy = _numpy(given, calls, slots, scored=False)
    x = np.concatenate([requests.x for requests in calls])[:3]
    vw = vowpal.ccb_slates(x, len(given.found.rows), slots)
    if isinstance(vw, Contender):
        vw = replace(vw, note=f"{vw.note}; probabilities of its SquareCB, one draw")
    return _ours(calls, call), (*numpy, vw)


def _ours(calls: list[Requests], call: Any) -> Contender:
    units = sum(len(requests.keys) for requests in calls)
    return Contender(name="slatestream", units=units, call=call)


def _numpy(
    given: Learned, calls: list[Requests], slots: int, *, scored: bool
) -> tuple[Contender, ...]:
    """Joint draws, and quadrature on a grid; scoring by one BLAS product where it is asked for."""
    rng, items = np.random.default_rng(8), len(given.found.rows)
    belief = [given.policy.believe(given.posterior, requests) for requests in calls]
    mean = np.concatenate([each.mean for each in belief]).reshape(-1, items)
    sd = ALPHA * np.concatenate([each.sd for each in belief]).reshape(-1, items)
    x = np.concatenate([requests.x for requests in calls])
    score = None if scored else _scorer(given)

    def run(slate: Any) -> Any:
        def call(_: object) -> None:
            for i in range(len(mean)):
                beliefs = (mean[i], sd[i]) if score is None else score(x[i])
                slate(rng, *beliefs, slots, FLOOR)

        return call

    return (
        Contender(
            name="NumPy, 1,000 joint draws",
            units=len(mean),
            call=run(estimate_slate),
            note="propensities with a standard error up to 0.016; ours are within 1e-6",
        ),
        Contender(
            name="NumPy, quadrature on a grid",
            units=len(mean),
            call=run(integrate_slate),
            note="propensities within 1e-5",
        ),
    )


def _scorer(given: Learned) -> Any:
    """Means and standard deviations of a request by two BLAS products."""
    arrays, rows = given.posterior.arrays, given.found.rows
    theta = arrays["theta"][rows]
    if "covariance" in arrays:
        packed = arrays["covariance"][rows]
        upper = np.triu_indices(given.policy.width)
        twice = np.where(upper[0] == upper[1], 1.0, 2.0)

        def full(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            variance = packed @ (twice * x[upper[0]] * x[upper[1]])
            return theta @ x, ALPHA * np.sqrt(np.maximum(variance, 0.0))

        return full
    variances = arrays["variance"][rows]

    def diagonal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return theta @ x, ALPHA * np.sqrt(variances @ (x * x))

    return diagonal
