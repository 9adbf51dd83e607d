"""Snapshot, restore, reset and dead letters from the command line, beside a running service."""

import json

import httpx
import pytest

from streams.log.sqlite import SqliteLog
from streams.shard import replay_log
from tests.api.running import Running, run_cli, wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("state"))
    running.start()
    with httpx.Client(base_url=running.url, timeout=30) as http:
        for number in range(4):
            assert http.put(f"/v1/items/i{number}", json={}).status_code == 200
        ids = [f"i{number}" for number in range(4)]
        assert http.put("/v1/pools/all", json={"item_ids": ids}).status_code == 200
    try:
        yield running
    finally:
        assert running.stop() == 0


def cli(running, *arguments, code=0, **options):
    done = run_cli(*arguments, "--config", str(running.file), cwd=running.folder, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in arguments and not code else done


def visit(running, count):
    """Slates that are clicked."""
    with httpx.Client(base_url=running.url, timeout=30) as http:
        for _ in range(count):
            slate = http.post("/v1/slates", json={"pool": "all", "k": 2, "context": {"hour": 3}})
            assert slate.status_code == 200, slate.text
            click = {
                "type": "feedback",
                "event_id": slate.json()["request_id"],
                "request_id": slate.json()["request_id"],
                "item_id": slate.json()["slate"][0]["item_id"],
                "kind": "click",
            }
            assert http.post("/v1/events", json=click).status_code == 202


def model(running):
    return httpx.get(f"{running.url}/v1/model", timeout=30).json()


def caught_up(running):
    """Everything in the log was learned and is served, every window closed."""
    told = model(running)
    counts = told["conservation"]["counts"].values()
    return told["offsets"]["0"] == told["end"] and not any(each["pending"] for each in counts)


def check(running):
    """What is served comes to what one pass over the log gives."""

    def same():
        log = SqliteLog(running.data_dir / "log.db", read_only=True)
        counts = replay_log(log).counts.to_dict()
        log.close()
        return caught_up(running) and model(running)["conservation"]["counts"] == counts

    wait_until(same, 60)
    assert model(running)["conservation"]["exact"]


def test_a_snapshot_is_put_back_while_the_service_runs(running):
    visit(running, 5)
    wait_until(lambda: caught_up(running), 60)
    file = running.folder / "snapshot"
    told = cli(running, "snapshot", str(file), "--json")
    assert told["bytes"] == file.stat().st_size
    (shard,) = told["shards"]
    assert 0 < shard["next_offset"] <= model(running)["end"]
    assert "exists" in cli(running, "snapshot", str(file), code=1).stderr
    visit(running, 5)
    wait_until(lambda: caught_up(running), 60)
    refused = cli(running, "restore", str(file), code=1)  # nobody there to ask
    assert "Put it in the place of" in refused.stderr
    (restored,) = cli(running, "restore", str(file), "--yes", "--json")["shards"]
    assert restored["shard"] == "events-0"
    assert restored["next_offset"] == shard["next_offset"]
    check(running)
    visit(running, 2)
    check(running)


def test_a_reset_learns_the_log_anew_while_the_service_runs(running):
    visit(running, 3)
    wait_until(lambda: caught_up(running), 60)
    before = model(running)["end"]
    (shard,) = cli(running, "reset", "--yes", "--json")["shards"]
    assert shard["next_offset"] == 0
    check(running)  # nothing comes, and all is learned again
    (shard,) = cli(running, "reset", "--from-end", "--yes", "--json")["shards"]
    assert shard["next_offset"] >= before
    visit(running, 1)

    def consumed():
        counts = model(running)["conservation"]["counts"]
        return counts.get("impression", {}).get("consumed")

    wait_until(lambda: caught_up(running) and consumed() == 1, 60)
    cli(running, "reset", "--yes")  # the next test's service has learned all again
    check(running)


def test_a_damaged_snapshot_is_refused(running):
    file = running.folder / "damaged"
    cli(running, "snapshot", str(file))
    file.write_bytes(file.read_bytes()[:-1])
    refused = cli(running, "restore", str(file), "--yes", code=1)
    assert "damaged or not whole" in refused.stderr


def test_a_dead_letter_is_repaired_and_learned(running):
    log = SqliteLog(running.data_dir / "log.db")
    (place,) = log.append("events", [("", b'{"type":"tick","ts":"now"}')])
    log.close()
    source = f"events-0-{place.offset}"

    def listed():
        return cli(running, "dead", "list", "--reason", "schema", "--json")

    wait_until(lambda: listed()["counts"].get("schema"))
    (letter,) = listed()["dead_letters"]
    assert letter["value"] == '{"type":"tick","ts":"now"}'
    table = cli(running, "dead", "list").stdout
    assert source in table
    assert "1 schema" in table
    assert cli(running, "dead", "show", source, "--raw").stdout == letter["value"]
    assert letter["value"] in cli(running, "dead", "show", source).stdout
    refused = cli(running, "dead", "requeue", source, code=2)
    assert "would be dead again" in refused.stderr
    repaired = running.folder / "repaired.json"
    repaired.write_text('{"type":"tick","ts":5}\n')
    done = cli(running, "dead", "requeue", source, "--value", str(repaired), "--json")
    moved = done["requeued"][source]
    again = cli(running, "dead", "show", source, "--json")
    assert moved == f"events-0-{again['requeued_offset']}"
    with httpx.Client(base_url=running.url, timeout=30) as http:
        (told,) = [
            each
            for each in http.get("/v1/dead-letters").json()["dead_letters"]
            if each["offset"] == place.offset
        ]
    assert told == again
    wait_until(lambda: caught_up(running), 60)
    assert listed()["counts"] == {"schema": 1}


def test_what_cannot_be_asked_for_is_refused(running, tmp_path):
    assert "topic-partition-offset" in cli(running, "dead", "show", "here", code=2).stderr
    assert "no dead letter" in cli(running, "dead", "show", "events-0-0", code=2).stderr
    value = ["--value", str(tmp_path / "nowhere")]
    assert "cannot be read" in cli(running, "dead", "requeue", "events-0-0", *value, code=2).stderr
    two = cli(running, "dead", "requeue", "events-0-0", "events-0-1", *value, code=2)
    assert "name one" in two.stderr
    assert "cannot be read" in cli(running, "restore", str(tmp_path / "nowhere"), code=1).stderr
    nothing = cli(running, "snapshot", str(tmp_path / "s"), "--data-dir", str(tmp_path), code=1)
    assert "nothing was learned yet" in nothing.stderr
    assert not list(tmp_path.iterdir())


def test_the_tables_are_made_ahead(postgres, tmp_path):
    done = run_cli("migrate", cwd=tmp_path, SLATESTREAM_STORE=postgres.url)
    assert done.returncode == 0, done.stderr
    assert "is at revision" in done.stderr
