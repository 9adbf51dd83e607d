"""Settings every test needs before the engine is imported."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from api.kernel_cache import cache_key

ROOT = Path(__file__).resolve().parent.parent

# Before numba is imported: compiled kernels are kept between runs, beside the checkout's own files.
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".cache" / "numba" / cache_key()))

# The same examples in every run, and no verdict that depends on how busy the machine is.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data, outside the repository: SLATESTREAM_DATA, or shared/data beside the checkout."""
    found = Path(os.environ.get("SLATESTREAM_DATA", ROOT.parent / "shared" / "data"))
    if not found.is_dir():
        pytest.skip("set SLATESTREAM_DATA to the folder of test data: this test needs real logs")
    return found
