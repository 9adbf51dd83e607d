"""Events as a service logs them: slates of one item, and what became of each, always the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Feedback, Impression, ShownItem, encode_event

__all__ = ["Entry", "Traffic"]

Entry = tuple[str, bytes]  # key and value

CLUSTERS, SHARES = 100, 10  # clusters in all, and of one context
NUMBERS = tuple(f"f{i}" for i in range(16))
START_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Two recommenders in turns, one event of feedback for every slate.

    ``linear`` learns a disjoint LinUCB of 16 numbers and an intercept, ``diagonal`` a Diag-LinUCB
    over ten of a hundred clusters.

    Parameters
    ----------
    items
        From which the item shown is drawn.
    behind
        Slates between a slate and its feedback.
    window_seconds, learn
        Of both recommenders.
    """

    items: int = 100
    behind: int = 500
    window_seconds: float = 1.0
    learn: Literal["close", "first"] = "close"

    @property
    def config(self) -> EngineConfig:
        """Settings that learn from it."""
        numbers = tuple({"type": "numeric", "name": name} for name in NUMBERS)
        clusters = {"type": "clusters", "name": "near", "count": CLUSTERS}
        return EngineConfig(
            policies={
                "linear": PolicyConfig(spec="linear-ucb", features=numbers),
                "diagonal": PolicyConfig(spec="diagonal-ucb", features=(clusters,)),
            },
            recommenders={
                name: RecommenderConfig(
                    policy=name, window_seconds=self.window_seconds, learn=self.learn
                )
                for name in ("linear", "diagonal")
            },
        )

    def entries(self, slates: int, *, first: int = 0) -> Iterator[Entry]:
        """Impressions and feedback of so many slates, numbered from ``first``."""
        rng = np.random.default_rng([first, slates])
        items = rng.integers(0, self.items, slates).tolist()
        clicks = (rng.random(slates) < 0.3).tolist()
        for i in range(slates + self.behind):
            if i < slates:
                yield _slate(first + i, items[i], rng)
            if i >= self.behind:
                at = i - self.behind
                yield _feedback(first + at, items[at], clicks[at])


def _slate(number: int, item: int, rng: np.random.Generator) -> Entry:
    linear = number % 2 == 0
    event = Impression(
        ts=START_MS + number,
        request_id=f"r-{number:08d}",
        recommender="linear" if linear else "diagonal",
        slate=(ShownItem(item_id=f"item-{item}", propensity=rng.random(), method="exact"),),
        context={**_numbers(rng)} if linear else {"near": _shares(rng)},
    )
    return event.request_id, encode_event(event)


def _numbers(rng: np.random.Generator) -> dict[str, float]:
    return dict(zip(NUMBERS, rng.random(len(NUMBERS)).tolist(), strict=True))


def _shares(rng: np.random.Generator) -> dict[str, float]:
    chosen = rng.choice(CLUSTERS, SHARES, replace=False)
    shares = rng.random(SHARES)
    return {
        str(c): share for c, share in zip(chosen, (shares / shares.sum()).tolist(), strict=True)
    }


def _feedback(number: int, item: int, clicked: bool) -> Entry:
    event = Feedback(
        ts=START_MS + number,
        event_id=f"e-{number:08d}",
        request_id=f"r-{number:08d}",
        item_id=f"item-{item}",
        kind="click",
        value=float(clicked),
    )
    return event.request_id, encode_event(event)
