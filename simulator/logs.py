"""A log of slates as columns, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engine.batches import Floats, Ints, Keys, hash_key
from engine.features import Context, Schema

__all__ = ["CandidateSets", "Progress", "SlateLog"]

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


class CandidateSets:
    """Distinct sets of candidates, each kept once: item numbers in a stable order."""

    def __init__(self) -> None:
        self.sets: list[Ints] = []
        self._known: dict[bytes, int] = {}

    def add(self, items: Ints) -> int:
        """Number of the set, the same for the same items in the same order."""
        key = items.tobytes()
        if key not in self._known:
            self._known[key] = len(self.sets)
            self.sets.append(items)
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
    excluded: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

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
