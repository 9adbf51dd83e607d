"""Readers of ratings and purchases, and asking before learning."""

import gzip

import numpy as np
import pytest

from engine.errors import ConfigError
from simulator.progressive import MISS, rank_purchases, rate
from simulator.ratings import read_ratings
from simulator.retail import AGAIN, ANONYMOUS, RETURN, SERVICE, read_purchases

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
DAY = 86_400_000


def purchases(tmp_path, lines, name="retail.csv"):
    """A file of (invoice, code, quantity, day, customer)."""
    text = HEADER + "".join(
        f'{invoice},{code},"A, B",{quantity},2011-01-{day:02} 10:00:00,1.5,{customer},France\n'
        for invoice, code, quantity, day, customer in lines
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


class Memory:
    """Predicts the mean of what it was told of a pair, else of all; records the order of calls."""

    def __init__(self):
        self.told = []
        self.calls = []

    def predict(self, user, item, time_ms):
        self.calls.append(("predict", len(user)))
        everything = [value for _, value in self.told] or [5.0]
        return np.array(
            [
                np.mean([v for pair, v in self.told if pair == each] or everything)
                for each in zip(user.tolist(), item.tolist(), strict=True)
            ]
        )

    def update(self, user, item, value, time_ms):
        self.calls.append(("update", len(user)))
        self.told += zip(
            zip(user.tolist(), item.tolist(), strict=True), value.tolist(), strict=True
        )


class Counts:
    """Popularity."""

    def __init__(self):
        self.count = np.zeros(100)

    def scores(self, customer, items, time_ms):
        return self.count[:items]

    def update(self, customer, item, basket, time_ms):
        self.count[item] += 1


def ratings(tmp_path, text):
    path = tmp_path / "ratings.dat"
    path.write_text(text)
    return path


def test_ratings_come_in_time_order_and_are_numbered_by_it(tmp_path):
    log = read_ratings(ratings(tmp_path, "9::a::7::30\n8::b::1::20\n9::b::2.5::20\n"))
    assert log.user_ids == ("8", "9")
    assert log.item_ids == ("b", "a")
    assert log.user.tolist() == [0, 1, 1]
    assert log.item.tolist() == [0, 0, 1]
    assert log.value.tolist() == [1.0, 2.5, 7.0]
    assert log.time_ms.tolist() == [20_000, 20_000, 30_000]
    assert log.head(1).value.tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1::2::3::4\n1::2::3\n", "line 2: 3 values"),
        ("1::2::good::4\n", "no number"),
        ("1::2::nan::4\n", "not finite"),
        ("", "is empty"),
    ],
)
def test_what_is_no_rating_is_refused(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason):
        read_ratings(ratings(tmp_path, text))


def test_an_absent_file_is_refused(tmp_path):
    for reader in (read_ratings, read_purchases):
        with pytest.raises(ConfigError, match="cannot be read"):
            reader(tmp_path / "none")


