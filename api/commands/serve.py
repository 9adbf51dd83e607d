"""``slatestream serve``: the supervisor, the learner and the API worker."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api import kernel_cache
from api.auth import is_loopback
from api.children import watch_supervisor
from api.logs import start_logging, tell
from api.metrics_server import serve_metrics
from api.settings import Settings, read_settings
from api.supervisor import Supervisor, listen, lock_data_dir
from engine.errors import ConfigError, SlatestreamError

__all__ = ["Role", "serve"]


class Role(StrEnum):
    """What a host does."""

    ALL = "all"
    API = "api"
    LEARNER = "learner"


def serve(
    *,
    config: Annotated[
        Path | None, typer.Option(help="Settings; slatestream.toml when it exists.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Overrides the settings; 0 is any.")] = None,
    host: Annotated[str | None, typer.Option(help="Overrides the settings.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Overrides the settings.")] = None,
    role: Annotated[
        Role, typer.Option(help="all, or only the api (views and HTTP), or only a learner.")
    ] = Role.ALL,
    workers: Annotated[
        int | None, typer.Option(help="API workers; overrides the settings.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let others reach a service without keys.")
    ] = False,
    while_stdin: Annotated[
        bool, typer.Option("--while-stdin", hidden=True, help="Stop at the end of stdin.")
    ] = False,
) -> None:
    """Serve slates and learn from events until stopped."""
    settings = read_settings(config, port=port, host=host, data_dir=data_dir, workers=workers)
    start_logging("supervisor", settings.log_format)
    with _refusals(settings):
        _refuse_half_a_service(settings, role)
        if role is not Role.LEARNER:
            _refuse_open_door(settings, insecure=insecure)
        code = _run(settings, role, while_stdin=while_stdin)
    raise typer.Exit(code)


def _run(settings: Settings, role: Role, *, while_stdin: bool) -> int:
    with lock_data_dir(settings.data_dir), _listen(settings, role) as listener:
        if role is not Role.LEARNER:
            _refuse_what_cannot_serve(settings)
        _fill_cache(settings)
        supervisor = Supervisor(settings, listener, learns=role is not Role.API)
        with _serve_metrics(settings, supervisor):
            if listener is None:
                _say(settings, f"learning (data in {settings.data_dir})")
            else:
                address = listener.getsockname()
                where = f"http://{address[0]}:{address[1]}"
                _say(settings, f"{where} (data in {settings.data_dir})")
            if while_stdin:
                watch_supervisor(lambda: os.kill(os.getpid(), signal.SIGTERM), grace=None)
            return supervisor.run()


@contextmanager
def _refusals(settings: Settings) -> Iterator[None]:
    """Log what ends the command, where lines are JSON; elsewhere `api.cli.main` tells it."""
    try:
        yield
    except SlatestreamError as error:
        if settings.log_format != "json":
            raise
        tell(error, "json", logging.ERROR)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _say(settings: Settings, message: str) -> None:
    tell(message, settings.log_format)


def _serve_metrics(settings: Settings, supervisor: Supervisor) -> AbstractContextManager[object]:
    if not settings.metrics_port:
        return nullcontext()
    return serve_metrics(settings.host, settings.metrics_port, supervisor.registry())


def _listen(settings: Settings, role: Role) -> AbstractContextManager[socket.socket | None]:
    return nullcontext() if role is Role.LEARNER else listen(settings.host, settings.port)


def _refuse_half_a_service(settings: Settings, role: Role) -> None:
    if role is not Role.ALL and not (settings.log and settings.store):
        raise ConfigError(
            f"role is {role.value!r} with the embedded log and store, which one service has for "
            'itself; set log = "kafka://…" and store = "postgresql+psycopg://…", or take '
            "--role all"
        )


def _refuse_open_door(settings: Settings, *, insecure: bool) -> None:
    if not (settings.keys or insecure or is_loopback(settings.host)):
        raise ConfigError(
            f"host {settings.host} can be reached by others and no key is configured; make one "
            "with 'slatestream keys new', bind to 127.0.0.1, or pass --insecure"
        )


def _refuse_what_cannot_serve(settings: Settings) -> None:
    """Before anything learns: vectors that are not there, and shortlists that cannot be made."""
    if any(each.shortlist or each.shortlist_random for each in settings.recommenders.values()):
        kernel_cache.use(settings.cache_dir)
        from api.shortlist import make_shortlists  # noqa: PLC0415  (loads numba)
        from streams.config import EngineConfig  # noqa: PLC0415

        make_shortlists(settings, EngineConfig.from_dict(settings.engine_settings()))
    if settings.reads_vectors:
        kernel_cache.use(settings.cache_dir)
        from api.vectors import check_vectors  # noqa: PLC0415  (loads numba)

        check_vectors(settings)


def _fill_cache(settings: Settings) -> None:
    directory = kernel_cache.use(settings.cache_dir)
    policies = settings.engine_settings()
    if not kernel_cache.is_filled(directory, policies):
        _say(settings, f"compiling kernels into {directory} (once for this release and CPU)")
        start = time.monotonic()
        kernel_cache.fill(directory, policies)
        _say(settings, f"compiled in {time.monotonic() - start:.1f} s")
