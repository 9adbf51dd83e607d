"""Standardising, fading outcomes and changing schemas leave the sums of linear models raw."""

import numpy as np
import pytest

from engine.batches import Candidates, Outcomes, Requests
from engine.features import Interaction, Numeric, Schema
from engine.registry import make_policy
from streams.align import align_state
from tests.engine.linear_worlds import HOUR, RIDGE, ask, asked_rows, joint_rows, log, schema_of
from tests.engine.worlds import learned, outcomes, policy, requests
from tests.naive import linear as twin


@pytest.mark.parametrize("spec", ["linear-ucb:standardise=true", "shared-ucb:standardise=true"])
def test_standardising_equals_mapping_solving_and_mapping_back(spec):
    rng, schema = np.random.default_rng(3), schema_of(4, 3, 4)
    items = ["a", "b", "c"]
    batch, z = log(rng, schema, items, 200)
    for values in (batch.x, batch.z):
        values[:, 1:] = values[:, 1:] * 30.0 + 7.0
    batch.x[:, 3] = 4.0  # does not vary
    made = make_policy(spec, schema=schema)
    state = made.init()
    made.update(state, batch)
    posterior = made.derive(state)
    request = ask(posterior, rng, schema, items, z)
    belief = made.believe(posterior, request)
    joint, weight = joint_rows(batch, schema), batch.weight
    unscaled = joint / batch.examination[:, None]
    pool = weight * batch.examination**2
    shared = spec.startswith("shared")
    width = joint.shape[1] if shared else 4
    asked = np.array(asked_rows(request, schema))[:, :width]
    for i, row in enumerate(asked):
        mine = np.array([shared or item == items[i % 3] for item in batch.item_ids])
        theta, covariance = twin.standardised_fit(
            joint[mine, :width],
            batch.reward[mine],
            weight[mine],
            unscaled[:, :width],
            pool,
            RIDGE * width,
        )
        assert belief.mean[i] == pytest.approx(theta @ row, rel=1e-8, abs=1e-8)
        assert belief.sd[i] == pytest.approx(np.sqrt(row @ covariance @ row), rel=1e-8)


@pytest.mark.parametrize("model", ["linear", "shared"])
def test_standardised_beliefs_do_not_depend_on_units(model):
    rng, schema = np.random.default_rng(0), schema_of(3, 2, 2)
    items = ["a", "b"]
    batch, z = log(rng, schema, items, 100)
    made = make_policy(f"{model}-ucb:standardise=true", schema=schema)
    request = ask(made.derive(made.init()), rng, schema, items, z)
    beliefs = []
    for shift, scale in ((0.0, 1.0), (-5000.0, 1000.0)):
        state = made.init()
        x, asked = batch.x.copy(), request.x.copy()
        for rows in (x, asked):
            rows[:, 1] = rows[:, 1] * scale + shift * (model == "linear")
        parts = {"z": batch.z, "reward": batch.reward, "weight": batch.weight}
        made.update(state, Outcomes(item_ids=batch.item_ids, x=x, time_ms=batch.time_ms, **parts))
        posterior = made.derive(state)
        found = Candidates.of(posterior, items, z=z)
        moved = Requests.of(asked, ["1", "2", "3"], [found] * 3)
        beliefs.append(made.believe(posterior, moved))
    np.testing.assert_allclose(beliefs[0].mean, beliefs[1].mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(beliefs[0].sd, beliefs[1].sd, rtol=1e-6)


@pytest.mark.parametrize("model", ["linear", "shared"])
def test_second_sums_are_the_naive_widths_of_fading_outcomes(model):
    rng, schema = np.random.default_rng(5), schema_of(3, 2, 3)
    items = ["a", "b"]
    batch, z = log(rng, schema, items, 120)
    made = make_policy(f"{model}-ucb:half_life_seconds=7200", schema=schema)
    assert made.model.second_sums
    state = made.init()
    made.update(state, batch)
    request = ask(made.derive(state), rng, schema, items, z)
    belief = made.believe(made.derive(state), request)
    discount = 2.0 ** ((batch.time_ms - state.landmark) / (2 * HOUR))
    shared = model == "shared"
    width = schema.sizes["f"] if shared else 3
    rows = joint_rows(batch, schema)[:, :width]
    for i, row in enumerate(np.array(asked_rows(request, schema))[:, :width]):
        mine = np.array([shared or item == items[i % 2] for item in batch.item_ids])
        theta, covariance = twin.dense_fit(
            rows[mine],
            batch.reward[mine],
            (discount * batch.weight)[mine],
            RIDGE * width * np.eye(width),
            (discount**2 * batch.weight)[mine],
        )
        assert belief.mean[i] == pytest.approx(theta @ row, rel=1e-8, abs=1e-9)
        assert belief.sd[i] == pytest.approx(np.sqrt(row @ covariance @ row), rel=1e-8)


def test_second_sums_change_nothing_while_nothing_fades():
    one, other = (learned(f"linear-ucb:second_sums={given}") for given in ("true", "false"))
    widths = []
    for made, state in (one, other):
        posterior = made.derive(state)
        widths.append(made.believe(posterior, requests(posterior)).sd)
    np.testing.assert_allclose(widths[0], widths[1], rtol=1e-9)


def test_second_sums_come_with_a_half_life_unless_told_otherwise():
    assert not policy("linear-ucb").model.second_sums
    assert policy("shared-ucb:half_life_seconds=60").model.second_sums
    assert not policy("linear-ucb:half_life_seconds=60,second_sums=false").model.second_sums


@pytest.mark.parametrize("model", ["linear", "shared"])
@pytest.mark.parametrize("half_life", [3600, 90])
def test_second_sums_do_not_tell_where_batches_were_cut_or_the_landmark_moved(model, half_life):
    made, whole = learned(f"{model}-ucb:half_life_seconds={half_life}", seed=5, n=400)
    batch, rng, cut = outcomes(5, 400), np.random.default_rng(1), made.init()
    start = 0
    while start < 400:
        stop = min(start + int(rng.integers(1, 40)), 400)
        made.update(cut, batch.take(slice(start, stop)))
        if rng.random() < 0.5:
            made.decay(cut, int(batch.time_ms[stop - 1]))
        start = stop
    assert cut.hash() == whole.hash()
    assert np.any(cut.sums["faded"] if model == "linear" else cut.shared["faded"])


@pytest.mark.parametrize("model", ["linear", "shared", "hybrid"])
def test_sums_follow_their_columns_when_features_come_and_go(model):
    """Carried over, they are those of a log whose new columns were 0 and old ones left out."""
    rng, before = np.random.default_rng(4), schema_of(3, 2, 4)
    after = Schema(
        features=(
            Numeric(name="new", of="item"),
            Numeric(name="x1"),
            Numeric(name="z0", of="item"),
            Numeric(name="z1", of="item"),
            Interaction(left="x1", right="z1"),
            Interaction(left="x1", right="new"),
        )
    )
    batch, _ = log(rng, before, ["a", "b"], 50)
    policies = [
        make_policy(f"{model}-ucb:half_life_seconds=3600", schema=schema)
        for schema in (before, after)
    ]
    states = [made.init() for made in policies]
    policies[0].update(states[0], batch)
    aligned = align_state(policies[1], policies[0], states[0])
    x, z = batch.x[:, [0, 2]], np.column_stack([np.zeros(50), batch.z])
    given = {"reward": batch.reward, "weight": batch.weight, "time_ms": batch.time_ms}
    policies[1].update(
        states[1],
        Outcomes(item_ids=batch.item_ids, x=x, z=z, examination=batch.examination, **given),
    )
    assert aligned.hash() == states[1].hash()
