"""A run hands a policy all that a world offers: item rows, slots, reactions and propensities."""

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.features import Numeric, Schema
from simulator.simulate import simulate
from simulator.worlds.base import Visit
from tests.item_model import ItemRidge, register


class Market:
    """Items of which each visit sees some, never the same: only their price tells of them."""

    def __init__(self, seed=0, items=400, with_rows=True):
        self.schema = Schema(features=(Numeric(name="price", of="item"),))
        self.item_ids = tuple(f"item-{i}" for i in range(items))
        self.slots, self.first_pass = 3, None
        self.price = np.random.default_rng([seed, 1]).uniform(-1, 1, items)
        self.rng = np.random.default_rng([seed, 2])
        self.with_rows = with_rows

    def visit(self, t):
        candidates = np.sort(self.rng.choice(len(self.item_ids), 8, replace=False))
        price = self.price[candidates]
        return Visit(
            x=np.ones((1, 1)),
            candidates=candidates,
            truth=0.5 + 0.4 * price,
            time_ms=t,
            z=price[:, None] if self.with_rows else None,
        )

    def rewards(self, t, visit, picks):
        return (self.rng.random(len(picks)) < visit.truth[picks]) * 1.0

    def expected(self, visit, picks):
        return float(visit.truth[picks].sum())


def test_item_rows_are_ranked_and_learned_by(monkeypatch):
    register(monkeypatch)
    by_price = simulate(Market(), "items-greedy:floor=0.02", rounds=1500)
    by_item = simulate(Market(), "beta-greedy:floor=0.02", rounds=1500)
    assert by_price.greedy_accuracy_last_tenth > 0.95
    assert by_item.greedy_accuracy_last_tenth < 0.8


def test_a_world_must_offer_the_rows_that_its_schema_declares(monkeypatch):
    register(monkeypatch)
    with pytest.raises((ShapeError, ValueError)):
        simulate(Market(with_rows=False), "items-greedy", rounds=2)


class Cascade(Market):
    """Nobody looks beyond a click."""

    def rewards(self, t, visit, picks):
        clicks = super().rewards(t, visit, picks)
        return np.where(np.arange(len(picks)) <= np.argmax(clicks), clicks, 0.0)


def learned(monkeypatch, world, spec):
    """Outcomes that a run gave its model."""
    register(monkeypatch)
    seen, update = [], ItemRidge.update

    def record(model, state, rows, outcomes, weight, schema):
        seen.append(outcomes)
        update(model, state, rows, outcomes, weight, schema)

    monkeypatch.setattr(ItemRidge, "update", record)
    simulate(world, spec, rounds=200)
    return seen


def test_slots_propensities_and_reactions_are_those_of_the_slate(monkeypatch):
    outcomes = learned(monkeypatch, Market(), "items-greedy:floor=0.5")
    left = np.array([8, 7, 6])
    np.testing.assert_allclose(outcomes[0].propensity, 1 / left)  # nothing is known yet
    for each in outcomes[1:]:
        assert each.slot.tolist() == [0, 1, 2]
        explored = np.isclose(each.propensity, 0.5 / left)
        assert np.all(explored | np.isclose(each.propensity, 0.5 + 0.5 / left))
        clicked = np.flatnonzero(each.reward)
        assert set(each.last) == {clicked[-1] if len(clicked) else -1}
    shares = [np.isclose(o.propensity, 0.5 / left) for o in outcomes]
    assert 0.2 < np.mean(shares) < 0.6


def test_a_cascade_learns_up_to_the_last_reaction(monkeypatch):
    outcomes = learned(monkeypatch, Cascade(), "items-greedy:floor=0.5,examination=cascade")
    assert {len(o.slot) for o in outcomes} == {1, 2, 3}
    for each in outcomes:
        clicked = np.flatnonzero(each.reward)
        assert len(each.slot) == (clicked[0] + 1 if len(clicked) else 3)
