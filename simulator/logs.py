"""A log of slates as columns, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from engine.batches import Flags, Floats, Ints, Keys, hash_key
from engine.features import Context, Schema

__all__ = ["CandidateSets", "Progress", "SlateLog"]

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


NOT_GIVEN: Any = None  # filled in by `SlateLog`


class CandidateSets:
    """Distinct sets of candidates, each kept once: item numbers in a stable order, item rows."""

    def __init__(self) -> None:
        self.sets: list[Ints] = []
        self.z: list[Floats] = []
        self._known: dict[tuple[bytes, bytes], int] = {}

    def add(self, items: Ints, z: Floats | None = None) -> int:
        """Number of the set, the same for the same items in the same order with the same rows.

        ``z`` are the items' rows ``(m, e)``, of no columns when not given.
        """
        rows = np.empty((len(items), 0)) if z is None else z
        key = (items.tobytes(), rows.tobytes())
        if key not in self._known:
            self._known[key] = len(self.sets)
            self.sets.append(items)
            self.z.append(rows)
        return self._known[key]

    def groups(self, number: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Each set among ``number``, with the places that have it; one sort, however many sets."""
        if not len(number):
            return
        order = np.argsort(number, kind="stable")
        each, start = np.unique(number[order], return_index=True)
        for one, rows in zip(each, np.split(order, start[1:]), strict=True):
            yield self.sets[one], rows


@dataclass(frozen=True, kw_only=True)
class SlateLog:
    """n slates of up to k slots, in log order. Empty slots hold -1, propensity 1 and reward 0.

    Only slates whose reward is final are here; ``excluded`` counts the others, by reason.
    Pinned slots were no choice of the policy's: they are learned from, but have no part in what a
    policy is worth.
    """

    source: str
    format: str
    item_ids: tuple[str, ...]  # items are numbered by their place here
    items: Ints  # (n, k)
    position: Ints  # (n, k): slot as `table` policies name it, from 0
    propensity: Floats  # (n, k), given the slots before
    reward: Floats  # (n, k)
    sampling: Floats  # (n,), 1 / sampling rate
    candidates: CandidateSets
    candidate_set: Ints  # (n,), number of each slate's set
    contexts: list[Context]
    request_ids: list[str]
    sequence: Ints  # (n,), when the slate was shown, in the log's own order
    matured: Ints  # (n, k), when in that order the slot's reward was final
    time_ms: Ints  # (n,)
    schema: Schema  # features the log's own policy read
    users: Ints | None = None  # (n,), cluster labels
    pinned: Flags = NOT_GIVEN  # (n, k): slots that the request filled; none when not given
    recurrence: Ints = NOT_GIVEN  # (n, k): draws until the item came again; 0 where not sampled
    last: Ints = NOT_GIVEN  # (n, k): last position with a reaction, as known when learned, or -1
    z: Floats = NOT_GIVEN  # (n, k, e): rows of the items shown; no columns when not given
    excluded: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reacted = np.where((self.items >= 0) & (self.reward != 0), self.position, -1)
        defaults = (
            ("pinned", np.zeros(self.items.shape, dtype=np.bool_)),
            ("recurrence", np.zeros(self.items.shape, dtype=np.int64)),
            ("last", np.broadcast_to(reacted.max(axis=1, keepdims=True), self.items.shape)),
            ("z", np.empty((*self.items.shape, 0))),
        )
        for name, default in defaults:
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def item_keys(self) -> Keys:
        """Hashes of the item ids, which seed draws, ``(len(item_ids),)``."""
        return np.array([hash_key(item_id) for item_id in self.item_ids], dtype=np.uint64)

    @property
    def shown(self) -> Floats:
        """1 where a slate has the slot, else 0, ``(n, k)``."""
        return (self.items >= 0).astype(np.float64)

    @property
    def choices(self) -> Ints:
        """Number of candidates of each slate, ``(n,)``."""
        sizes = np.array([len(items) for items in self.candidates.sets], dtype=np.int64)
        return sizes[self.candidate_set]

    @property
    def left(self) -> Ints:
        """Candidates left to each slot, ``(n, k)``: neither shown before nor pinned behind."""
        later: Ints = np.cumsum(self.pinned[:, ::-1], axis=1)[:, ::-1] - self.pinned
        left = self.choices[:, None] - np.arange(self.items.shape[1]) - later
        return np.where(self.chosen, left, 1)

    @property
    def chosen(self) -> Flags:
        """Which slots the policy filled, ``(n, k)``."""
        return (self.items >= 0) & ~self.pinned

    @property
    def inverse(self) -> Floats:
        """1 / propensity, ``(n, k)``; of a sampled one the draws until the item came again.

        The latter's mean is 1 / p; that of the reciprocal of an estimate is not.
        """
        inverse = np.where(self.recurrence > 0, self.recurrence, 1.0 / self.propensity)
        return np.where(self.chosen, inverse, 1.0)

    @property
    def earned(self) -> Floats:
        """Rewards of the slots that the policy filled, 0 elsewhere, ``(n, k)``."""
        return np.where(self.chosen, self.reward, 0.0)
