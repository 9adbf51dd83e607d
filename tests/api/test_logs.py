"""Logs: an object a line, with ids as fields, whoever wrote the record."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from tests.api.running import Running, environment, run_cli, wait_until

CHILD = """
import logging, sys, threading, warnings
from api.logs import start_logging, tell
start_logging("api-2", sys.argv[1])
logging.getLogger("api.service").info("taken %d", 3, extra={"partition": 7, "request_id": "r"})
logging.getLogger("alembic.runtime").info("chatter")
logging.getLogger("uvicorn.error").warning("slow")
warnings.warn("old way", stacklevel=1)
tell("http://127.0.0.1:1", sys.argv[1])
def fail():
    raise ValueError("in a thread")
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("api").exception("cannot divide")
raise LookupError("at the end")
"""


def lines_of(layout):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, layout],
        capture_output=True,
        check=False,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_every_line_is_an_object_with_its_ids():
    records = [json.loads(line) for line in lines_of("json").splitlines()]
    taken, slow, old, told, in_thread, caught, last = records
    assert taken.pop("pid") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", taken.pop("time"))
    assert taken == {
        "level": "INFO",
        "logger": "api.service",
        "message": "taken 3",
        "role": "api-2",
        "partition": 7,
        "request_id": "r",
    }
    assert (slow["logger"], slow["level"], slow["message"]) == ("uvicorn.error", "WARNING", "slow")
    assert old["logger"] == "py.warnings"
    assert "old way" in old["message"]
    assert told["message"] == "http://127.0.0.1:1"
    assert "worker" in in_thread["message"]
    assert "in a thread" in in_thread["exc_info"]
    assert "ZeroDivisionError" in caught["exc_info"]
    assert (last["level"], last["message"]) == ("CRITICAL", "ended by LookupError")


def test_text_is_for_people():
    text = lines_of("text")
    assert re.search(r"^\d{4}.* api-2 INFO api.service: taken 3$", text, re.MULTILINE)
    assert "slatestream: http://127.0.0.1:1\n" in text
    assert "chatter" not in text
    assert "LookupError: at the end" in text


@pytest.fixture
def running(tmp_path):
    return Running(tmp_path, 'log_format = "json"\ncommit_interval_ms = 50\n')


def test_all_processes_of_a_service_write_objects(running):
    running.start()
    pid = running.pid("learner")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running.pid("learner") not in {0, pid})
    running.wait_ready()
    wait_until(lambda: running.errors.read_text().count("restored") == 2)
    assert httpx.get(f"{running.url}/health/ready").status_code == 200
    assert running.stop() == 0
    records = [json.loads(line) for line in running.errors.read_text().splitlines()]
    assert {record["role"] for record in records} >= {"supervisor", "learner", "api"}
    restored = [record for record in records if "restored" in record["message"]]
    assert [record["topic"] for record in restored] == ["events", "events"]
    assert [record["partition"] for record in restored] == [0, 0]
    assert restored[1]["epoch"] == restored[0]["epoch"] + 1
    assert restored[1]["pid"] != restored[0]["pid"] == pid
    (ended,) = [record for record in records if "starting it again" in record["message"]]
    assert (ended["child"], ended["code"], ended["level"]) == ("learner", -9, "WARNING")


def test_a_refusal_to_start_is_an_object_too(tmp_path):
    running = Running(tmp_path, 'log_format = "json"\n[policies.main]\nspec = "linear-thomson"\n')
    refused = run_cli("serve", "--config", str(running.file), cwd=tmp_path)
    assert refused.returncode == 2
    last = [json.loads(line) for line in refused.stderr.splitlines()][-1]
    assert last["level"] == "ERROR"
    assert "did you mean 'linear-thompson'" in last["message"]
