"""``slatestream table freeze``: vectors out of a store, as the feature that reads them."""

import json
import random
import tomllib

import pytest
from typer.testing import CliRunner

from api.cli import app
from engine.features import Schema
from streams.events import Tick, encode_event
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.store import Store
from streams.vector_features import open_vectors
from tests.streams.cases import START, settings
from tests.streams.hosting import traffic
from tests.table_model import register


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The data folder of a service that learned."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    log, store = MemoryLog(START), Store(data_dir / "state.db")
    learner = Learner(log, store, settings(window=1.0, spec="tabled-greedy"))
    learner.start()
    log.append(EVENTS, traffic(random.Random(1), 0, slates=40, items=60))
    log.time_ms += 5000
    log.append(EVENTS, [("", encode_event(Tick(ts=0)))])
    while learner.step():
        pass
    learner.commit()
    store.close()
    return data_dir


def run(*arguments):
    return CliRunner().invoke(app, ["table", "freeze", *arguments])


def test_a_frozen_set_is_read_by_the_feature_that_is_printed(folder):
    done = run("main", "item", "style", "--version", "first", "--data-dir", str(folder))
    assert done.exit_code == 0, done.output
    feature = tomllib.loads(f"it = {done.stdout}")["it"]
    assert feature == {
        "type": "vector",
        "name": "style",
        "of": "context",
        "id": "item",
        "count": 4,
        "version": "first",
    }
    ((_, vectors),) = open_vectors([Schema.from_list([feature])], folder).items()
    assert len(vectors) > 20
    told = json.loads(run("main", "item", "style", "--json", "--data-dir", str(folder)).stdout)
    assert told["vectors"] == len(vectors)
    assert (folder / "vectors" / "style" / told["version"]).is_dir()
    again = json.loads(run("main", "item", "style", "--json", "--data-dir", str(folder)).stdout)
    assert again == told


def test_where_nothing_was_learned_nothing_is_frozen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("main", "item", "style", "--data-dir", str(tmp_path))
    assert done.exit_code == 1
    assert "nothing was learned yet" in str(done.exception)
    assert not (tmp_path / "vectors").exists()
