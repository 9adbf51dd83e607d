"""The doctor: what it finds of a service that is well and of one that is not; it only looks."""

import json
import os
import shutil
import signal
import sqlite3
import time
import uuid

import httpx
import pytest
from sqlalchemy import text

from api.doctor.backends import LogFacts, check_state
from api.doctor.clocks import check_clock
from api.doctor.examine import examine
from api.doctor.findings import Report, ok, problem, warning
from api.settings import read_settings
from streams.config import EngineConfig
from streams.errors import StoreError
from streams.inspection import ShardFacts, StoreFacts, inspect_store
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.kafka import open_kafka
from streams.log.sqlite import SqliteLog
from streams.store import Store
from tests.api.running import Running, run_cli, wait_until
from tests.servers.processes import free_ports
from tests.servers.topics import administration

POLICY = '[policies.main]\nspec = "uniform"\n'


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.environ["NUMBA_CACHE_DIR"])


def found(report, check):
    return [(each.status, each.found) for each in report.findings if each.check == check]


def worst(report, check):
    return Report.of([each for each in report.findings if each.check == check]).status


def look(tmp_path, text=POLICY, **options):
    file = tmp_path / "slatestream.toml"
    file.write_text(text)
    return examine(read_settings(file, data_dir=tmp_path / "data"), file, **options)


def learn(data_dir):
    """A log with a learned state."""
    data_dir.mkdir()
    log, store = SqliteLog(data_dir / "log.db"), Store(data_dir / "state.db")
    log.append(EVENTS, [("", b"{}")] * 5)
    config = EngineConfig.from_dict({"policies": {"main": {"spec": "uniform"}}, "recommenders": {}})
    Learner(log, store, config).start()
    store.close()
    log.close()


def test_a_new_place_is_well_and_stays_empty(tmp_path):
    report = look(tmp_path)
    assert {each.status for each in report.findings if each.check != "kernels"} == {"ok"}
    assert {each.check for each in report.findings} == {
        *("settings", "keys", "data_dir", "lock", "kernels"),
        *("log", "database", "state", "service"),
    }
    assert {entry.name for entry in tmp_path.iterdir()} == {"slatestream.toml"}


def test_every_finding_that_is_not_well_says_what_is_allowed_and_what_to_do(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.db").write_bytes(b"not a database" * 100)
    (tmp_path / "data" / "service.json").write_text("{")
    report = look(tmp_path, 'host = "0.0.0.0"\nworkers = 250\n' + POLICY)
    assert report.status == "problem"
    for each in report.findings:
        assert each.found
        assert (each.status == "ok") == (not each.allowed) == (not each.todo), each


@pytest.mark.parametrize(
    ("text", "check", "status", "says"),
    [
        ('[policies.main]\nspec = "linear-thomson"', "settings", "problem", "linear-thompson"),
        ("kafka = { partitions = 3 }\n" + POLICY, "settings", "problem", "embedded"),
        ('host = "0.0.0.0"\n' + POLICY, "keys", "problem", "no key is configured"),
        ("workers = 250\n" + POLICY, "workers", "warning", "250 API workers"),
        ("max_wait_ms = 9\n" + POLICY, "max_wait_ms", "warning", "min_version"),
        ('store = "mysql://u@h/d"\n' + POLICY, "database", "problem", "mysql"),
    ],
)
def test_settings_that_do_not_work_together_are_found(tmp_path, text, check, status, says):
    report = look(tmp_path, text)
    assert worst(report, check) == status
    assert says in str(found(report, check))


def test_passwords_are_not_shown_and_a_file_all_can_read_is_told(tmp_path):
    (port,) = free_ports(1)
    secret = "s3cr3tword"
    store = f'store = "postgresql+psycopg://u:{secret}@127.0.0.1:{port}/d"\n'
    report = look(tmp_path, store + POLICY)
    assert worst(report, "database") == "problem"
    assert worst(report, "settings file") == "warning"
    assert secret not in repr(report)
    (tmp_path / "slatestream.toml").chmod(0o600)
    settings = read_settings(tmp_path / "slatestream.toml")
    assert not found(examine(settings, tmp_path / "slatestream.toml"), "settings file")


def test_a_data_dir_that_cannot_be_is_found(tmp_path):
    (tmp_path / "data").write_text("a file")
    report = look(tmp_path)
    assert worst(report, "data_dir") == "problem"


def test_a_damaged_log_is_found(tmp_path):
    learn(tmp_path / "data")
    assert look(tmp_path).status != "problem"
    path = tmp_path / "data" / "log.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    report = look(tmp_path)
    assert worst(report, "log") == "problem"
    assert "damaged" in str(found(report, "log")) or "malformed" in str(found(report, "log"))


def test_a_state_of_another_log_is_found(tmp_path):
    learn(tmp_path / "data")
    learn(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "log.db", tmp_path / "data" / "log.db")
    report = look(tmp_path)
    assert worst(report, "state") == "problem"
    assert "was learned from topic" in str(found(report, "state"))


def test_a_state_without_its_log_is_found(tmp_path):
    learn(tmp_path / "data")
    (tmp_path / "data" / "log.db").unlink()
    assert worst(look(tmp_path), "state") == "problem"


def shard(**fields):
    plain = {"topic": EVENTS, "partition": 1, "log": "t", "partitions": 2, "epoch": 3}
    return ShardFacts(**{**plain, "next_offset": 50, "join_offset": 40, **fields})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, None),
        ({"log": "other"}, "was learned from topic other"),
        ({"partitions": 3}, "one of 3 partitions"),
        ({"next_offset": 61}, "the log ends at 60"),
        ({"join_offset": 29}, "the log begins at 30"),
    ],
)
def test_state_must_lie_within_the_log(fields, says):
    store = StoreFacts(
        name="s", dialect="sqlite", revision="1", seconds=0, ahead_ms=None, shards=[shard(**fields)]
    )
    log = LogFacts(identity="t", begins={0: 0, 1: 30}, ends={0: 5, 1: 60})
    (finding,) = check_state(store, log)
    assert finding.status == ("problem" if says else "ok")
    assert (says or "10 events not committed") in finding.found


@pytest.mark.parametrize(
    ("ahead", "status"),
    [(0, "ok"), (1000, "ok"), (-1001, "warning"), (60_000, "warning"), (-60_001, "problem")],
)
def test_clocks_may_differ_by_a_second(ahead, status):
    assert check_clock("it", ahead).status == status


def test_a_log_stamped_in_the_future_is_found(tmp_path):
    (tmp_path / "data").mkdir()
    log = SqliteLog(tmp_path / "data" / "log.db")
    log.append(EVENTS, [("", b"{}")])
    log.close()
    with sqlite3.connect(tmp_path / "data" / "log.db") as connection:
        connection.execute("UPDATE events SET stamp = ?", [1000 * (time.time() + 3600)])
    connection.close()
    report = look(tmp_path)
    assert worst(report, "clock") == "problem"
    assert "ahead of ours" in str(found(report, "clock"))


def test_the_worst_status_is_the_reports():
    one = ("c", "found", "allowed", "todo")
    assert Report.of([]).status == "ok"
    assert Report.of([warning(*one), ok("c", "found")]).status == "warning"
    assert Report.of([problem(*one), warning(*one)]).status == "problem"


