"""``slatestream bench``: what it prints, and what it refuses."""

import json

import pytest

from benchmarks.markdown import mark
from tests.api.running import run_cli

QUICK = ("bench", "update", "--quick", "--rounds", "1")


def test_one_json_object():
    told = run_cli(*QUICK, "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert set(found) == {"machine", "rows", "figures", "skipped"}
    assert found["machine"]["python"]
    keys = {"workload", "params", "mode", "peer", "per_second", "peer_per_second", "ratio"}
    assert found["rows"]
    for row in found["rows"]:
        assert keys | {"min", "max", "clock", "unit", "note", "rounds", "at"} == set(row)
        assert row["workload"] == "update"
    for skipped in found["skipped"]:
        assert set(skipped) == {"workload", "params", "peer", "reason"}


def test_a_table_and_a_page(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("\n".join((*mark("machine"), *mark("update"))) + "\n")
    told = run_cli(*QUICK, "--markdown", str(page))
    assert told.returncode == 0, told.stderr
    assert "NumPy, an outer product an outcome" in told.stdout
    assert "BLAS" in told.stderr
    assert "NumPy, an outer product an outcome" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("bench", "slates"), "did you mean 'slate'"),
        (("bench", "update", "--rounds", "0"), "rounds"),
        (("bench", "update", "--markdown", "none.md"), "none.md"),
    ],
)
def test_what_cannot_be_asked_leaves_with_2(tmp_path, arguments, reason):
    refused = run_cli(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr
