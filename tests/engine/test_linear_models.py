"""Posteriors of the linear models beside the dense closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batches import Candidates, Outcomes, Requests
from engine.errors import ConfigError
from engine.features import Numeric, Schema
from engine.kernels.linear import derive_ridge
from engine.models.ridge import flat_prior
from engine.registry import make_policy
from tests import naive
from tests.engine.linear_worlds import RIDGE, ask, asked_rows, joint_rows, log, schema_of
from tests.engine.worlds import ITEMS, learned, requests
from tests.naive import linear as twin

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def assert_belief(belief, mean, variance):
    np.testing.assert_allclose(belief.mean, mean, **TIGHT)
    np.testing.assert_allclose(belief.sd, np.sqrt(variance), **TIGHT)


worlds = st.tuples(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 6),
    st.integers(1, 4),
    st.integers(0, 60),
)


def build(spec, drawn):
    seed, d, e, crossed, m, n = drawn
    rng, schema = np.random.default_rng(seed), schema_of(d, e, crossed)
    items = [f"item-{i}" for i in range(m)]
    batch, z = log(rng, schema, items, n)
    made = make_policy(spec, schema=schema)
    state = made.init()
    made.update(state, batch)
    posterior = made.derive(state)
    return made, batch, posterior, ask(posterior, rng, schema, items, z), items


@given(worlds)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_disjoint_posterior_is_the_closed_form(drawn):
    made, batch, posterior, request, items = build("linear-ucb", drawn)
    d = request.x.shape[1]
    rows, mean, variance = batch.x * batch.examination[:, None], [], []
    for i, at in enumerate(request.of_candidate):
        mine = [item == items[i % len(items)] for item in batch.item_ids]
        fit = twin.dense_fit(
            rows[mine], batch.reward[mine], batch.weight[mine], RIDGE * d * np.eye(d)
        )
        mean.append(fit[0] @ request.x[at])
        variance.append(request.x[at] @ fit[1] @ request.x[at])
    assert_belief(made.believe(posterior, request), mean, variance)


@given(worlds)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_shared_posterior_is_the_closed_form(drawn):
    made, batch, posterior, request, _ = build("shared-ucb", drawn)
    f = made.schema.sizes["f"]
    rows = joint_rows(batch, made.schema)
    theta, covariance = twin.dense_fit(rows, batch.reward, batch.weight, RIDGE * f * np.eye(f))
    asked = np.array(asked_rows(request, made.schema))
    belief = made.believe(posterior, request)
    assert_belief(belief, asked @ theta, np.einsum("nf,fg,ng->n", asked, covariance, asked))
    np.testing.assert_allclose(belief.joint.features, asked, rtol=1e-12)
    factor = belief.joint.factor
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-8, atol=1e-9)
    assert not belief.joint.independent.any()


@given(worlds)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_hybrid_posterior_is_one_ridge_over_the_stacked_design(drawn):
    made, batch, posterior, request, items = build(f"hybrid-ucb:ridge={RIDGE}", drawn)
    d = request.x.shape[1]
    joint, unseen = joint_rows(batch, made.schema), [*items, "unseen"]
    design = twin.stacked_design(batch.item_ids, joint[:, :d], joint[:, d:], unseen)
    precision = RIDGE * joint.shape[1] * np.eye(design.shape[1])
    theta, covariance = twin.dense_fit(design, batch.reward, batch.weight, precision)
    found = Candidates.of(posterior, unseen, z=np.vstack([request.z[: len(items)], request.z[:1]]))
    n = len(request.x)
    wider = Requests.of(request.x, [str(i) for i in range(n)], [found] * n)
    asked = np.array(asked_rows(wider, made.schema))
    stacked = twin.stacked_design(unseen * n, asked[:, :d], asked[:, d:], unseen)
    belief = made.believe(posterior, wider)
    exact = stacked @ covariance @ stacked.T
    assert_belief(belief, stacked @ theta, np.diag(exact))

    # And together: what candidates of a request share, and what is their own.
    each = belief.joint.features @ belief.joint.factor
    k = len(unseen)
    np.testing.assert_allclose(
        each[:k] @ each[:k].T + np.diag(belief.joint.independent[:k] ** 2),
        exact[:k, :k],
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("spec", ["shared-ucb", "hybrid-ucb", "fourier-ucb:base=shared"])
def test_models_over_items_refuse_a_schema_without_item_features(spec):
    with pytest.raises(ConfigError, match="of = 'item'"):
        make_policy(spec, schema=Schema(features=(Numeric(name="age"),)))


def test_what_is_learned_of_one_item_speaks_of_an_item_never_shown():
    """Shared and hybrid models order unseen items by their features; a disjoint one cannot."""
    rng, schema = np.random.default_rng(2), schema_of(2, 2, 0)
    items = [f"item-{i}" for i in range(30)]
    batch, z = log(rng, schema, items, 600)
    worth = z @ np.array([1.0, -0.5])
    shown = [items.index(item) for item in batch.item_ids]
    batch.reward[:] = worth[shown] + 0.1 * rng.normal(size=600)
    fresh = rng.normal(size=(20, 2))
    for spec in ("shared-greedy", "hybrid-greedy"):
        made = make_policy(spec, schema=schema)
        state = made.init()
        made.update(state, batch)
        posterior = made.derive(state)
        names = [f"fresh-{i}" for i in range(20)]
        found = ask(posterior, rng, schema, names, fresh, n=1)
        mean = made.believe(posterior, found).mean
        assert np.corrcoef(mean, fresh @ np.array([1.0, -0.5]))[0, 1] > 0.95


def test_a_hybrid_item_departs_from_what_its_features_say():
    """Two items of the same features, one of them better: only its own part can tell."""
    rng, schema = np.random.default_rng(8), schema_of(2, 1, 0)
    items = ["plain", "better"]
    batch, _ = log(rng, schema, items, 400)
    batch.z[:] = 1.0
    batch.examination[:] = 1.0
    batch.reward[:] = [float(item == "better") for item in batch.item_ids]
    means = {}
    for model in ("shared", "hybrid"):
        made = make_policy(f"{model}-greedy", schema=schema)
        state = made.init()
        made.update(state, batch)
        posterior = made.derive(state)
        request = ask(posterior, rng, schema, items, np.ones((2, 1)), n=1)
        means[model] = made.believe(posterior, request).mean
    assert means["hybrid"][1] - means["hybrid"][0] > 0.9
    assert means["shared"][1] == pytest.approx(means["shared"][0], abs=1e-12)


def test_numerics_hold_after_a_million_updates_at_64_columns():
    """Positive definite, and an inverse to 1e-8; packed sums are symmetric by construction."""
    rng, d, n = np.random.default_rng(0), 64, 10_000
    schema = schema_of(d, 0, 0)
    made = make_policy("linear-ucb", schema=schema)
    state = made.init()
    x = rng.normal(size=(n, d)) / np.arange(1, d + 1)  # a decaying spectrum
    x[:, 0] = 1.0
    batch = Outcomes(
        item_ids=["one"] * n,
        x=x,
        reward=x @ rng.normal(size=d) + 0.1 * rng.normal(size=n),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
    )
    for _ in range(100):
        made.update(state, batch)
    posterior = made.derive(state)
    precision = naive.unpack(state.sums["gram"][0] + flat_prior(RIDGE * d, d), d)
    covariance = naive.unpack(posterior.arrays["covariance"][1], d)
    assert state.sums["count"][0] == 1e6
    assert np.linalg.cond(precision) > 1e3
    assert np.linalg.eigvalsh(covariance).min() > 0
    product = covariance @ precision
    assert np.abs(product - np.eye(d)).max() < 1e-8
    assert np.abs(product - product.T).max() < 1e-8
    exact = 100 * (x.T @ x) + RIDGE * d * np.eye(d)
    theta = np.linalg.solve(exact, 100 * (x.T @ batch.reward))
    np.testing.assert_allclose(posterior.arrays["theta"][1], theta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("exponent", [0, 4, 8])
def test_inverses_of_ill_conditioned_sums_err_no_more_than_their_condition_says(exponent):
    rng, d = np.random.default_rng(exponent), 32
    basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
    matrix = basis @ np.diag(np.logspace(0, exponent, d)) @ basis.T
    gram = naive.pack(matrix)[None, :]
    theta, covariance = np.empty((1, d)), np.empty_like(gram)
    moment = rng.normal(size=(1, d))
    assert derive_ridge(gram, moment, np.zeros(gram.shape[1]), theta, covariance) == 0
    error = naive.unpack(covariance[0], d) @ naive.unpack(gram[0], d) - np.eye(d)
    assert np.abs(error).max() < 1e-15 * d * 10.0**exponent


def test_the_order_of_items_in_a_state_leaves_pooled_beliefs_as_they_are():
    made, state = learned("hybrid-ucb", n=200)
    again = made.init()
    again.put(sorted(ITEMS, reverse=True), state.take(sorted(ITEMS, reverse=True)))
    again.put_shared(state.shared)
    one, other = made.derive(state), made.derive(again)
    here = made.believe(one, requests(one))
    there = made.believe(other, requests(other))
    np.testing.assert_allclose(here.mean, there.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(here.sd, there.sd, rtol=1e-9)
