"""Rows and what is skipped: their shape and their arithmetic, never how fast anything is."""

import math

import msgspec
import pytest

from benchmarks.charts import draw_charts
from benchmarks.contest import Absent, Contender, Contest, Figure, Row, Skipped, absent
from benchmarks.machine import THREADS, Machine, child_environment, spare_cores
from benchmarks.markdown import check_page, fill_page, mark, tables
from benchmarks.measure import measure
from benchmarks.run import NAMES, SPEED, Report, check_names, run
from benchmarks.workloads import WORKLOADS
from engine.errors import ConfigError


def contest(*peers, ours=None):
    ours = ours or Contender(name="ours", units=3, call=lambda _: sum(range(200)))
    return Contest(params="small", mode="batched", unit="events", ours=ours, peers=peers)


def test_a_row_for_every_peer():
    made = []

    def fresh():
        made.append(len(made))
        return made[-1]

    seen = []
    peer = Contender(name="peer", units=2, fresh=fresh, call=seen.append, note="not the same")
    waiting = Contender(name="waiting", units=1, call=lambda _: None, clock="wall")
    rows = list(measure("toy", contest(peer, waiting), rounds=4, seconds=0.0))
    assert [row.peer for row in rows] == ["peer", "waiting"]
    assert [row.clock for row in rows] == ["cpu", "wall"]
    assert seen == made == [0, 1, 2, 3, 4]  # one to warm up
    for row in rows:
        assert (row.workload, row.params, row.mode, row.unit) == (
            "toy",
            "small",
            "batched",
            "events",
        )
        assert row.rounds == 4
        assert 0 < row.min <= row.ratio <= row.max < math.inf
        assert row.per_second > 0
        assert row.peer_per_second > 0
    assert rows[0].note == "not the same"


def test_who_does_half_the_work_in_the_same_call_is_half_as_fast():
    def work(_):
        return sum(i * i for i in range(100_000))

    ours = Contender(name="ours", units=1000, call=work)
    peer = Contender(name="peer", units=1, call=work)
    (row,) = measure("toy", contest(peer, ours=ours), rounds=3, seconds=0.0)
    assert row.ratio > 10  # 1,000 on a machine that does nothing else


def test_what_cannot_run_is_skipped_with_its_reason():
    def fail(_):
        raise RuntimeError("out of luck")

    here = Contender(name="here", units=1, call=lambda _: None)
    broken = Contender(name="broken", units=1, call=fail)
    peers = Absent(name="gone", reason="why"), broken, here
    found = list(measure("toy", contest(*peers), rounds=2, seconds=0.0))
    assert [type(each) for each in found] == [Skipped, Skipped, Row]
    assert [each.peer for each in found] == ["gone", "broken", "here"]
    assert found[0].reason == "why"
    assert found[1].reason == "failed: RuntimeError: out of luck"


def test_our_own_failure_is_no_row():
    def fail(_):
        raise RuntimeError("ours")

    ours = Contender(name="ours", units=1, call=fail)
    with pytest.raises(RuntimeError, match="ours"):
        list(measure("toy", contest(ours=ours), rounds=1))


def test_a_peer_that_is_not_installed_is_named():
    assert absent("peer", "math") is None
    missing = absent("peer", "math", "no_such_module_here")
    assert missing.name == "peer"
    assert "no_such_module_here" in missing.reason
    assert "slatestream[bench]" in missing.reason


