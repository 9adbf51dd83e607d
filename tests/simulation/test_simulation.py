"""Whatever fails, in whatever order, state is what one uninterrupted fold of the log gives."""

import os

import pytest

from tests.simulation.run import run_seed
from tests.simulation.storage import SharedStore

SEEDS = int(os.environ.get("SLATESTREAM_SOAK", "1000"))
CHUNK = 50


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = SharedStore(tmp_path_factory.mktemp("simulation") / "state.db")
    yield database
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(database, first):
    for seed in range(first, min(first + CHUNK, SEEDS)):
        run_seed(seed, database)
