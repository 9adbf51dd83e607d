"""Slates made slot by slot: pins, and rules that narrow what a slot may show."""

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.registry import policy_names
from tests.engine.worlds import ITEMS, learned, requests


@pytest.mark.parametrize("spec", policy_names())
def test_slot_by_slot_equals_all_at_once(spec):
    made, state = learned(spec)
    posterior = made.derive(state)
    batch = requests(posterior, n=6)
    pins = np.full((6, 4), -1)
    pins[0, 1] = 2  # one pin makes the whole batch go slot by slot
    whole, slotwise = made.rank(posterior, batch, 4), made.rank(posterior, batch, 4, pins)
    np.testing.assert_array_equal(whole.picks[1:], slotwise.picks[1:])
    np.testing.assert_allclose(whole.propensity[1:], slotwise.propensity[1:], atol=2e-6)


@pytest.mark.parametrize("spec", policy_names())
def test_pins_are_certain_and_stand_nowhere_else(spec):
    made, state = learned(spec)
    posterior = made.derive(state)
    batch = requests(posterior, n=5)
    pins = np.full((5, 3), -1)
    pins[:, 1], pins[0, 0] = 4, 0
    slates = made.rank(posterior, batch, 3, pins)
    assert slates.picks[:, 1].tolist() == [4] * 5
    assert slates.picks[0, 0] == 0
    assert slates.propensity[:, 1].tolist() == [1.0] * 5
    assert slates.pinned.sum() == 6
    assert slates.methods()[0][:2] == ["pinned", "pinned"]
    assert all(len(set(picks)) == 3 for picks in slates.picks.tolist())
    again = made.score(posterior, batch, slates.picks, pins)
    np.testing.assert_allclose(again.propensity, slates.propensity, rtol=1e-9)


@pytest.mark.parametrize("pins", [[[9, -1]], [[1, 1]], [[1]]])
def test_pins_that_fit_no_slate_are_refused(pins):
    made, state = learned("linear-ucb")
    posterior = made.derive(state)
    with pytest.raises(ShapeError, match="pin"):
        made.rank(posterior, requests(posterior, n=1, items=ITEMS), 2, np.array(pins))
