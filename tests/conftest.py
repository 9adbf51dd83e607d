"""Settings every test needs before the engine is imported."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from api.kernel_cache import cache_key
from tests.servers.kafka import Cluster
from tests.servers.postgres import Database, Postgres
from tests.servers.processes import UnavailableError

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


def begin(make: Callable[[], Any]) -> Any:
    """Make a server; without what it needs the test is skipped, in CI it fails."""
    try:
        return make()
    except UnavailableError as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Addresses of a real Kafka of one node, the same for all tests of a session.

    It holds other tests' topics and groups: name yours after your test. A test that stops or kills
    nodes takes `make_cluster`.
    """
    cluster = begin(lambda: Cluster(tmp_path_factory.mktemp("kafka")))
    try:
        cluster.start()
        yield cluster.bootstrap
    finally:
        cluster.discard()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Start a Kafka of one's own: `make_cluster()`, `make_cluster(nodes=3)`."""
    with ExitStack() as made:

        def make(nodes: int = 1, **options: object) -> Cluster:
            folder = tmp_path / f"kafka-{len(list(tmp_path.glob('kafka-*')))}"
            folder.mkdir()
            cluster = begin(lambda: Cluster(folder, nodes, **options))
            made.callback(cluster.discard)
            cluster.start()
            return cluster

        yield make


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real PostgreSQL, the same for all tests of a session."""
    server = begin(Postgres)
    try:
        server.start()
        yield server
    finally:
        server.discard()


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Database]:
    """A new database: `postgres.url` for SQLAlchemy, `postgres.server` to stop and start it."""
    with postgres_server.database() as database:
        yield database
