"""docker-compose.yml, where no Docker runs: it agrees with the rest of the repository."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
import yaml

from api.cli import app
from api.settings import read_settings
from tests.servers.jars import POM

OURS = ("slatestream", "learner")


@pytest.fixture(scope="module")
def compose(root: Path) -> dict:
    return yaml.safe_load((root / "docker-compose.yml").read_text())


@pytest.mark.parametrize("name", OURS)
def test_the_service_takes_its_settings_and_its_command(compose, name, monkeypatch, tmp_path):
    service = compose["services"][name]
    monkeypatch.chdir(tmp_path)
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = read_settings()
    assert settings.log == "kafka://kafka:9092"
    assert settings.store.startswith("postgresql+psycopg://")
    command, *arguments = service["command"]
    parsed = typer.main.get_command(app).commands[command].make_context(command, arguments)
    assert parsed.params["role"] == {"slatestream": "api", "learner": "learner"}[name]


def test_the_address_of_the_database_is_what_the_database_has(compose):
    made = compose["services"]["postgres"]["environment"]
    user, password = made["POSTGRES_USER"], made["POSTGRES_PASSWORD"]
    address = f"postgresql+psycopg://{user}:{password}@postgres/{made['POSTGRES_DB']}"
    for name in OURS:
        assert compose["services"][name]["environment"]["SLATESTREAM_STORE"] == address


def test_the_image_holds_every_package_of_the_wheel(compose, root):
    recipe = compose["services"]["slatestream"]["build"]["dockerfile_inline"]
    copied = [
        source
        for sources in re.findall(r"^COPY (.+) \S+$", recipe, flags=re.MULTILINE)
        for source in sources.split()
    ]
    assert all((root / source).exists() for source in copied)
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied)
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= set(copied)
    for extra in re.findall(r"/src\[(\w+)\]", recipe):
        assert extra in project["project"]["optional-dependencies"]


def test_it_is_the_kafka_that_is_tested(compose):
    maven = "{http://maven.apache.org/POM/4.0.0}"
    dependencies = ElementTree.parse(POM).getroot().iter(f"{maven}dependency")
    tested = {
        each.findtext(f"{maven}artifactId"): each.findtext(f"{maven}version")
        for each in dependencies
    }
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{tested['kafka_2.13']}"


def test_only_this_machine_reaches_it(compose):
    ports = [port for each in compose["services"].values() for port in each.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_keeps_data_has_a_volume(compose):
    for name, service in compose["services"].items():
        volumes = {volume.partition(":")[0] for volume in service["volumes"]}
        assert volumes <= set(compose["volumes"]), name