@pytest.mark.parametrize("name", ["retail.csv", "retail.csv.gz"])
def test_only_purchases_of_products_by_known_customers_stay(tmp_path, name):
    lines = [
        ("2", "22222", 1, 2, "c2"),
        ("1", "11111a", 3, 1, "c1"),
        ("1", "11111A ", 2, 1, "c1"),
        ("1", "POST", 1, 1, "c1"),
        ("C3", "11111A", -3, 3, "c1"),
        ("4", "11111A", 1, 4, ""),
        ("5", "22222", 1, 5, "c1"),
        ("6", "22222", 1, 6, "c1"),
    ]
    log = read_purchases(purchases(tmp_path, lines, name))
    assert log.item_ids == ("11111A", "22222")
    assert log.customer_ids == ("c1", "c2")
    assert log.item.tolist() == [0, 1, 1, 1]
    assert log.customer.tolist() == [0, 1, 0, 0]
    assert log.basket.tolist() == [0, 1, 2, 3]
    assert log.quantity.tolist() == [3, 1, 1, 1]
    assert log.excluded == {RETURN: 1, ANONYMOUS: 1, SERVICE: 1, AGAIN: 1}
    assert np.diff(log.time_ms).tolist() == [DAY, 3 * DAY, DAY]
    assert log.repeat.tolist() == [False, False, False, True]
    assert log.cold(0).tolist() == [False, True, True, True]
    assert not log.cold(1).any(), "a day later is not more than a day"


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="no column InvoiceNo"):
        read_purchases(path)
    path.write_text(HEADER + "1,2\n")
    with pytest.raises(ConfigError, match="line 2: 2 values, 8 columns"):
        read_purchases(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_purchases(purchases(tmp_path, [("1", "11111", "x", 1, "c")]))
    path = tmp_path / "broken.csv.gz"
    path.write_bytes(gzip.compress(HEADER.encode())[:-9])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_purchases(path)


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_every_rating_is_asked_for_before_it_is_learned(tmp_path, batch):
    rng = np.random.default_rng(3)
    lines = [f"{u}::{i}::{v}::{t}" for t, (u, i, v) in enumerate(rng.integers(0, 5, (20, 3)))]
    log = read_ratings(ratings(tmp_path, "\n".join(lines)))
    rater, again = Memory(), Memory()
    found = rate(rater, log, batch=batch)
    assert [name for name, _ in rater.calls] == ["predict", "update"] * -(-20 // batch)
    for start in range(0, 20, batch):
        part = slice(start, start + batch)
        told = again.predict(log.user[part], log.item[part], log.time_ms[part])
        assert found.predicted[part].tolist() == told.tolist()
        again.update(log.user[part], log.item[part], log.value[part], log.time_ms[part])
    error = found.predicted - log.value
    assert found.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found.curve(2) == pytest.approx(
        [np.sqrt(np.mean(part**2)) for part in (error[:10], error[10:])]
    )


def test_predictions_beyond_the_scale_are_its_ends(tmp_path):
    log = read_ratings(ratings(tmp_path, "1::1::9::1\n1::1::9::2\n"))
    assert rate(Memory(), log, high=7.0).predicted.tolist() == [5.0, 7.0]
    with pytest.raises(ConfigError, match="batch is 0"):
        rate(Memory(), log, batch=0)


def obvious_ranks(log):
    """Ranks by popularity, by sorting."""
    count, bought, baskets, found = {}, set(), {}, []
    for customer, item, basket in zip(
        log.customer.tolist(), log.item.tolist(), log.basket.tolist(), strict=True
    ):
        inside = baskets.setdefault(basket, set())
        order = sorted((each for each in count if each not in inside), key=lambda i: (-count[i], i))
        new = [each for each in order if each == item or (customer, each) not in bought]
        found.append((order.index(item), new.index(item)) if item in count else (MISS, MISS))
        count[item] = count.get(item, 0) + 1
        bought.add((customer, item))
        inside.add(item)
    return found


def test_ranks_are_those_of_a_sorted_list(tmp_path):
    rng = np.random.default_rng(8)
    lines = [
        (n // 4, 10_000 + int(rng.zipf(1.5)) % 30, 1, 1 + n // 20, f"c{n // 4 % 7}")
        for n in range(400)
    ]
    log = read_purchases(purchases(tmp_path, lines))
    found, wanted = rank_purchases(Counts(), log), obvious_ranks(log)
    assert list(zip(found.among_all.tolist(), found.among_new.tolist(), strict=True)) == wanted
    first = ~log.repeat
    assert log.repeat.any()
    assert first.any()
    assert found.hit_rate(5) == np.mean([all_ < 5 for all_, _ in wanted])
    assert found.new_hit_rate(5) == np.mean([wanted[row][1] < 5 for row in np.flatnonzero(first)])
    cold = log.cold(3)
    assert found.hit_rate(5, cold) == np.mean([wanted[row][0] < 5 for row in np.flatnonzero(cold)])
    assert np.isnan(found.hit_rate(5, np.zeros(len(log), dtype=bool)))
    halves = np.array_split(np.array([all_ < 5 for all_, _ in wanted]), 2)
    assert found.curve(5, 2).tolist() == [half.mean() for half in halves]


def test_what_a_ranker_cannot_score_is_a_miss(tmp_path):
    class Blind(Counts):
        def scores(self, customer, items, time_ms):
            return np.full(items, np.nan)

    log = read_purchases(purchases(tmp_path, [(n, "10001", 1, 1 + n, "c") for n in range(3)]))
    assert rank_purchases(Counts(), log).among_all.tolist() == [MISS, 0, 0]
    assert rank_purchases(Blind(), log).among_all.tolist() == [MISS] * 3


def test_the_real_sets(data_dir):
    log = read_purchases(data_dir / "online_retail" / "online_retail.csv.gz")
    assert (len(log), len(log.customer_ids), len(log.item_ids)) == (386_354, 4335, 3659)
    assert len(log) + sum(log.excluded.values()) == 541_909, "no line is lost silently"
    assert log.excluded[ANONYMOUS] == 133_361
    items = np.unique(log.item, return_index=True)[1]
    assert round(float(log.cold(60)[items].mean()), 3) == 0.287
    rated = read_ratings(data_dir / "movietweetings_100k" / "ratings.dat")
    assert (len(rated), len(rated.user_ids), len(rated.item_ids)) == (100_000, 16_554, 10_506)
    assert (np.diff(rated.time_ms) >= 0).all()
