"""Our learners as they are measured: what they read, what they serve, and when."""

import numpy as np
import pytest

from benchmarks.learners import (
    FactorRater,
    Ids,
    Interval,
    PairRanker,
    RankerConfig,
    RaterConfig,
)
from simulator.progressive import Predictions, rank_purchases, rate
from simulator.ratings import Ratings
from simulator.retail import Purchases

HOUR = 3_600_000


def ratings(n=400, users=20, items=15, seed=4):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, users, n), rng.integers(0, items, n)
    taste = rng.normal(size=users)[user] + rng.normal(size=items)[item]
    return Ratings(
        source="drawn",
        user_ids=tuple(map(str, range(users))),
        item_ids=tuple(map(str, range(items))),
        user=user,
        item=item,
        value=5.0 + taste + 0.1 * rng.normal(size=n),
        time_ms=np.sort(rng.integers(0, 100 * HOUR, n)),
    )


def purchases(n=600, customers=9, items=40, seed=4):
    """Baskets of four items of one of five kinds; items numbered by their first appearance."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(rng.integers(0, 5, n // 4), 4)
    raw = kind * (items // 5) + np.tile(np.arange(4), n // 4) * 2 + rng.integers(0, 2, n)
    _, first = np.unique(raw, return_index=True)
    number = {int(raw[at]): place for place, at in enumerate(np.sort(first))}
    return Purchases(
        source="drawn",
        customer_ids=tuple(map(str, range(customers))),
        item_ids=tuple(map(str, range(len(number)))),
        customer=np.repeat(rng.integers(0, customers, n // 4), 4),
        item=np.array([number[int(each)] for each in raw]),
        basket=np.repeat(np.arange(n // 4), 4),
        quantity=np.ones(n, dtype=np.int64),
        time_ms=np.repeat(np.arange(n // 4), 4) * HOUR,
    )


def rater(log, **settings):
    return FactorRater(RaterConfig(**settings), len(log.user_ids), len(log.item_ids))


def test_ids_keep_rows_of_their_own_or_share_them():
    assert Ids().of(4).tolist() == [0, 1, 2, 3]
    assert Ids().lost(1000) == 0.0
    few = Ids(rows=10, seed=3)
    assert set(few.of(1000).tolist()) == set(range(10))
    assert few.lost(1000) == pytest.approx(0.99)
    assert few.of(50).tolist() == few.of(1000)[:50].tolist()
    assert few.of(50).tolist() != Ids(rows=10, seed=4).of(50).tolist()


def test_intervals_end_at_their_multiples():
    every, hourly = Interval(0), Interval(10)
    assert [every.passed(time) for time in (3, 3, 4)] == [True] * 3
    times = (3, 9, 10, 19, 20, 47, 49, 50)
    assert [hourly.passed(time) for time in times] == [
        False, False, True, False, True, True, False, True,
    ]  # fmt: skip


def test_learning_in_one_call_is_learning_event_by_event():
    log = ratings()
    whole, single = rater(log), rater(log)
    told = whole.learn(log.user, log.item, log.value, log.time_ms)
    found = rate(single, log, low=-50.0, high=50.0)
    np.testing.assert_array_equal(whole.factors.totals, single.factors.totals)
    asked = log.user[:50], log.item[:50], log.time_ms[-50:]
    whole.changed.append((log.user, log.item))
    np.testing.assert_array_equal(whole.predict(*asked), single.predict(*asked))
    # Before it is met, an id has no vector that could be read, but is learned from its first one.
    assert np.abs(told - found.predicted).max() < 0.2
    assert found.rmse == pytest.approx(Predictions(predicted=told, value=log.value).rmse, abs=0.01)
    late = slice(200, None)
    assert np.std(found.predicted[late] - log.value[late]) < 0.6 * np.std(log.value[late])


@pytest.mark.parametrize("interval_ms", [1, HOUR, 24 * HOUR, 1000 * HOUR])
def test_what_is_served_was_learned_before_the_interval(interval_ms):
    log = ratings()
    found = rate(rater(log, interval_ms=interval_ms), log)
    for row in range(0, len(log), 37):
        mark = log.time_ms[row] // interval_ms * interval_ms
        before = int(np.searchsorted(log.time_ms, mark))
        fresh = rater(log)
        part = log.head(before)
        fresh.update(part.user, part.item, part.value, part.time_ms)
        one = slice(row, row + 1)
        expected = fresh.predict(log.user[one], log.item[one], log.time_ms[one])
        np.testing.assert_array_equal(found.predicted[one], np.clip(expected, 0.0, 10.0))


def test_ids_that_share_a_row_are_predicted_alike():
    log = ratings()
    apart, shared = rater(log), rater(log, users=Ids(rows=1), items=Ids(rows=1))
    for each in (apart, shared):
        each.update(log.user, log.item, log.value, log.time_ms)
    ends = np.array([0, 7]), np.array([0, 9]), log.time_ms[-2:]
    assert len(set(shared.predict(*ends).tolist())) == 1
    assert len(set(apart.predict(*ends).tolist())) == 2
    assert shared.factors.table.statistics().rows == 2


@pytest.mark.parametrize("config", [{}, {"last": 0, "customer": 1.0}, {"customer": 0.5}], ids=str)
def test_scores_are_products_and_popularity(config):
    log = purchases(80)
    ranker = PairRanker(RankerConfig(**config), len(log.customer_ids), len(log.item_ids))
    rank_purchases(ranker, log)
    customer, known = int(log.customer[-1]), ranker.known
    scores = ranker.scores(customer, known, int(log.time_ms[-1]))
    keys = [ranker.customer_keys[[customer]]] if ranker.own else []
    last = list(log.item[log.customer == customer].tolist()[::-1])[: ranker.config.last]
    context = np.concatenate([*keys, ranker.last_keys[last]])
    context = np.pad(context, (0, len(ranker.weights) - len(context)))
    products = ranker.pairs.score(context, ranker.item_keys[:known])
    count = np.zeros(known)
    for item, time_ms in zip(log.item, log.time_ms, strict=True):
        count[item] += 2.0 ** (time_ms / (7 * 24 * HOUR))
    np.testing.assert_allclose(scores, products + np.log(count), atol=1e-4)
    assert np.abs(products).max() > 0.1


def test_the_last_items_tell_what_belongs_to_them():
    log = purchases(1200)
    hits = {}
    for last, customer in ((5, 0.0), (0, 1.0)):
        config = RankerConfig(last=last, customer=customer)
        ranker = PairRanker(config, len(log.customer_ids), len(log.item_ids))
        hits[last] = rank_purchases(ranker, log).hit_rate(3)
    assert hits[5] > 1.5 * hits[0]


def test_rankers_serve_what_was_learned_before_the_interval():
    log = purchases(120)
    day = 24 * HOUR
    daily = PairRanker(RankerConfig(interval_ms=day), len(log.customer_ids), len(log.item_ids))
    for row in range(len(log)):
        time_ms = int(log.time_ms[row])
        known = int(log.item[:row].max(initial=-1)) + 1
        scores = daily.scores(int(log.customer[row]), known, time_ms)
        before = int(np.searchsorted(log.time_ms, time_ms // day * day))
        sold = set(log.item[:before].tolist())
        served = {item for item in range(known) if scores[item] > -np.inf}
        assert served == sold, "what sells for the first time is offered from the next day on"
        daily.update(*(int(each[row]) for each in (log.customer, log.item, log.basket)), time_ms)
