"""Whatever fails, in whatever order, state is what one uninterrupted fold of the log gives."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.chaos import FAULTS
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import SeedError, run_seed
from tests.simulation.storage import SharedStore

SEEDS = int(os.environ.get("SLATESTREAM_SOAK", "1000"))
CHUNK = 50
DIED = re.compile(r"dies at: (\D+)")
POINTS = {
    "to claim ",
    "claimed ",
    "recovered ",
    "read ",
    "polled ",
    "folded ",
    "committing ",
    "to commit ",
    "within a transaction",
    "stored ",
    "committed ",
    "to tell the group",
    "to release",
    "released",
    "appending",
    "appended at ",
}
ENOUGH = 200  # seeds that a mutant may live


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = SharedStore(tmp_path_factory.mktemp("simulation"))
    yield storage
    storage.close()


def run_seeds(seeds, storage) -> None:
    for seed in seeds:
        run_seed(seed, storage)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(storage, first):
    run_seeds(range(first, min(first + CHUNK, SEEDS)), storage)


@pytest.mark.slow
def test_every_fault_strikes_and_processes_die_at_every_point(storage, monkeypatch):
    monkeypatch.setitem(FAULTS, "crash", 0.03)
    struck: Counter[str] = Counter()
    died: set[str] = set()
    fenced = 0
    for seed in range(100):
        world = run_seed(seed, storage)
        struck += world.chaos.struck
        fenced += world.ledger.fenced
        died |= {place for _, _, what in world.chaos.history for place in DIED.findall(what)}
    assert set(struck) == set(FAULTS)
    assert died >= POINTS
    assert fenced > 50


def test_a_seed_is_the_same_world_every_time(storage):
    told = [run_seed(7, storage).chaos.told() for _ in range(2)]
    assert told[0] == told[1]
    command = [sys.executable, "-m", "tests.simulation", "7"]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert other.stdout == f"{told[0]}\nall well\n", other.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_an_error_is_found(storage, monkeypatch, name):
    for fault in ("pause", "store fails", "store answer lost", "statement fails"):
        monkeypatch.setitem(FAULTS, fault, 3 * FAULTS[fault])
    MUTANTS[name](monkeypatch)
    with pytest.raises(SeedError, match=r"again, .*: python -m tests\.simulation \d"):
        run_seeds(range(ENOUGH), storage)