def test_a_running_service_is_examined_and_one_that_died_is_told(tmp_path):
    running = Running(tmp_path, "commit_interval_ms = 50\n" + POLICY)
    running.start()
    with httpx.Client(base_url=running.url) as http:
        assert http.put("/v1/items/a", json={}).status_code == 200
        assert http.post("/v1/slates", json={"k": 1, "candidates": ["a"]}).status_code == 200
    told = run_cli("doctor", "--config", str(running.file), "--json", cwd=tmp_path)
    report = json.loads(told.stdout)
    assert (told.returncode, report["status"]) == (0, "ok"), told.stdout
    said = {each["check"]: each["found"] for each in report["findings"]}
    assert said["lock"] == "a service holds this data_dir"
    assert said["service"] == f"process {running.process.pid}, 3 children"
    assert "events wait" in said["lag"]
    assert "ends at {0: " in said["log"]
    assert "1 shards within the log" in said["state"]
    pid = running.pid("learner")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running.pid("learner") not in {0, pid})
    told = run_cli("doctor", "--config", str(running.file), cwd=tmp_path)
    assert told.returncode == 0
    assert "learner was started again 1 times" in told.stdout
    assert "to do: see in the service's log why it ended" in told.stdout
    running.stop(signal.SIGKILL)
    settings = read_settings(running.file)
    (finding,) = found(examine(settings), "service")
    assert finding[0] == "warning"
    assert "did not end in order" in finding[1]


def test_what_cannot_be_read_leaves_with_1(tmp_path):
    told = run_cli("doctor", "--config", "missing.toml", cwd=tmp_path)
    assert told.returncode == 1
    assert "slatestream init" in told.stdout
    assert "Traceback" not in told.stderr


def test_postgres_is_examined(tmp_path, postgres):
    facts = inspect_store(postgres.url)
    assert (facts.dialect, facts.revision, facts.shards) == ("postgresql", None, [])
    assert abs(facts.ahead_ms) < 1000
    store = Store(postgres.url)
    store.claim(EVENTS, 1, "topic", 2, 7)
    report = look(tmp_path, f'store = "{postgres.url}"\n' + POLICY)
    assert worst(report, "database") == worst(report, "revision") == "ok"
    assert "tables of revision" in str(found(report, "revision"))
    assert found(report, "clock")
    (facts,) = inspect_store(postgres.url).shards
    assert (facts.partition, facts.log, facts.partitions, facts.next_offset) == (1, "topic", 2, 7)
    with store.database.writing("change") as connection:
        connection.execute(text("UPDATE slatestream_version SET version_num = '9999'"))
    store.close()
    report = look(tmp_path, f'store = "{postgres.url}"\n' + POLICY)
    assert worst(report, "revision") == "problem"


def test_a_store_that_is_none_is_told(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"state\.db"):
        inspect_store(tmp_path / "state.db")
    assert inspect_store(tmp_path / "absent.db") is None
    assert not (tmp_path / "absent.db").exists()


def test_kafka_is_examined(tmp_path, kafka):
    prefix = f"doctor-{uuid.uuid4().hex[:8]}."
    url = f"kafka://{kafka}/{prefix}?partitions=3"
    settings = f'log = "{url}"\n' + POLICY
    report = look(tmp_path, settings)
    assert worst(report, "topic") == "warning", "the first start makes the topics"
    assert worst(report, "store") == "warning"
    log = open_kafka(url)
    log.create_topics()
    places = log.append(EVENTS, [(f"r{number}", b"{}") for number in range(30)])
    log.close()
    report = look(tmp_path, settings)
    assert worst(report, "log") == worst(report, "brokers") == worst(report, "clock") == "ok"
    assert f"{len(places)} events kept" in str(found(report, "log"))
    assert f"{prefix}events: 3 partitions, replication 1" in str(found(report, "topic"))
    spoil(kafka, f"{prefix}events")
    report = look(tmp_path, settings)
    told = [each for each in report.findings if each.check == "topic" and each.status == "problem"]
    assert any("stamps are CreateTime" in each.found for each in told)
    assert any("records are kept for 60000 ms" in each.found for each in told)


def spoil(kafka, name):
    from kafka.admin import ConfigResource, ConfigResourceType

    wrong = {"message.timestamp.type": "CreateTime", "retention.ms": "60000"}
    with administration(kafka) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=wrong)])


def test_a_broker_that_is_away_is_told(tmp_path):
    (port,) = free_ports(1)
    url = f"kafka://127.0.0.1:{port}/?connect_ms=500&request_ms=500"
    report = look(tmp_path, f'log = "{url}"\n' + POLICY)
    assert worst(report, "log") == "problem"
    assert not found(report, "state"), "nothing is known of the log it should fit"
