"""The test database is a real one: what it committed is there after a crash."""

import threading

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.servers.postgres import Postgres
from tests.servers.processes import UnavailableError


def test_a_new_database_for_each_test(postgres):
    with Postgres.database(postgres.server) as other:
        assert other.url != postgres.url
        for one in (postgres, other):
            engine = create_engine(one.url)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
                assert connection.scalar(text("SELECT count(*) FROM numbers")) == 0
                assert connection.scalar(text("SHOW server_version_num")) >= "150000"
            engine.dispose()


@pytest.mark.parametrize("immediate", [False, True])
def test_what_was_committed_survives_a_restart_under_load(postgres, immediate):
    address = postgres.server.address(postgres.name)
    committed: list[int] = []
    enough = threading.Event()

    def write() -> None:
        with psycopg.connect(address) as connection:
            for number in range(1_000_000):
                connection.execute("INSERT INTO numbers VALUES (%s)", (number,))
                connection.commit()
                committed.append(number)
                if number == 50:
                    enough.set()

    def write_until_lost() -> None:
        with pytest.raises(psycopg.OperationalError):
            write()

    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE numbers (n INTEGER)")
    writer = threading.Thread(target=write_until_lost)
    writer.start()
    assert enough.wait(60)
    postgres.server.restart(immediate=immediate)
    writer.join(60)
    assert not writer.is_alive()
    with psycopg.connect(address) as connection:
        kept = [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]
    # The last one may have been committed without its writer being told.
    assert kept in (committed, [*committed, len(committed)])


def test_a_stopped_server_refuses_and_comes_back(postgres):
    server = postgres.server
    server.stop()
    assert not server.running
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.address(postgres.name))
    server.start()
    psycopg.connect(server.address(postgres.name)).close()


def test_without_postgresql_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("tests.servers.postgres.OLDEST", 1000)
    with pytest.raises(UnavailableError, match="install postgresql"):
        Postgres()
