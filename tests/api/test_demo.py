"""The demo: a real service, visitors over HTTP, and a summary that adds up."""

import json

import pytest

from api.supervisor import listen
from tests.api.running import run_cli

FIELDS = {
    *("slates", "events", "learner_ctr", "control_ctr", "uplift", "uplift_ci"),
    *("p50_ms", "p99_ms", "conservation", "errors"),
}


@pytest.mark.slow
def test_a_short_demo_adds_up():
    done = run_cli("demo", "--port", "0", "--seconds", "8", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) == FIELDS
    assert summary["errors"] == 0
    assert summary["slates"] > 100
    assert 0 < summary["events"] < 5 * summary["slates"]
    assert 0 < summary["control_ctr"] < 1
    assert 0 < summary["p50_ms"] <= summary["p99_ms"]
    low, high = summary["uplift_ci"]
    assert low < summary["uplift"] < high
    conservation = summary["conservation"]
    assert conservation["exact"] is True
    counts = conservation["counts"]
    assert counts["impression"]["applied"] == summary["slates"]
    assert counts["feedback"]["applied"] == summary["events"]
    assert all(fates["pending"] == 0 for fates in counts.values())


@pytest.mark.slow
def test_without_json_people_get_a_table_and_two_controls_serve_alike():
    done = run_cli("demo", "--port", "0", "--seconds", "4", "--aa")
    assert done.returncode == 0, done.stderr
    for line in ("slates", "uplift", "95 % interval", "every record accounted for"):
        assert line in done.stdout


def test_a_busy_port_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        refused = run_cli("demo", "--port", str(port), "--seconds", "5", "--json")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert f"127.0.0.1:{port}" in refused.stderr
    assert "Traceback" not in refused.stderr
