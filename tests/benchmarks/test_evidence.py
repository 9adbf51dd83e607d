"""Workloads of quality: their peers, their grids, their tables and charts."""

import numpy as np
import pytest

from benchmarks.contest import Figure
from benchmarks.evidence import DATA, best, find
from benchmarks.evidence_charts import CHARTS, draw_evidence
from benchmarks.markdown import pivot, tables
from benchmarks.peers.rankers import IMPLICIT, ImplicitBpr, Popularity, implicit_bpr, popularities
from benchmarks.peers.raters import RATERS, Mean
from benchmarks.workloads.collisions import rows_for
from engine.errors import ConfigError
from tests.benchmarks.test_measure import report_of

DAY = 86_400_000


def figure(what, column, value, **more):
    return Figure(
        workload="ratings", params="100 ratings", what=what, value=value, unit="", column=column,
        **more,
    )  # fmt: skip


def test_figures_with_columns_make_a_table():
    figures = [
        figure("ours", "RMSE", 1.58949, digits=5, note="rate 0.1"),
        figure("ours", "late", 1.5, digits=2),
        figure("theirs", "RMSE", 1.61, digits=5),
    ]
    columns, cells, notes = pivot(figures)
    assert columns == ["RMSE", "late"]
    assert cells == {"ours": ["1.5895", "1.5"], "theirs": ["1.6100", ""]}
    assert notes == {"ours": "rate 0.1", "theirs": ""}
    curve = figure("ours", "", 1.4, at={"chart": "ratings", "series": "ours", "x": 1.0})
    text = tables(report_of(figures=[*figures, curve]))["ratings"]
    assert text.splitlines() == [
        "| 100 ratings | RMSE | late | setting |",
        "|---|---:|---:|---|",
        "| ours | 1.5895 | 1.5 | rate 0.1 |",
        "| theirs | 1.6100 |  |  |",
    ]


def test_the_best_setting_is_told_with_the_size_of_its_grid():
    grid = [("nan", lambda: float("nan")), ("worse", lambda: 3.0), ("good", lambda: 1.0)]
    words, make, found = best(grid, lambda value: value, lambda value: value)
    assert (words, make(), found) == ("good (best of 3)", 1.0, 1.0)


def test_grids_are_of_one_size():
    sizes = {name: len(list(grid())) for name, (grid, missing) in RATERS.items() if not missing}
    assert set(sizes.values()) == {9}, sizes
    assert len(list(implicit_bpr())) == 9


def test_charts_of_evidence(tmp_path):
    pytest.importorskip("matplotlib")
    figures = [
        Figure(
            workload=name, params=setting, what="w", value=2.0 + x, unit="",
            at={"chart": name, "series": "ours", "x": 10.0 * x, "low": 1.0, "high": 4.0},
        )
        for name in CHARTS
        for setting in ("one", "two")
        for x in (1, 2, 3)
    ]  # fmt: skip
    files = draw_evidence(figures, tmp_path)
    assert [file.name for file in files] == [f"embeddings-{name}.svg" for name in CHARTS]
    before = [file.read_bytes() for file in files]
    draw_evidence(figures, tmp_path)
    assert [file.read_bytes() for file in files] == before
    assert b"10 min" in before[list(CHARTS).index("sync")]
    assert draw_evidence([figure("ours", "RMSE", 1.0)], tmp_path) == []
    with pytest.raises(ConfigError, match="folder"):
        draw_evidence(figures, tmp_path / "none")


def test_data_is_found_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA, raising=False)
    assert find("a/b") is None
    monkeypatch.setenv(DATA, str(tmp_path))
    assert find("a/b") is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    assert find("a/b") == tmp_path / "a" / "b"


@pytest.mark.parametrize("name", RATERS)
def test_peers_of_ratings_learn_what_they_are_told_and_not_what_they_are_asked(name):
    grid, missing = RATERS[name]
    if missing:
        pytest.skip(missing.reason)
    (_, make), *_ = grid()
    rater, low, high = make(), np.array([1, 2]), np.array([3, 4])
    time_ms = np.zeros(2, dtype=np.int64)
    for _ in range(200):
        rater.update(low, low, np.array([2.0, 2.0]), time_ms)
        rater.update(high, high, np.array([9.0, 9.0]), time_ms)
    first = rater.predict(low, low, time_ms)
    assert first.tolist() == rater.predict(low, low, time_ms).tolist()
    assert np.all(first < 4.0)
    assert np.all(rater.predict(high, high, time_ms) > 7.0)


def test_the_mean_is_that_of_what_was_told():
    mean, numbers = Mean(), np.zeros(2, dtype=np.int64)
    assert mean.predict(numbers, numbers, numbers).tolist() == [0.0, 0.0]
    mean.update(numbers, numbers, np.array([1.0, 4.0]), numbers)
    assert mean.predict(numbers, numbers, numbers).tolist() == [2.5, 2.5]


def test_popularity_halves_in_its_half_life():
    popular = Popularity(2.0)
    for item, day in ((0, 0), (1, 2), (1, 4), (5000, 4)):
        popular.update(7, item, 0, day * DAY)
    scores = popular.scores(7, 2, 4 * DAY)
    assert scores.tolist() == [1.0, 2.0 + 4.0]
    assert popular.scores(7, 5001, 4 * DAY)[5000] == 4.0
    ever = next(iter(popularities()))[1]()
    for day in (0, 100, 300):
        ever.update(1, 0, 0, day * DAY)
    assert ever.scores(1, 1, 0).tolist() == [3.0]


def test_implicit_knows_what_was_bought_until_midnight():
    if IMPLICIT:
        pytest.skip(IMPLICIT.reason)
    ranker = ImplicitBpr(4, 0.1, 0.01, 500)
    for n in range(40):  # two kinds of customers, two kinds of items
        ranker.update(n % 4, n % 2 + 2 * (n // 20), n, 1000 * n)
    assert ranker.scores(0, 4, 50_000).tolist() == ranker.popular.scores(0, 4, 0).tolist()
    ranker.update(5, 4, 99, 60_000)
    ranker.update(0, 5, 100, DAY)
    scores = ranker.scores(0, 6, DAY + 1)
    assert scores[0] > scores[1], "what customers of its kind bought comes first"
    assert np.isfinite(scores[:5]).all()
    assert scores[5] == -np.inf, "bought after midnight for the first time"
    assert ranker.scores(9, 6, DAY + 1).tolist() == ranker.popular.scores(9, 6, 0).tolist()


@pytest.mark.parametrize("lost", [0.0286, 0.0773, 0.4, 0.8])
def test_rows_lose_the_share_of_ids_that_is_asked_for(lost):
    count = 20_000
    rows = rows_for(count, lost)
    draws = np.random.default_rng(5).integers(0, rows, (20, count))
    found = 1.0 - np.mean([len(np.unique(each)) for each in draws]) / count
    assert abs(found - lost) < 0.005
