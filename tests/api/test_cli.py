"""The command line: what it prints where, and the code it leaves with."""

import hashlib
import importlib.metadata
import json
import tomllib

import pytest

from api.commands.init import TEMPLATE
from tests.api.running import run_cli


def test_version_and_help():
    told = run_cli("--version")
    release = importlib.metadata.version("slatestream")
    assert (told.returncode, told.stdout) == (0, f"slatestream {release}\n")
    helped = run_cli("--help")
    assert helped.returncode == 0
    commands = ("demo", "serve", "init", "keys", "check", "evaluate", "replay", "simulate", "bench")
    commands += ("doctor",)
    for command in commands:
        assert command in helped.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("serve", "--porto", "1"),
        ("serve", "--port", "x"),
        ("serve", "--port", "70000"),
        ("demo", "--seconds", "0"),
        ("keys", "new"),
        ("keys", "new", "--scope", "boss"),
        ("serve", "--config", "missing.toml"),
    ],
)
def test_what_cannot_be_asked_leaves_with_2(tmp_path, arguments):
    refused = run_cli(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr
    assert "Traceback" not in refused.stderr


def test_init_writes_once(tmp_path):
    assert run_cli("init", cwd=tmp_path).returncode == 0
    file = tmp_path / "slatestream.toml"
    assert file.read_text() == TEMPLATE
    assert tomllib.loads(TEMPLATE)["port"] == 8000
    file.write_text("port = 1\n")
    refused = run_cli("init", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "port = 1\n"
    assert run_cli("init", "--force", cwd=tmp_path).returncode == 0
    assert file.read_text() == TEMPLATE
    assert run_cli("init", "--config", "other.toml", cwd=tmp_path).returncode == 0
    assert run_cli("init", "--config", "no/such/folder.toml", cwd=tmp_path).returncode == 2


def test_a_new_key_is_shown_once_with_its_hash():
    told = run_cli("keys", "new", "--scope", "admin", "--name", "ops", "--json")
    assert told.returncode == 0
    made = json.loads(told.stdout)
    assert set(made) == {"key", "name", "scope", "sha256"}
    assert (made["name"], made["scope"]) == ("ops", "admin")
    assert made["sha256"] == hashlib.sha256(made["key"].encode()).hexdigest()
    again = json.loads(run_cli("keys", "new", "--scope", "admin", "--json").stdout)
    assert again["key"] != made["key"]


def test_a_key_printed_for_people_can_be_pasted(tmp_path):
    told = run_cli("keys", "new", "--scope", "serve").stdout
    key, lines = told.split("\n", 1)
    (entry,) = tomllib.loads(lines)["keys"]
    assert entry["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert entry["scope"] == "serve"
