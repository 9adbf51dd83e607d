"""The supervisor: what it refuses, how it stops, and what becomes of its children."""

import os
import signal
import socket

import psutil
import pytest

from api.supervisor import Child, listen, lock_data_dir
from engine.errors import ConfigError
from tests.api.running import Running, run_cli, wait_until


def test_a_busy_port_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}.*--port"):
            listen("127.0.0.1", port)


def test_a_host_that_is_none():
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host"):
        listen("no.such.host.invalid", 0)


def test_a_data_dir_has_one_service(tmp_path):
    refused = pytest.raises(ConfigError, match="in use by another service")
    with lock_data_dir(tmp_path / "data"), refused:
        lock_data_dir(tmp_path / "data")
    lock_data_dir(tmp_path / "data").close()


def test_a_data_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data_dir"):
        lock_data_dir(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('[policies.main]\nspec = "linear-thomson"\n', "did you mean 'linear-thompson'"),
        ('[policies.main]\nspec = "uniform:flor=1"\n', "did you mean 'floor'"),
        ('[recommenders.default]\npolicy = "nome"\n', "'nome'"),
        ("[recommenders.default]\npolicy='main'\nwindow_seconds = -1\n", "window_seconds is -1"),
        ("porto = 3\n", "did you mean 'port'"),
    ],
)
def test_settings_that_cannot_work_end_the_service_with_code_2(tmp_path, settings, says):
    running = Running(tmp_path, settings)
    refused = run_cli("serve", "--config", str(running.file), cwd=tmp_path)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_order_and_takes_its_children_along(tmp_path, number):
    running = Running(tmp_path)
    running.start()
    children = [running.pid(name) for name in ("learner", "views", "api")]
    assert running.stop(number) == 0
    assert not any(psutil.pid_exists(pid) for pid in children)
    assert not (running.data_dir / "service.json").exists()
    assert "Traceback" not in running.errors.read_text()


def test_children_leave_when_the_supervisor_is_killed(tmp_path):
    running = Running(tmp_path)
    running.start()
    children = [running.pid(name) for name in ("learner", "views", "api")]
    port = running.port
    running.stop(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in children))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def alive(pid):
    try:
        os.kill(pid, 0)
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path):
    program = tmp_path / "program"
    child = Child("late", [str(program)])
    child.start(b"{}\n", {})
    assert (child.pid, child.due) == (0, True)
    child.start(b"{}\n", {})
    child.start(b"{}\n", {})
    assert not child.due  # not in a tight loop
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o700)
    wait_until(lambda: child.due)
    child.start(b"{}\n", {})
    told = []
    wait_until(lambda: told.append(child.ended()) or told[-1] is not None)
    assert told[-1] == 7
