"""Slates under rules: diversity, caps and boosts, applied before each slot's draw.

Rules change what a slot may show and what is believed of it, never what was drawn: a list sorted
again after its draw has no propensities that can be stated, so there is no such setting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from engine.batches import Belief, Flags, Floats, Ints, Requests
from engine.errors import ConfigError, suggest
from engine.exploration.base import Exploration
from engine.features import Categorical, Schema
from engine.models.base import Model
from engine.slates.base import SlateRule, check_floor

__all__ = ["RuledDraw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledDraw(SlateRule):
    """Sequential draws among what the rules leave, by beliefs that the rules adjust.

    Parameters
    ----------
    diversity
        λ of maximal marginal relevance (Carbonell and Goldstein 1998): means become
        ``(1 - λ) · mean - λ · the highest cosine similarity to an item shown before``, of item
        rows. The belief's mean is what changes, before the exploration; its spread stays.
    cap
        ``feature:most``: at most so many items of one value of a categorical item feature. Items
        without a declared value are not capped. Pins of later slots are not foreseen. Where the
        caps leave nothing, they are lifted for that slot.
    boost
        ``column:weight``: adds weight times an item column to the mean.
    """

    floor: float = 0.02
    diversity: float = 0.0
    cap: tuple[str, ...] = ()
    boost: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_floor(self.floor)
        if not 0 <= self.diversity < 1:
            raise ConfigError(f"diversity is {self.diversity}; give 0 (none) or more, below 1")
        for name, most in _pairs("cap", self.cap):
            if not (most.isdigit() and int(most) > 0):
                raise ConfigError(f"cap of {name!r} is {most!r}; give a whole number above 0")
        for name, weight in _pairs("boost", self.boost):
            if _number(weight) is None:
                raise ConfigError(f"boost of {name!r} is {weight!r}; give a finite number")

    def check(self, exploration: Exploration, model: Model, schema: Schema) -> None:
        """Refuse unknown features, and explorations that the rules would not reach."""
        # bare super() does not know the class that dataclass(slots=True) makes anew
        super(RuledDraw, self).check(exploration, model, schema)
        if not exploration.slotwise:
            raise ConfigError(
                "slate=ruled chooses between the slots of a slate, which one draw a slate "
                "(draws=slate) ties together; use draws=slot"
            )
        if (self.diversity or self.boost) and not exploration.shifts(model):
            raise ConfigError(
                f"diversity and boost add to the mean, which {type(exploration).__name__} over "
                f"{type(model).__name__} does not choose by; leave cap, or use normal beliefs"
            )
        if self.diversity and not schema.item_columns:
            raise ConfigError("diversity compares item rows; declare features of the item")
        ids = [feature for feature in schema.ids if feature.of == "item"]
        if ids and (self.diversity or self.boost):
            raise ConfigError(
                f"diversity and boost reckon with item columns, and feature {ids[0].name!r} is an "
                "id, which is no number; take one of the two out"
            )
        for name, _ in _pairs("cap", self.cap):
            _check_categorical(name, schema)
        for name, _ in _pairs("boost", self.boost):
            if name not in schema.item_columns:
                known = schema.item_columns
                raise ConfigError(f"boost: {name!r} is no item column{suggest(name, known)}")

    def narrow(
        self,
        belief: Belief,
        requests: Requests,
        free: Flags,
        shown: Ints,
        schema: Schema,
    ) -> tuple[Belief, Flags]:
        """Adjust beliefs by what was shown, and leave out what a cap does not allow."""
        places = requests.offsets[:-1, None] + shown
        for name, most in _pairs("cap", self.cap):
            free = free & _below_cap(requests, places, schema.places(name), int(most))
        if not (self.diversity or self.boost):
            return belief, free
        added = np.zeros(len(requests.rows))
        for name, weight in _pairs("boost", self.boost):
            added += float(weight) * requests.z[:, schema.item_columns.index(name)]
        if self.diversity:
            added -= self.diversity * _similarity(requests, places)
        kept = 1.0 - self.diversity
        adjusted = replace(
            belief,
            mean=kept * belief.mean + added,
            replicas=kept * belief.replicas + added,
        )
        return adjusted, free


def _below_cap(requests: Requests, places: Ints, columns: list[int], most: int) -> Flags:
    """Which candidates have a value that fewer than ``most`` of the items shown have."""
    values = requests.z[:, columns] > 0
    shown = values[places].sum(axis=1)  # (n, values)
    full: Flags = np.any(values & (shown >= most)[requests.of_candidate], axis=1)
    return ~full


def _similarity(requests: Requests, places: Ints) -> Floats:
    """Highest cosine of a candidate's item row and one shown, 0 when none was."""
    if not places.shape[1]:
        return np.zeros(len(requests.rows))
    length = np.sqrt(np.einsum("je,je->j", requests.z, requests.z))
    unit = requests.z / np.where(length > 0, length, 1.0)[:, None]
    shown = unit[places][requests.of_candidate]  # (candidates, slots before, e)
    # einsum without BLAS: a candidate's sums do not depend on its neighbours
    highest: Floats = np.einsum("je,jse->js", unit, shown).max(axis=1)
    return highest


def _pairs(setting: str, given: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for entry in given:
        name, colon, value = entry.rpartition(":")
        if not (name and colon and value):
            raise ConfigError(f"{setting} has {entry!r}; give name:number, several between '|'")
        pairs.append((name, value))
    if len({name for name, _ in pairs}) < len(pairs):
        raise ConfigError(f"{setting} names a feature twice; name each once")
    return pairs


def _number(text: str) -> float | None:
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def _check_categorical(name: str, schema: Schema) -> None:
    known = [f.name for f in schema.features if isinstance(f, Categorical) and f.of == "item"]
    if name not in known:
        raise ConfigError(
            f"cap: {name!r} is no categorical feature of the item{suggest(name, known)}"
        )
