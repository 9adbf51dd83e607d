"""Pins: slots that the request itself fills, around which an exploration draws the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.batches import Belief, Flags, Ints, Requests, Slates
from engine.errors import ShapeError
from engine.exploration.base import gather_slates

__all__ = ["check_pins", "draw_around", "mark_places"]

Fill = Callable[[Belief, Requests, Ints], Slates]


def mark_places(requests: Requests, places: Ints) -> Flags:
    """Which candidates stand in ``places`` ``(n, k)``, -1 being none, ``(offsets[-1],)``."""
    marked = np.zeros(len(requests.rows), dtype=np.bool_)
    row, column = np.nonzero(places >= 0)
    marked[requests.offsets[row] + places[row, column]] = True
    return marked


def check_pins(requests: Requests, picks: Ints, pins: Ints) -> None:
    """Raise ``ShapeError`` when pins do not fit the slates, or an item is pinned twice."""
    sizes = np.diff(requests.offsets)
    if pins.shape != picks.shape or np.any(pins >= sizes[:, None]):
        raise ShapeError(
            f"pins are {pins.shape}, slates {picks.shape}; give places of candidates, or -1"
        )
    if int(mark_places(requests, pins).sum()) < int((pins >= 0).sum()):
        raise ShapeError("an item is pinned to two slots of a slate; pin it once")


def draw_around(fill: Fill, belief: Belief, requests: Requests, picks: Ints, pins: Ints) -> Slates:
    """Fill the slots without a pin all at once, from the candidates that are no pin.

    For explorations that tie the slots of a slate together. Requests that pin the same slots are
    drawn together.
    """
    pinned = pins >= 0
    reserved = mark_places(requests, pins)
    picks[pinned] = pins[pinned]
    propensity, error = np.ones(picks.shape), np.zeros(picks.shape)
    method = "exact"
    for pattern in np.unique(pinned, axis=0):
        mine = np.all(pinned == pattern, axis=1)
        slots = np.flatnonzero(~pattern)
        if not len(slots):
            continue
        here = np.ix_(mine, slots)
        kept = mine[requests.of_candidate] & ~reserved
        sub = _only_requests(requests.only(kept), mine)
        starts, inside = requests.offsets[:-1][mine, None], np.cumsum(kept) - 1
        wanted = picks[here]
        at = starts + np.maximum(wanted, 0)
        barred = (wanted >= 0) & ~kept[at]  # another slot's pin
        given = np.where((wanted >= 0) & ~barred, inside[at] - sub.offsets[:-1, None], -1)
        drawn = fill(belief.only(kept), sub, given)
        found = np.flatnonzero(kept)[sub.offsets[:-1, None] + drawn.picks] - starts
        picks[here] = np.where(barred, wanted, found)
        # As a slate ties its slots together, nothing follows from a pick that cannot be.
        impossible = np.logical_or.accumulate(barred, axis=1)
        propensity[here] = np.where(impossible, 0.0, drawn.propensity)
        error[here], method = np.where(impossible, 0.0, drawn.error), drawn.method
    slates = gather_slates(belief, requests, picks, propensity, method=method, error=error)
    return replace(slates, pinned=pinned)


def _only_requests(requests: Requests, kept: Flags) -> Requests:
    """Return the marked requests ``(n,)`` alone; the others have no candidates."""
    return replace(
        requests,
        x=requests.x[kept],
        keys=requests.keys[kept],
        offsets=requests.offsets[np.append(kept, True)],
    )
