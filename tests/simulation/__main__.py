"""Run one seed and print its history."""

import sys
import tempfile
from pathlib import Path

import tests.conftest  # noqa: F401  where compiled kernels are kept
from tests.simulation.run import run_seed
from tests.simulation.storage import SharedStore


def main() -> None:
    """Run the seed given."""
    seed = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        world = run_seed(seed, SharedStore(Path(folder)))
    sys.stdout.write(world.chaos.told() + "\nall well\n")


main()
