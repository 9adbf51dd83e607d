"""Settings, data directory and compiled kernels of this host."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api import kernel_cache
from api.auth import is_loopback
from api.backends import kafka_config
from api.doctor.findings import Finding, ok, problem, warning
from api.settings import DEFAULT_FILE, Settings
from api.supervisor import LOCK_FILE
from api.vectors import check_vectors
from streams.config import EngineConfig

__all__ = ["check_data_dir", "check_kernels", "check_sets", "check_settings"]

SCARCE_BYTES = 1 << 30
FULL_BYTES = 100 << 20


def check_settings(settings: Settings, file: Path | None) -> Iterator[Finding]:
    """Whether the settings work together. Raises ``ConfigError``."""
    config = EngineConfig.from_dict(settings.engine_settings())
    told = f"{len(config.policies)} policies, {len(config.recommenders)} recommenders"
    yield ok("settings", f"{told}; longest window {config.longest_window_ms / 1000:g} s")
    kafka = kafka_config(settings)
    yield from _check_keys(settings)
    yield from _check_secrets(settings, file or DEFAULT_FILE)
    if kafka is not None and "postgresql" not in settings.store:
        yield warning(
            "store",
            "the log is Kafka's and what is learned stays in a file of this host",
            "one host that learns and serves",
            'for more hosts set store = "postgresql+psycopg://…"',
        )
    cpus = os.cpu_count() or 1
    if settings.workers > cpus:
        yield warning(
            "workers",
            f"{settings.workers} API workers share {cpus} CPUs",
            "a worker for each CPU, at most",
            f"set workers = {cpus} or less",
        )
    if settings.commit_interval_ms > settings.max_wait_ms > 0:
        yield warning(
            "max_wait_ms",
            f"commits come every {settings.commit_interval_ms} ms and slates with min_version "
            f"wait {settings.max_wait_ms} ms",
            "a wait longer than commit_interval_ms",
            "set max_wait_ms to several commit intervals",
        )


def _check_keys(settings: Settings) -> Iterator[Finding]:
    open_door = not settings.keys and not is_loopback(settings.host)
    if open_door:
        yield problem(
            "keys",
            f"host is {settings.host}, which others reach, and no key is configured",
            "keys, or a loopback host; else serve asks for --insecure",
            "make keys with 'slatestream keys new'",
        )
    elif settings.keys and not any(key.scope == "admin" for key in settings.keys):
        yield warning(
            "keys",
            f"{len(settings.keys)} keys, none of scope admin",
            "one of scope admin to write items, users and pools",
            "make one with 'slatestream keys new --scope admin'",
        )
    else:
        yield ok("keys", f"{len(settings.keys)} keys, host {settings.host}")


def _check_secrets(settings: Settings, file: Path) -> Iterator[Finding]:
    named = " ".join((*settings.kafka, settings.log))
    secret = "password" in named or re.search("://[^/@]*:[^/@]*@", settings.store)
    try:
        mode = file.stat().st_mode
    except OSError:
        return
    if secret and mode & stat.S_IROTH:
        yield warning(
            "settings file",
            f"{file} may hold a password and every user of this machine can read it",
            "a file that its owner alone reads, or passwords in the environment",
            f"chmod 600 {file}",
        )


def check_sets(settings: Settings) -> Iterator[Finding]:
    """Whether the vectors that policies read are there and whole. Raises ``ConfigError``."""
    if settings.reads_vectors:
        yield ok("vectors", "; ".join(check_vectors(settings)))


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """Whether the data directory can be written, has room, and who holds it."""
    where = settings.data_dir.absolute()
    there = next(each for each in (where, *where.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
            file.flush()
        free = shutil.disk_usage(there).free
    except OSError as error:
        yield problem(
            "data_dir",
            f"{where} cannot be written: {error.strerror}",
            "a directory that the service's user writes",
            "change its owner, or set data_dir to another",
        )
        return
    room = f"{free / 2**30:.1f} GiB are free"
    if free < SCARCE_BYTES:
        make = problem if free < FULL_BYTES else warning
        yield make("data_dir", f"{where}: {room}", "1 GiB or more", "make room on the disk")
    else:
        told = "" if there == where else "; it is made at the first start"
        yield ok("data_dir", f"{where}: {room}{told}")
    yield _check_lock(where / LOCK_FILE)


def _check_lock(file: Path) -> Finding:
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return ok("lock", "no service was started on this data_dir yet")
    except BlockingIOError:
        return ok("lock", "a service holds this data_dir")
    except OSError as error:
        return problem(
            "lock",
            f"{file} cannot be locked: {error.strerror}",
            "a file system that locks",
            "put data_dir on a local disk",
        )
    return ok("lock", "no service holds this data_dir")


def check_kernels(settings: Settings) -> Iterator[Finding]:
    """Whether the kernels of the policies are compiled. Raises ``ConfigError``."""
    directory = kernel_cache.use(settings.cache_dir)
    if kernel_cache.is_filled(directory, settings.engine_settings()):
        yield ok("kernels", f"compiled in {directory}")
    else:
        yield warning(
            "kernels",
            f"not compiled yet in {directory}",
            "compiled, for a start within seconds",
            "nothing: the next start compiles them, which takes a minute or so",
        )
