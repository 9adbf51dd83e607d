"""Databases are named, opened and complained of without ever showing a password."""

import pytest

from streams.database import Database
from streams.errors import StoreError
from streams.store import Store


def told(error: BaseException | None) -> str:
    """All that a log could show of an error: its message, and those of what it came from."""
    return f"{error} {told(error.__cause__ or error.__context__)}" if error is not None else ""


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql+psycopg://me:s3cr3t@db:5432/x", "postgresql+psycopg://me:***@db:5432/x"),
        ("postgresql://me@db/x?password=s3cr3t&sslmode=require", "postgresql+psycopg://me@db/x"),
        ("postgres://me:s3cr3t@db/x", "postgresql+psycopg://me:***@db/x"),
        ("sqlite:////data/state.db", "/data/state.db"),
        ("/data/state.db", "/data/state.db"),
    ],
)
def test_a_name_holds_no_password(url, name):
    database = Database(url)
    assert database.name.startswith(name)
    assert "s3cr3t" not in database.name
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:s3cr3t@again@db/x",
        "postgresql+psycopg://me:s3cr3t@db:54x/x",
        "postgresql+psycopg://me:54/s3cr3t@db/x@y",
        "mysql://me:s3cr3t@db/x",
        "nosuch://me:s3cr3t@db/x",
        "://s3cr3t",
    ],
)
def test_what_is_no_database_is_refused_without_repeating_it(url):
    with pytest.raises(StoreError, match=r"cannot open store: .*; give") as refused:
        Store(url)
    assert "s3cr3t" not in told(refused.value)


def test_a_server_that_is_not_there_is_told_without_its_password():
    with pytest.raises(StoreError, match=r"me:\*\*\*@127.0.0.1:1/x: .*refused") as failed:
        Store("postgresql+psycopg://me:s3cr3t@127.0.0.1:1/x")
    assert "s3cr3t" not in told(failed.value)
    assert "\n" not in str(failed.value)


def test_a_wrong_statement_shows_neither_password_nor_values(postgres):
    database = Database(postgres.url.replace("postgres@", "postgres:s3cr3t@"))
    with pytest.raises(StoreError) as failed, database.writing("write to") as connection:
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (%s)", ("a value",))
    assert "nowhere" in str(failed.value)
    assert "s3cr3t" not in told(failed.value)
    assert "a value" not in told(failed.value)
    database.close()


def test_a_read_only_store_cannot_be_written(where):
    Store(where).close()
    database = Database(where, read_only=True)
    with pytest.raises(StoreError, match=r"read-?only"), database.writing("write to") as connection:
        connection.exec_driver_sql("DELETE FROM shard")
    database.close()


def test_settings_of_the_url_win_over_ours(postgres):
    options = "?application_name=mine&options=-c%20lock_timeout%3D3s"
    database = Database(postgres.url + options)
    with database.reading() as connection:
        shown = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("application_name", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    assert shown == ["mine", "3s", "20s"]
    database.close()


def test_a_halted_process_does_not_keep_a_shard_from_the_next(postgres):
    awake = Store(postgres.url)
    halted = Store(postgres.url + "?options=-c%20idle_in_transaction_session_timeout%3D300ms")
    awake.claim("events", 0, "log")

    def update_and_halt() -> None:
        with halted.database.writing("claim") as connection:
            connection.exec_driver_sql("UPDATE shard SET epoch = 99")
            assert awake.claim("events", 0, "log").epoch == 2  # waits for the lock, and gets it

    with pytest.raises(StoreError, match="cannot claim store"):
        update_and_halt()
    assert awake.claim("events", 0, "log").epoch == 3
    halted.close()
    awake.close()


def test_only_a_damaged_file_is_to_be_moved_away(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError) as damaged:
        Store(path)
    assert "cannot open" in str(damaged.value)
    assert "file is not a database; move it away to learn anew" in str(damaged.value)
    assert "sqlalche" not in str(damaged.value)
    with pytest.raises(StoreError) as absent:  # what is learned there may be quite all right
        Store(tmp_path / "nowhere" / "state.db")
    assert "move it away" not in str(absent.value)
