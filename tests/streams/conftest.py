"""Both kinds of database that state may be kept in."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path) -> str:
    """Where an empty store may be: every test that takes it runs over SQLite and PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "state.db")
    return request.getfixturevalue("postgres").url
