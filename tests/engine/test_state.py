import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.models.linear import DisjointLinear
from engine.state import State, unpack_arrays
from tests.engine.worlds import HOUR, ITEMS, learned, outcomes, policy


def filled(names):
    state = State({"count": (), "moment": (2,)})
    state.put(names, {"count": np.arange(len(names)) * 1.0, "moment": np.ones((len(names), 2))})
    return state


def test_hash_does_not_depend_on_the_order_of_items():
    one, other = filled(["a", "b"]), State({"count": (), "moment": (2,)})
    other.put(["b", "a"], {"count": np.array([1.0, 0.0]), "moment": np.ones((2, 2))})
    assert one.hash() == other.hash()
    other.put(["b"], {"count": np.array([2.0]), "moment": np.ones((1, 2))})
    assert one.hash() != other.hash()


@given(st.lists(st.text(max_size=5), unique=True, max_size=40))
def test_bytes_round_trip(names):
    state = filled(names)
    again = State(state.shapes)
    assert again.put_bytes(state.to_bytes()) == names
    assert again.hash() == state.hash()


def test_a_delta_of_touched_rows_brings_an_old_copy_up_to_date():
    made, state = learned("linear-ucb:half_life_seconds=3600", n=100)
    old = made.load(made.save(state))
    later = outcomes(8, 30, items=("item-1", "new"))
    made.update(state, later)
    made.decay(state, int(later.time_ms[-1]) + 5 * HOUR)
    old.put_bytes(state.to_bytes(["item-1", "new"]))
    assert old.hash() == state.hash()


@given(st.binary(max_size=60))
def test_damaged_bytes_are_refused(damage):
    with pytest.raises(SnapshotError):
        State({"count": ()}).put_bytes(damage)


def test_rows_of_another_shape_are_refused():
    with pytest.raises(SnapshotError, match="moment"):
        State({"count": (), "moment": (3,)}).put_bytes(filled(["a"]).to_bytes())


def test_unknown_items_have_no_rows_to_take():
    assert filled(["a"]).rows(["a", "b"]).tolist() == [0, -1]
    with pytest.raises(ShapeError, match="'b'"):
        filled(["a"]).take(["a", "b"])


def test_state_of_other_settings_is_refused():
    made, state = learned("linear-ucb")
    with pytest.raises(SnapshotError, match="settings"):
        policy("linear-ucb:ridge=5").load(made.save(state))
    with pytest.raises(SnapshotError):
        made.load(b"\x00")
    assert policy("linear-thompson:alpha=9,floor=0.5").load(made.save(state)).hash() == state.hash()


def test_policies_of_different_settings_have_different_hashes():
    specs = [
        "linear-ucb",
        "linear-ucb:alpha=1",
        "linear-ucb:floor=0.1",
        "linear-ucb:seed=3",
        "beta-ucb",
    ]
    assert len({policy(spec).hash for spec in specs}) == len(specs)
    assert len({policy(spec).state_hash for spec in specs}) == 2


def test_an_outcome_counts_half_after_its_half_life():
    made = policy("beta-greedy:half_life_seconds=3600")
    state, batch = made.init(), outcomes(1, 1)
    made.update(state, batch)
    made.decay(state, int(batch.time_ms[0]))
    start = state.take(batch.item_ids)["count"][0]
    made.decay(state, int(batch.time_ms[0]) + 3 * HOUR)
    assert state.take(batch.item_ids)["count"][0] == start / 8


def test_a_span_of_thousands_of_half_lives_neither_overflows_nor_leaves_a_trace():
    made = policy("linear-ucb:half_life_seconds=1")
    batch = outcomes(3, 60)
    whole, pieces = made.init(), made.init()
    made.update(whole, batch)
    for i in range(60):
        made.update(pieces, batch.take(slice(i, i + 1)))
        made.decay(pieces, int(batch.time_ms[i]))
    made.decay(whole, int(batch.time_ms[-1]))
    assert whole.hash() == pieces.hash()
    assert np.all(np.isfinite(whole.take(list(whole.item_ids))["gram"]))


def test_sums_hold_no_prior():
    _, state = learned("linear-ucb", n=50)
    batch = outcomes(0, 50)
    mine = np.array([item == ITEMS[0] for item in batch.item_ids])
    expected = np.einsum("n,ni,nj->ij", batch.weight[mine], batch.x[mine], batch.x[mine])
    packed = state.take([ITEMS[0]])["gram"][0]
    np.testing.assert_allclose(packed, expected[np.triu_indices(len(expected))], rtol=1e-12)


def test_what_is_not_additive_is_not_merged():
    made, state = learned("linear-ucb")

    class Sticky(DisjointLinear):
        @property
        def traits(self):
            return dataclasses.replace(super().traits, merging="refused")

    import dataclasses

    with pytest.raises(ConfigError, match="cannot be merged"):
        dataclasses.replace(made, model=Sticky()).merge([state])


def test_saved_bytes_are_plain_messagepack():
    head = msgspec.msgpack.decode(filled(["a"]).to_bytes())["head"]
    assert head == {"item_ids": ["a"], "landmark": 0, "parts": {}}
    assert set(unpack_arrays(filled(["a"]).to_bytes())[1]) == {"item/count", "item/moment"}


@pytest.mark.parametrize("steps", [1, 300, 600, 1100])
def test_halving_at_once_equals_halving_in_steps(steps):
    """However long nothing came: squared sums fall twice as fast, and none may underflow early."""
    once, often = (State({"plain": (), "faded": (2,)}, 1000, squared={"faded"}) for _ in range(2))
    for state in (once, often):
        state.put(["a"], {"plain": np.array([2.0**250]), "faded": np.array([[2.0**500, 1.5]])})
    once.halve(steps)
    for _ in range(steps):
        often.halve(1)
    assert once.hash() == often.hash()
    assert once.sums["faded"][0, 0] == (2.0 ** (500 - 2 * steps) if steps < 700 else 0.0)
