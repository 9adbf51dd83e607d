from dataclasses import replace

import numpy as np
import pytest

from engine.batches import Outcomes, Requests
from engine.errors import ConfigError, ShapeError
from engine.registry import MODELS, make_policy, policy_names
from tests.engine.worlds import (
    ITEMS,
    SCHEMA,
    candidates,
    item_features,
    learned,
    outcomes,
    policy,
    requests,
)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("linear-tompson", "did you mean 'linear-thompson'"),
        ("linear-ucb:alfa=1", "did you mean 'alpha'"),
        ("linear-ucb:epsilon=1", "unknown"),
        ("linear-ucb:alpha=x", "alpha=number"),
        ("linear-ucb:alpha", "with '='"),
        ("linear-ucb:alpha=-1", "above 0"),
        ("linear-ucb:alpha=nan", "above 0"),
        ("linear-ucb:ridge=0", "above 0"),
        ("beta-greedy:prior_a=0", "above 0"),
        ("poisson-thompson:prior_b=1e-7", "1e-06 or more"),
        ("beta-epsilon:epsilon=1.5", "0 to 1"),
        ("linear-ucb:floor=-0.1", "0 to 1"),
        ("linear-ucb:half_life_seconds=-1", "0 or more"),
        ("linear-ucb:half_life_seconds=nan", "0 or more"),
        ("linear-ucb:half_life_seconds=inf", "0 or more"),
        ("linear-ucb:half_life_seconds=0.0001", "multiple of 0.001"),
        ("linear-ucb:seed=-1", "0 or more"),
        ("linear-ucb:seed=1e30", "0 or more"),
        ("linear-ucb:seed=1.5", "multiple of 1"),
        ("linear-ucb:alpha=1,alpha=2", "twice"),
        ("uniform:alpha=1", "unknown"),
        ("", "unknown"),
    ],
)
def test_wrong_specs_are_refused_with_the_way_out(spec, hint):
    with pytest.raises(ConfigError) as caught:
        make_policy(spec)
    assert hint in str(caught.value)


def test_names_are_the_ones_promised():
    """Every model with every exploration whose probabilities can be stated."""
    anywhere = ("greedy", "epsilon", "softmax", "squarecb", "fastcb")
    promised = {"uniform"} | {f"{model}-{kind}" for model in MODELS for kind in anywhere}
    spread = MODELS.keys() - {"river", "importance", "mf", "fm", "bpr"}
    promised |= {f"{model}-{kind}" for model in spread for kind in ("ucb", "top-m")}
    drawn = spread - {"bagged", "diagonal"}  # replicas, and spreads that may be infinite
    promised |= {f"{model}-thompson" for model in drawn}
    promised |= {"shared-marginal-thompson", "hybrid-marginal-thompson"}
    promised |= {"beta-kl-ucb", "bagged-bagging", "importance-exp3"}
    assert set(policy_names()) == promised


def test_uniform_is_exactly_uniform():
    made, state = learned("uniform")
    posterior = made.derive(state)
    slates = made.rank(posterior, requests(posterior, items=ITEMS), 3)
    np.testing.assert_allclose(slates.propensity, [[1 / 7, 1 / 6, 1 / 5]] * 5, rtol=1e-12)
    assert slates.method == "exact"


@pytest.mark.parametrize("k", [0, -1, 9])
def test_slates_longer_than_the_candidates_are_refused(k):
    made, state = learned("linear-ucb")
    posterior = made.derive(state)
    with pytest.raises(ShapeError, match="k is"):
        made.rank(posterior, requests(posterior), k)


@pytest.mark.parametrize("picks", [[[0, 0]], [[0, 8]], [[-1, 2]], [[0, 1], [0, 1]]])
def test_picks_that_are_no_slate_are_refused(picks):
    made, state = learned("linear-ucb")
    posterior = made.derive(state)
    with pytest.raises(ShapeError, match="picks"):
        made.score(posterior, requests(posterior, n=1), np.array(picks))


