"""Sums of every axis go over to another schema by what their places mean."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batches import Outcomes
from engine.models.base import Axes, Model, Traits
from engine.registry import make_policy
from streams.align import align_state
from tests.engine.schemas import DEVICE, HOUR, MOOD, TOPIC, crossed, random_rows, schema, schemas

AXES = ("x", "xx", "z", "zz", "h", "hh", "f", "ff")


def packed(rows):
    i, j = np.triu_indices(rows.shape[1])
    return rows[:, i] * rows[:, j]


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryAxis(Model):
    """Keeps the plain sum of every axis, by item and once; believes nothing."""

    @property
    def traits(self):
        return Traits(family="mean")

    def axes(self):
        sums = {axis: (axis,) for axis in AXES}
        return Axes(items={"count": (), **sums, "pair": ("x", "z", 2)}, shared=sums)

    def update(self, state, rows, outcomes, weight, schema):
        joint = schema.joint(outcomes.x, outcomes.z)
        single = {
            "x": outcomes.x,
            "z": outcomes.z,
            "h": joint[:, outcomes.x.shape[1] :],
            "f": joint,
        }
        for name, values in single.items():
            for axis, each in ((name, values), (2 * name, packed(values))):
                np.add.at(state.sums[axis], rows, each)
                state.shared[axis] += each.sum(axis=0)
        np.add.at(state.sums["count"], rows, weight)
        pairs = outcomes.x[:, :, None, None] * outcomes.z[:, None, :, None] * np.array([1.0, 2.0])
        np.add.at(state.sums["pair"], rows, pairs)

    def derive(self, sums, state, schema):
        return {"count": sums["count"].copy()}

    def believe(self, posterior, requests, schema):
        return self.belief(posterior, requests, mean=np.zeros(len(requests.rows)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsIds(EveryAxis):
    @property
    def traits(self):
        return Traits(family="mean", reads_ids=True)

    def axes(self):
        return Axes(items={"count": (), "x": ("x",)})


def learned(made, seed):
    policy = replace(make_policy("linear-greedy"), model=EveryAxis(), schema=made)
    state = policy.init()
    x, z = random_rows(made, seed, 6)
    policy.update(
        state,
        Outcomes(
            item_ids=["a", "b", "a", "c", "b", "a"],
            x=x,
            z=z,
            reward=np.ones(6),
            weight=np.ones(6),
            time_ms=np.zeros(6, dtype=np.int64),
        ),
    )
    return policy, state


def places_of(made, axis):
    """What each place of an axis means: a pair of meanings in a packed triangle."""
    meanings = made.meanings(axis[0])
    if len(axis) == 1:
        return [(meaning,) for meaning in meanings]
    i, j = np.triu_indices(len(meanings))
    return [frozenset((meanings[a], meanings[b])) for a, b in zip(i, j, strict=True)]


@settings(deadline=None, max_examples=60)
@given(schemas(), schemas(), st.integers(0, 5))
def test_every_axis_keeps_what_both_schemas_mean_and_starts_the_rest_at_zero(old, new, seed):
    before, state = learned(old, seed)
    after, expected = learned(new, seed)  # the same named rows, under the other schema
    aligned = align_state(after, before, state)
    order = ["a", "b", "c"]
    for axis in AXES:
        known = set(places_of(old, axis))
        kept = np.array([meaning in known for meaning in places_of(new, axis)], dtype=bool)
        for found, wanted in (
            (aligned.take(order)[axis], expected.take(order)[axis]),
            (aligned.shared[axis], expected.shared[axis]),
        ):
            np.testing.assert_array_equal(found, np.where(kept, wanted, 0.0))
    x = np.isin(np.arange(len(new.columns)), _kept(old, new, "x"))
    z = np.isin(np.arange(len(new.item_columns)), _kept(old, new, "z"))
    pair = expected.take(order)["pair"] * (x[:, None] & z[None, :])[None, :, :, None]
    np.testing.assert_array_equal(aligned.take(order)["pair"], pair)


def _kept(old, new, axis):
    known = set(old.meanings(axis))
    return [place for place, meaning in enumerate(new.meanings(axis)) if meaning in known]


def test_a_feature_that_moves_from_the_context_to_the_item_starts_at_zero():
    for feature in (HOUR, DEVICE, {**TOPIC, "of": "context"}):
        before, state = learned(schema(feature), 1)
        moved = align_state(learned(schema({**feature, "of": "item"}), 1)[0], before, state)
        assert np.count_nonzero(moved.take(["a"])["f"]) == 1  # the intercept
        assert not moved.take(["a"])["h"].any()


def test_a_vector_of_another_version_starts_at_zero_and_all_else_stays():
    cross = crossed("mood", "style")
    item = {**MOOD, "name": "style", "of": "item"}
    old = schema(HOUR, MOOD, item, DEVICE, cross)
    before, state = learned(old, 3)
    for moved, stays in (
        ((HOUR, {**MOOD, "version": "b"}, item, DEVICE, cross), [1, 1, 0, 0, 1, 1, 1, 1, *[0] * 4]),
        ((HOUR, MOOD, {**item, "version": "b"}, DEVICE, cross), [1, 1, 1, 1, 1, 1, 0, 0, *[0] * 4]),
    ):
        after, _ = learned(schema(*moved), 3)
        aligned = align_state(after, before, state).take(["a"])["f"][0]
        expected = state.take(["a"])["f"][0]
        assert np.all(expected[[3, 7, 11]])  # what is sent of them, and its product
        np.testing.assert_array_equal(aligned, np.where(stays, expected, 0.0))


def test_an_id_keeps_its_meaning_and_one_of_another_name_or_source_does_not():
    user = {"type": "id", "name": "user_id"}

    def counted(*features):
        made = replace(make_policy("uniform"), model=CountsIds(), schema=schema(*features))
        state = made.init()
        state.ensure_rows(["a"])
        state.sums["x"] += np.arange(1.0, 1.0 + len(made.schema.columns))
        return made, state

    before, state = counted(HOUR, user)
    for features, kept in (
        ((user, HOUR), [1, 3, 4, 5, 2]),
        ((HOUR, {**user, "name": "page"}), [1, 2, 0, 0, 0]),
        ((HOUR, {**user, "of": "item"}), [1, 2]),
        ((HOUR, {"type": "numeric", "name": "user_id#low"}), [1, 2, 0]),
    ):
        after, _ = counted(*features)
        assert align_state(after, before, state).take(["a"])["x"].tolist() == [kept]


def test_clusters_added_keep_what_was_learned_of_the_others_and_of_their_products():
    few = schema(DEVICE, TOPIC, crossed("device", "topic"))
    many = schema(DEVICE, {**TOPIC, "count": 5}, crossed("device", "topic"))
    before, state = learned(few, 2)
    policy, expected = learned(many, 2)
    aligned = align_state(policy, before, state)
    for name, sums in expected.take(["a", "b"]).items():
        np.testing.assert_array_equal(aligned.take(["a", "b"])[name], sums)
    assert expected.take(["a"])["ff"].any()
