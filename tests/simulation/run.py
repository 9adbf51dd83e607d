"""Run a seed; what goes wrong is told with its history and how to have it again."""

import logging

from tests.simulation.chaos import Chaos
from tests.simulation.storage import SharedStore
from tests.simulation.world import World

SHOWN = 150  # lines of history


class SeedError(AssertionError):
    """A seed that failed."""


def run_seed(seed: int, storage: SharedStore) -> World:
    """Run the world of a seed; raises ``SeedError`` with its history when anything is wrong."""
    storage.empty()
    world = World(seed, storage)
    logging.disable(logging.CRITICAL)  # hosts tell of every fault
    try:
        world.run()
    except Exception as error:
        raise SeedError(_tell(seed, world.chaos, error)) from error
    finally:
        logging.disable(logging.NOTSET)
    return world


def _tell(seed: int, chaos: Chaos, error: Exception) -> str:
    return (
        f"seed {seed}: {type(error).__name__}: {error}\n{chaos.told(SHOWN)}\n"
        f"again, with all of its history: python -m tests.simulation {seed}"
    )
