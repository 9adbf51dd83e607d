"""Random Fourier features: the kernel they approximate, and the regression they amount to."""

import numpy as np
import pytest

from engine.batches import Candidates, Outcomes, Requests, hash_key
from engine.errors import ConfigError
from engine.features import Numeric, Schema
from engine.models.fourier import Fourier, frequencies
from engine.registry import make_policy
from tests.engine.worlds import ITEMS, SCHEMA, outcomes, policy, requests
from tests.naive import linear as twin

CONTEXT = Schema(features=tuple(Numeric(name=f"x{j}") for j in range(3)))
COLUMNS = ("x0", "x1", "x2")


def mapped(rows, features, bandwidth, seed=0, columns=COLUMNS):
    """Rows of unit length, the slow way."""
    keys = [hash_key(column) for column in columns]
    scale = 1 / (bandwidth * np.sqrt(len(columns)))
    return twin.fourier_rows(rows, twin.frequencies(seed, keys, scale, features // 2), 1.0)


def gaussian(rows, bandwidth):
    apart = ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
    return np.exp(-apart / (2 * rows.shape[1] * bandwidth**2))


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
@pytest.mark.parametrize("features", [64, 1024])
def test_inner_products_approximate_the_gaussian_kernel(features, bandwidth):
    """Hoeffding's bound of a mean of cosines, over all pairs, fails with chance 1e-3."""
    rows = np.random.default_rng(0).normal(size=(20, 3))
    z = mapped(rows, features, bandwidth)
    pairs = 20 * 19 / 2
    bound = np.sqrt(2 * np.log(2 * pairs / 1e-3) / (features / 2))
    error = np.abs(z @ z.T - gaussian(rows, bandwidth)).max()
    assert error < bound
    np.testing.assert_allclose((z * z).sum(axis=1), 1.0, rtol=1e-12)


def test_inner_products_are_right_on_average_over_seeds():
    rows = np.random.default_rng(1).normal(size=(8, 3))
    maps = (mapped(rows, 16, 1.0, seed) for seed in range(400))
    products = np.array([z @ z.T for z in maps])
    error = products.std(axis=0) / np.sqrt(400)
    assert np.all(np.abs(products.mean(axis=0) - gaussian(rows, 1.0)) < 4.5 * error + 1e-12)


def test_frequencies_are_a_function_of_seed_number_and_column():
    drawn = frequencies(3, 32, 1.0, COLUMNS)
    np.testing.assert_array_equal(frequencies(3, 32, 1.0, COLUMNS[::-1]), drawn[::-1])
    np.testing.assert_array_equal(frequencies(3, 64, 1.0, COLUMNS)[:, :16], drawn)
    assert not np.any(frequencies(4, 32, 1.0, COLUMNS) == drawn)


def fit(made, batch):
    state = made.init()
    made.update(state, batch)
    return made.derive(state)


def log(n, seed=0, items=("one",)):
    rng = np.random.default_rng(seed)
    x = np.c_[np.ones(n), rng.normal(size=(n, 3))]
    return Outcomes(
        item_ids=[items[i] for i in rng.integers(0, len(items), n)],
        x=x,
        reward=np.sin(2 * x[:, 1]) + 0.1 * rng.normal(size=n),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
    )


def ask(posterior, x, item="one"):
    found = Candidates.of(posterior, [item])
    return Requests.of(x, [str(i) for i in range(len(x))], [found] * len(x))


@pytest.mark.parametrize("n", [1, 2, 40])
def test_beliefs_are_those_of_kernel_regression(n):
    """After one reward as after many: no first inverse and no first reward of its own."""
    made = make_policy("fourier-ucb:features=32,bandwidth=0.8,ridge=0.05", schema=CONTEXT)
    batch, asked = log(n), log(7, seed=5).x
    posterior = fit(made, batch)
    belief = made.believe(posterior, ask(posterior, asked))
    here, there = mapped(batch.x[:, 1:], 32, 0.8), mapped(asked[:, 1:], 32, 0.8)
    # Gaussian process with kernel (1 + k) / ridge and unit noise, in its dual form.
    kernel = (1 + here @ here.T) / 0.05
    across = (1 + there @ here.T) / 0.05
    inverse = np.linalg.inv(kernel + np.eye(n))
    np.testing.assert_allclose(belief.mean, across @ inverse @ batch.reward, rtol=1e-8, atol=1e-9)
    variance = 2 / 0.05 - np.einsum("an,nm,am->a", across, inverse, across)
    np.testing.assert_allclose(belief.sd**2, variance, rtol=1e-7, atol=1e-8)


def test_one_reward_is_counted_once():
    made = make_policy("fourier-ucb:features=16,ridge=1", schema=CONTEXT)
    batch = log(1)
    posterior = fit(made, batch)
    belief = made.believe(posterior, ask(posterior, batch.x))
    assert belief.mean[0] == pytest.approx(batch.reward[0] * 2 / 3, rel=1e-12)
    assert belief.sd[0] ** 2 == pytest.approx(2 / 3, rel=1e-12)


def test_features_bend_where_a_linear_model_cannot():
    batch, test = log(3000), log(500, seed=9)
    errors = {}
    for spec in ("fourier-greedy:bandwidth=0.5,features=128", "linear-greedy"):
        made = make_policy(spec, schema=CONTEXT)
        posterior = fit(made, batch)
        mean = made.believe(posterior, ask(posterior, test.x)).mean
        errors[spec.split("-")[0]] = np.mean((mean - np.sin(2 * test.x[:, 1])) ** 2)
    assert errors["fourier"] < 0.03
    assert errors["linear"] > 0.3


@pytest.mark.parametrize("base", ["shared", "hybrid"])
def test_other_bases_are_the_dense_fit_over_the_mapped_rows(base):
    made = policy(f"fourier-ucb:base={base},features=16")
    batch = outcomes(0, 120)
    posterior = fit(made, batch)
    request = requests(posterior, n=2)
    belief = made.believe(posterior, request)

    def rows_of(x, z):
        joint = np.array([twin.joint_row(*row, SCHEMA) for row in zip(x, z, strict=True)])
        left, right = SCHEMA.cross
        products = [
            f"{SCHEMA.columns[i]}*{SCHEMA.item_columns[j]}"
            for i, j in zip(left, right, strict=True)
        ]
        columns = (*SCHEMA.columns, *SCHEMA.item_columns, *products)
        both = mapped(joint[:, 1:], 16, 1.0, columns=columns[1:])
        context = mapped(x[:, 1:], 16, 1.0, columns=SCHEMA.columns[1:])
        constant = np.ones((len(x), 1))
        return np.hstack([constant, context] if base == "hybrid" else [constant]), both

    asked_ids = [*ITEMS, "never-seen"]
    x, h = rows_of(batch.x, batch.z)
    asked_x, asked_h = rows_of(request.x[request.of_candidate], request.z)
    if base == "shared":
        design, asked = np.hstack([x, h]), np.hstack([asked_x, asked_h])
    else:
        design = twin.stacked_design(batch.item_ids, x, h, asked_ids)
        asked = twin.stacked_design(asked_ids * 2, asked_x, asked_h, asked_ids)
    precision = 0.01 * np.eye(design.shape[1])
    theta, covariance = twin.dense_fit(design, batch.reward, batch.weight, precision)
    np.testing.assert_allclose(belief.mean, asked @ theta, rtol=1e-7, atol=1e-8)
    variance = np.einsum("nf,fg,ng->n", asked, covariance, asked)
    np.testing.assert_allclose(belief.sd**2, variance, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("base=cubic", "base is"),
        ("base=liner", "did you mean 'linear'"),
        ("features=7", "even number"),
        ("features=0", "even number"),
        ("bandwidth=0", "above 0"),
        ("bandwidth=nan", "above 0"),
        ("ridge=-1", "above 0"),
        ("feature_seed=-1", "feature_seed"),
    ],
)
def test_wrong_settings_are_refused(given, hint):
    with pytest.raises(ConfigError) as caught:
        make_policy(f"fourier-ucb:{given}", schema=SCHEMA)
    assert hint in str(caught.value)


def test_a_schema_with_nothing_to_compare_is_refused():
    with pytest.raises(ConfigError, match="no context feature"):
        make_policy("fourier-ucb", schema=Schema())


def test_sums_do_not_outlive_the_columns_they_were_mapped_from():
    assert not Fourier().traits.aligns
    assert Fourier(base="hybrid").traits.correlated
    assert not Fourier().traits.correlated
