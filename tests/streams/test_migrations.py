"""Databases come to the newest revision by themselves, whoever opens them first."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from streams.database import Database
from streams.errors import StoreError
from streams.log.sqlite import SqliteLog
from streams.migrations import REVISION, VERSION_TABLE, alembic_config, migrate
from streams.store import Store
from streams.tables import METADATA
from tests.streams.test_store import commit


@pytest.fixture
def database(where):
    database = Database(where)
    yield database
    database.close()


def run(database: Database, statement: str) -> None:
    with database.writing("write to") as connection:
        connection.execute(text(statement))


def test_the_revisions_make_exactly_the_tables_the_code_uses(database):
    migrate(database)
    with database.reading() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
        for table in METADATA.tables.values():
            made = inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
            assert made == [column.name for column in table.primary_key]


def test_the_newest_revision_is_the_one_the_code_names(database):
    with database.reading() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
        assert script.get_heads() == [REVISION]


def test_a_later_release_is_refused_and_nothing_is_touched(database, where):
    migrate(database)
    run(database, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreError, match="revision 9999, made by a later release"):
        Store(where)
    run(database, f"UPDATE {VERSION_TABLE} SET version_num = '{REVISION}'")
    Store(where).close()


def test_an_older_revision_is_brought_up(database, where):
    migrate(database)
    Store(where).close()
    # What a release before the first would have left: a version we know, its tables not there yet.
    for table in reversed(METADATA.sorted_tables):
        run(database, f"DROP TABLE {table.name}")
    run(database, f"DELETE FROM {VERSION_TABLE}")
    store = Store(where)
    assert store.claim("events", 0, "log").epoch == 1
    store.close()


def test_what_was_made_before_the_first_release_is_to_be_given_up(database, where):
    run(database, "CREATE TABLE meta (format INTEGER PRIMARY KEY)")
    run(database, "CREATE TABLE shard (topic VARCHAR(64))")
    with pytest.raises(StoreError, match="learn anew from the log"):
        Store(where)


def test_somebody_elses_tables_are_left_alone(database, where):
    run(database, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    run(database, "INSERT INTO alembic_version VALUES ('theirs')")
    Store(where).close()
    with database.reading() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    assert found == "theirs"


def test_a_log_is_no_store(tmp_path):
    SqliteLog(tmp_path / "log.db").close()
    store = Store(tmp_path / "log.db")  # odd, and harmless: tables of other names
    store.close()
    SqliteLog(tmp_path / "log.db").close()


def test_a_failed_migration_leaves_nothing_behind(database, where):
    run(database, "CREATE TABLE dead_letter (other INTEGER)")  # the last that is created
    with pytest.raises(StoreError, match="dead_letter"):
        Store(where)
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == ["dead_letter"]
    run(database, "DROP TABLE dead_letter")
    Store(where).close()


def test_of_many_that_open_at_once_one_makes_the_tables(where):
    def open_and_claim(number: int) -> int:
        store = Store(where)
        try:
            return store.claim("events", 0, "log").epoch
        finally:
            store.close()

    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(open_and_claim, range(16)))
    assert sorted(epochs) == list(range(1, 17))


def test_of_many_processes_that_open_at_once_one_makes_the_tables(where, root):
    code = f"from streams.store import Store; s = Store({where!r}); s.claim('events', 0, 'log')"
    children = [
        subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0], errors
    store = Store(where)
    assert store.claim("events", 0, "log").epoch == 5
    store.close()


def test_a_store_that_is_up_to_date_does_not_load_alembic(where, root):
    Store(where).close()
    code = (
        f"import sys; from streams.store import Store; Store({where!r}).close(); "
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_service_needs_no_right_to_make_tables_once_they_are_there(postgres):
    owner = Database(postgres.url)
    role = f"service_{postgres.name}"
    url = postgres.url.replace("postgres@", f"{role}@")
    run(owner, f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(StoreError, match=r"cannot migrate store .*: permission denied"):
            Store(url)
        migrate(owner)
        run(owner, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        store = Store(url)
        position = store.commit(store.claim("events", 0, "log"), commit(5, base=True))
        assert store.load(position).base == {"main": b"5"}
        store.close()
    finally:
        run(owner, f"DROP OWNED BY {role}")
        run(owner, f"DROP ROLE {role}")
        owner.close()