def test_the_measuring_process_runs_numpy_at_its_best():
    given = {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_L2_SIZE": "1", "HOME": "/h"}
    cleaned = child_environment(given | {"OMP_NUM_THREADS": "8", "PYTHONPATH": "/mine"})
    assert "OPENBLAS_CORETYPE" not in cleaned
    assert "OPENBLAS_L2_SIZE" not in cleaned
    assert all(cleaned[name] == "1" for name in THREADS)
    assert cleaned["HOME"] == "/h"
    assert cleaned["PYTHONPATH"].endswith(":/mine")
    assert 0 not in spare_cores(0)


def test_names_are_checked_before_anything_runs():
    assert list(NAMES) == list(WORKLOADS)
    assert check_names(()) == list(SPEED), "evidence takes its time: only by name"
    assert check_names(("sync", "update")) == ["update", "sync"]
    assert check_names(("slate", "update")) == ["update", "slate"]
    with pytest.raises(ConfigError, match=r"did you mean 'slate'"):
        run(["slates"])
    with pytest.raises(ConfigError, match="rounds is 0"):
        run(["slate"], rounds=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_runs(name, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    (tmp_path / "benchmarks").mkdir()  # a user's own, which must not be ours
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise SystemExit('wrong package')")
    monkeypatch.chdir(tmp_path)
    told = []
    report = run([name], rounds=1, quick=True, progress=lambda done, _total: told.append(done))
    assert told[-1] == len(report.rows) + len(report.figures)
    assert "Prescott" not in report.machine.blas
    assert "unknown" in report.machine.blas or "1 thread" in report.machine.blas
    assert report.rows or report.figures or report.skipped
    for row in report.rows:
        assert row.workload == name
        assert row.mode in {"batched", "per-call"}
        assert 0 < row.min <= row.ratio <= row.max
        assert not math.isnan(row.per_second + row.peer_per_second)
    for skipped in report.skipped:
        assert skipped.workload == name
        assert skipped.reason
        assert not skipped.reason.startswith("failed"), skipped
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def report_of(*rows, figures=(), skipped=()):
    machine = Machine(
        python="3.11.0", system="Linux x86_64", cores=2, pinned=1, blas="none", packages={}
    )
    return Report(machine=machine, rows=[*rows], figures=[*figures], skipped=[*skipped])


def row_of(workload, ratio, at=None, peer="NumPy"):
    return Row(
        workload=workload,
        params="d=32",
        mode="batched",
        unit="events",
        peer=peer,
        per_second=1_234_567.0,
        peer_per_second=45_678.0,
        ratio=ratio,
        min=ratio / 2,
        max=2 * ratio,
        clock="cpu",
        rounds=5,
        note="",
        at=at or {},
    )


def page_of(*names):
    return "# Page\n" + "\n".join("\n".join((*mark(name), "")) for name in names) + "\nthe end\n"


def test_a_page_gets_what_was_measured_and_keeps_the_rest(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(page_of("machine", "update", "slate"))
    skipped = [Skipped(workload="slate", params="d=32", peer="Redis", reason="no server")]
    rows = row_of("update", 27.03), row_of("slate", 1234.5), row_of("slate", 99.7)
    report = report_of(*rows, skipped=skipped)
    assert fill_page(page, report) == ["machine", "update", "slate"]
    text = page.read_text()
    assert "1.23M | 45.7k | **27** (14 to 54)" in text
    assert "**1,234**" in text
    assert "**100** (50 to 199)" in text
    assert "- not measured: Redis: no server" in text
    assert f"Python {report.machine.python}" in text
    slate = tables(report)["slate"]
    assert fill_page(page, report_of(row_of("update", 2.0))) == ["machine", "update"]
    text = page.read_text()
    assert "**2**" in text
    assert "**27**" not in text
    assert slate in text
    assert text.startswith("# Page\n")
    assert text.endswith("\nthe end\n")


def test_figures_without_a_peer_stand_below_the_rows():
    base = {"workload": "stream", "params": "delay"}
    figures = [
        Figure(**base, what="p50", value=243.4, unit="ms"),
        Figure(**base, what="p99", value=1234.0, unit="ms", note="of 9 events"),
    ]
    text = tables(report_of(row_of("stream", 2.0), figures=figures))["stream"]
    assert text.index("ratio") < text.index("| delay | p50 | **243 ms** |")
    assert "|  | p99 (of 9 events) | **1.23k ms** |" in text
    assert "243 ms" in tables(report_of(figures=figures))["stream"]
    skipped = [Skipped(workload="stream", params="all", peer="everything", reason="no Kafka")]
    assert "stream" not in tables(report_of(skipped=skipped))  # a page keeps what it had


def test_a_page_without_a_place_is_refused_before_the_work(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(page_of("machine", "update"))
    check_page(page, ["update", "curves"])
    with pytest.raises(ConfigError, match="no place for slate"):
        check_page(page, ["update", "slate"])
    page.write_text(page_of("machine", "update", "update"))
    with pytest.raises(ConfigError, match="no place for update"):
        check_page(page, ["update"])
    with pytest.raises(ConfigError, match="page that exists"):
        check_page(tmp_path / "none.md", ["update"])


def test_curves_are_drawn_the_same_every_time(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        row_of(
            "curves",
            3.0,
            {"axis": axis, "model": model, "items": size, "columns": size},
            peer=model,
        )
        for axis in ("items", "columns")
        for model in ("exact, adverse world", "exact, kind world", "diagonal")
        for size in (10, 100)
    ]
    files = draw_charts(rows, tmp_path)
    assert [file.name for file in files] == ["performance-items.svg", "performance-columns.svg"]
    drawn = [file.read_bytes() for file in files]
    assert all(b"slatestream, exact, kind world" in svg for svg in drawn)
    draw_charts(rows, tmp_path)
    assert [file.read_bytes() for file in files] == drawn
    with pytest.raises(ConfigError, match="folder"):
        draw_charts(rows, tmp_path / "none")