@pytest.mark.parametrize(
    "damage",
    [
        {"reward": np.ones(2)},
        {"x": np.ones((3, 5, 1))},
        {"reward": np.array([1, np.nan, 0])},
        {"x": np.full((3, 5), np.inf)},
        {"weight": np.array([1.0, 0.0, 1.0])},
        {"weight": np.array([1.0, -1.0, 1.0])},
        {"weight": np.array([1.0, np.inf, 1.0])},
        {"examination": np.array([1.0, 0.0, 1.0])},
        {"examination": np.array([1.0, np.nan, 1.0])},
        {"slot": np.array([0, -1, 1])},
        {"slate": np.zeros(2, dtype=np.int64)},
    ],
)
def test_outcomes_that_do_not_fit_are_refused(damage):
    fine = {
        "item_ids": ["a"] * 3,
        "x": np.ones((3, 5)),
        "reward": np.ones(3),
        "weight": np.ones(3),
        "time_ms": np.zeros(3, dtype=np.int64),
    }
    Outcomes(**fine)
    with pytest.raises(ShapeError):
        Outcomes(**(fine | damage))


def test_slates_of_a_batch_are_told_apart_and_stay_so_in_a_part_of_it():
    batch = outcomes(0, 6)
    assert batch.slate.tolist() == list(range(6))
    pairs = replace(batch, slate=np.arange(6) // 2)
    assert pairs.take(slice(1, 4)).slate.tolist() == [0, 1, 1]
    assert pairs.take(np.array([0, 4, 5])).slate.tolist() == [0, 2, 2]


def test_rows_of_another_width_are_refused():
    made = policy("linear-ucb")
    batch = outcomes(0, 3)
    narrow = Outcomes(
        item_ids=batch.item_ids,
        x=batch.x[:, :2],
        reward=batch.reward,
        weight=batch.weight,
        time_ms=batch.time_ms,
    )
    with pytest.raises(ShapeError, match="columns"):
        made.update(made.init(), narrow)


def test_requests_need_one_candidate_set_each():
    made, state = learned("linear-ucb")
    found = candidates(made.derive(state), ITEMS)
    with pytest.raises(ShapeError, match="one of each"):
        Requests.of(SCHEMA.encode([{}, {}]), ["a"], [found])


def test_a_batch_of_requests_equals_one_at_a_time():
    made, state = learned("linear-thompson")
    posterior = made.derive(state)
    ids = [f"r{i}" for i in range(6)]
    many = made.rank(posterior, requests(posterior, n=6, ids=ids), 3)
    batch = requests(posterior, n=6, ids=ids)
    for i in range(6):
        alone = Requests(
            x=batch.x[i : i + 1],
            keys=batch.keys[i : i + 1],
            offsets=np.array([0, 8]),
            item_keys=batch.item_keys[:8],
            rows=batch.rows[:8],
            z=batch.z[:8],
        )
        one = made.rank(posterior, alone, 3)
        np.testing.assert_array_equal(one.picks[0], many.picks[i])
        np.testing.assert_array_equal(one.propensity[0], many.propensity[i])


def test_different_requests_draw_differently_and_a_repeat_the_same():
    made, state = learned("uniform")
    posterior = made.derive(state)
    first = made.rank(posterior, requests(posterior, n=40), 3).picks
    assert len({tuple(picks) for picks in first.tolist()}) > 20
    np.testing.assert_array_equal(first, made.rank(posterior, requests(posterior, n=40), 3).picks)


def test_item_summary_covers_the_mean_of_a_known_item():
    made = policy("linear-ucb")
    misses = 0
    for seed in range(40):
        state, batch = made.init(), outcomes(seed, 200, items=("one",))
        made.update(state, batch)
        at = batch.x.mean(axis=0)
        found = made.item_summary(made.derive(state), ["one", "unseen"], at, batch.z[:2])
        assert found["count"][1] == 0
        misses += not found["low"][0] < 0.3 < found["high"][0]
        assert found["high"][0] - found["low"][0] < 0.2 < found["high"][1] - found["low"][1]
    assert misses <= 6, "a 95 % interval; seven or more misses in 40 have chance 0.003"


def test_learning_beats_chance_in_a_world_where_devices_differ():
    rng = np.random.default_rng(0)
    made = policy("linear-thompson")
    state, wins = made.init(), 0
    posterior = made.derive(state)
    for t in range(1500):
        device = ("ios", "android")[t % 2]
        x = SCHEMA.encode([{"device": device, "hour": 12, "age": 40}])
        batch = Requests.of(x, [f"t{t}"], [candidates(posterior, ITEMS)])
        item = ITEMS[made.rank(posterior, batch, 1).picks[0, 0]]
        chance = 0.8 if item == ITEMS[t % 2] else 0.2
        reward = float(rng.random() < chance)
        wins += chance == 0.8 and t >= 1000
        made.update(
            state,
            Outcomes(
                item_ids=[item],
                x=x,
                reward=np.array([reward]),
                weight=np.ones(1),
                time_ms=np.array([t]),
                z=SCHEMA.encode_items(item_features([item])),
            ),
        )
        posterior = made.refresh(posterior, state, [item])
    assert wins / 500 > 0.85, "chance is 1/7"


@pytest.mark.parametrize("spec", [name for name in policy_names() if name != "uniform"])
def test_the_last_candidate_left_is_certain(spec):
    made, state = learned(spec)
    posterior = made.derive(state)
    slates = made.rank(posterior, requests(posterior, items=ITEMS[:3]), 3)
    assert slates.propensity[:, 2].tolist() == [1.0] * 5
    assert slates.error[:, 2].tolist() == [0.0] * 5


def test_forgetting_does_not_wait_to_be_asked():
    """Beliefs derived straight after an update are those of its last outcome's time."""
    made = policy("beta-greedy:half_life_seconds=1")
    state = made.init()
    made.update(state, outcomes(0, 50))
    assert made.derive(state).arrays["count"].max() < 10


def test_the_interval_of_a_rate_is_a_rate():
    made = policy("beta-ucb")
    found = made.item_summary(made.derive(made.init()), ["unseen"], SCHEMA.encode([{}])[0])
    assert (found["low"][0], found["mean"][0], found["high"][0]) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize("half_life", ["", ":half_life_seconds=60"])
def test_learning_keeps_the_posterior_that_deriving_gives(half_life):
    made = policy(f"linear-ucb{half_life}")
    state, batch = made.init(), outcomes(2, 200)
    posterior = made.derive(state)
    for start in range(0, 200, 7):
        posterior = made.learn(state, posterior, batch.take(slice(start, start + 7)))
    derived = made.derive(state)
    for name, array in derived.arrays.items():
        mine = posterior.arrays[name][posterior.rows(derived.item_ids)]
        np.testing.assert_array_equal(mine, array[derived.rows(derived.item_ids)])


@pytest.mark.parametrize(
    "spec",
    [
        "linear-ucb:half_life_seconds=1,second_sums=true",
        "diagonal-ucb:half_life_seconds=1",
        "normal-ucb:half_life_seconds=1",
        "bagged-ucb:half_life_seconds=1",
        "logistic-ucb:half_life_seconds=1",
        "logistic-ucb:half_life_seconds=1,covariance=diagonal",
    ],
)
def test_what_comes_hundreds_of_half_lives_late_is_not_learned_however_the_log_is_cut(spec):
    made, start = policy(spec), 1_700_000_000_000
    # After the second outcome the landmark stands there, if the log was cut there, or else at the
    # first; from one the third looks faded to nothing and from the other not.
    for late in (257, 800, 1060, 1074, 10**8):
        batch = replace(
            outcomes(1, 4),
            item_ids=["a", "a", "late", "a"],
            time_ms=start + 1000 * np.array([0, 200, 200 - late, 201]),
        )
        whole, cut = made.init(), made.init()
        made.update(whole, batch)
        for i in range(4):
            made.update(cut, batch.take(slice(i, i + 1)))
        assert cut.hash() == whole.hash()
        assert whole.take(["late"])["count"] == 0
        belief = made.believe(made.derive(whole), requests(made.derive(whole), items=["late", "a"]))
        assert np.isfinite(belief.mean).all()


def test_what_comes_some_half_lives_late_is_learned():
    made, batch = policy("beta-ucb:half_life_seconds=1"), outcomes(1, 2)
    late = replace(
        batch, item_ids=["a", "late"], weight=np.ones(2), time_ms=np.array([2_000_000, 1_997_000])
    )
    state = made.init()
    made.update(state, late)
    assert state.take(["a", "late"])["count"].tolist() == [1.0, 0.125]


NARROW = {"x": np.ones((1, 3)), "z": np.ones((7, 1))}


@pytest.mark.parametrize("spec", [f"{model}-greedy" for model in MODELS if model != "bagged"])
@pytest.mark.parametrize("name", NARROW)
def test_requests_whose_rows_have_another_width_are_refused(spec, name):
    made, state = learned(spec, n=30)
    posterior = made.derive(state)
    asked = requests(posterior, n=1, items=ITEMS)
    with pytest.raises(ShapeError, match="columns"):
        made.believe(posterior, replace(asked, **{name: NARROW[name]}))


@pytest.mark.parametrize(
    "damage",
    [
        {"x": np.ones((2, 6))},
        {"x": np.ones(6)},
        {"offsets": np.array([0, 8])},
        {"offsets": np.array([0, 3, 7])},
        {"rows": np.zeros(6, dtype=np.int64)},
        {"item_keys": np.zeros(6, dtype=np.uint64)},
        {"keys": np.zeros(2, dtype=np.uint64)},
    ],
)
def test_requests_whose_parts_do_not_fit_are_refused(damage):
    made, state = learned("linear-ucb")
    posterior = made.derive(state)
    asked = requests(posterior, n=1, items=ITEMS)
    made.rank(posterior, asked, 2)
    with pytest.raises(ShapeError):
        made.rank(posterior, replace(asked, **damage), 2)


@pytest.mark.parametrize(
    "spec",
    ["shared-ucb", "hybrid-ucb", "fourier-ucb:base=shared", "river-greedy:per_item=false"],
)
def test_models_of_item_features_refuse_requests_without_them(spec):
    made, state = learned(spec, n=30)
    posterior = made.derive(state)
    x = SCHEMA.encode([{}])
    with pytest.raises(ShapeError, match="columns"):
        made.item_summary(posterior, ITEMS, x[0])
    assert len(made.item_summary(posterior, ITEMS, x[0], candidates(posterior, ITEMS).z)["mean"])
    blind = policy("linear-ucb")
    assert len(blind.item_summary(blind.derive(blind.init()), ITEMS, x[0])["mean"]) == 7


def test_no_requests_get_no_slates():
    made, state = learned("linear-ucb")
    posterior = made.derive(state)
    none = Requests.of(np.empty((0, made.width)), [], [])
    assert made.rank(posterior, none, 2).picks.shape == (0, 2)


def test_a_name_is_looked_for_among_none():
    with pytest.raises(ConfigError, match="known are none"):
        make_policy("linear-ucb:slate=ruled,cap=genre:1")


@pytest.mark.parametrize(
    ("columns", "match"),
    [({"x": np.ones((1, 3))}, "columns"), ({"x": np.ones((1, 9))}, "columns"),
     ({"z": np.ones((7, 1))}, "columns"), ({"x": np.full((1, 5), np.nan)}, "finite"),
     ({"x": np.full((1, 5), 1e200)}, "finite")],
)  # fmt: skip
@pytest.mark.parametrize("spec", ["linear-thompson", "linear-ucb", "shared-thompson"])
def test_requests_that_do_not_fit_are_refused(spec, columns, match):
    made, state = learned(spec)
    posterior = made.derive(state)
    asked = replace(requests(posterior, n=1, items=ITEMS), **columns)
    with pytest.raises(ShapeError, match=match):
        made.rank(posterior, asked, 2)


@pytest.mark.parametrize("draws", ["slot", "slate"])
@pytest.mark.parametrize("model", ["linear", "beta", "normal"])
def test_no_requests_make_no_slates(model, draws):
    made, state = learned(f"{model}-thompson:draws={draws}")
    posterior = made.derive(state)
    whole = requests(posterior, n=1)
    none = np.zeros(len(whole.rows), dtype=bool)
    empty = replace(
        whole,
        x=whole.x[:0],
        keys=whole.keys[:0],
        offsets=whole.offsets[:1],
        item_keys=whole.item_keys[none],
        rows=whole.rows[none],
        z=whole.z[none],
    )
    assert made.rank(posterior, empty, 3).propensity.shape == (0, 3)
