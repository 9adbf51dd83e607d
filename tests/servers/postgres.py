"""A real PostgreSQL of the tests' own: a new data folder, a free port, nobody else's settings."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.processes import Server, ServerError, UnavailableError, free_ports

OLDEST = 15
START_SECONDS = 60.0
# Commits still wait for their record in the operating system's hands, so nothing is lost when the
# server dies; only a power cut could take it.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
}


def programs() -> Path:
    """Folder of `initdb` and `postgres`, of the newest version installed.

    Raises
    ------
    UnavailableError
        There is none, or it is too old.
    """
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian keeps them out of PATH
    folders += [Path(found).parent] if (found := shutil.which("postgres")) else []
    versions = {_version(folder): folder for folder in folders if (folder / "initdb").exists()}
    newest = max(versions, default=0)
    if newest < OLDEST:
        found_text = f"the newest is {newest}" if newest else "there is none"
        raise UnavailableError(
            f"the tests need PostgreSQL {OLDEST} or later and {found_text}: install postgresql"
        )
    return versions[newest]


def _version(folder: Path) -> int:
    told = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    number = re.search(r"\d+", told.stdout)
    return int(number[0]) if number else 0


class Postgres:
    """One PostgreSQL server; `start` makes its data folder the first time.

    Raises
    ------
    UnavailableError
        PostgreSQL is not installed.
    """

    def __init__(self) -> None:
        self._programs = programs()
        self._user = _unprivileged()
        # Of its own, as its user must reach it: pytest's folders are open to their owner alone.
        self.folder = Path(tempfile.mkdtemp(prefix="slatestream-postgres-"))
        if self._user:
            shutil.chown(self.folder, self._user["user"], self._user["group"])
        (self.port,) = free_ports(1)
        self._server: Server | None = None

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.alive

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers.

        Raises
        ------
        ServerError
            It ended or did not answer in time.
        """
        if self.running:
            return
        data = self.folder / "data"
        if not data.exists():
            options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
            made = self._run("initdb", "-D", str(data), *options)
            if made.wait(START_SECONDS):
                raise ServerError(f"no data folder could be made: {made.last_words()}")
        settings = [f"--{key}={value}" for key, value in SETTINGS.items()]
        self._server = self._run("postgres", "-D", str(data), f"--port={self.port}", *settings)
        self._server.wait_until(self._answers, START_SECONDS)

    def stop(self, *, immediate: bool = False) -> None:
        """Stop it: open transactions are rolled back and connections closed.

        Parameters
        ----------
        immediate
            As in a crash: nothing is tidied up, the next start recovers from its log.
        """
        if self._server is not None:
            self._server.send(signal.SIGQUIT if immediate else signal.SIGINT)
            self._server.wait()
            self._server = None

    def restart(self, *, immediate: bool = False) -> None:
        self.stop(immediate=immediate)
        self.start()

    def discard(self) -> None:
        """Stop it and delete its data."""
        self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def address(self, database: str = "postgres", driver: str = "") -> str:
        return f"postgresql{driver}://postgres@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator["Database"]:
        """A new, empty database, dropped at the end; the server is started if it does not run."""
        self.start()
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield Database(server=self, name=name)
        finally:
            self.start()
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.address(), connect_timeout=5).close()
            return True
        return False

    def _run(self, program: str, *arguments: str) -> Server:
        command = [self._programs / program, *arguments]
        return Server(command, self.folder / "log", cwd=self.folder, **self._user)


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database of one test.

    Attributes
    ----------
    server
        Its server, to be stopped and started by the test that wants it so.
    name
        Its name.
    """

    server: Postgres
    name: str

    @property
    def url(self) -> str:
        """Address for SQLAlchemy."""
        return self.server.address(self.name, driver="+psycopg")


def _unprivileged() -> dict[str, Any]:
    """Whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
