"""A service of its own for the demo: `slatestream serve`, with its data in a temporary folder."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from api.client import Client, ClientError
from api.supervisor import STATUS_FILE
from engine.errors import ConfigError

__all__ = ["DemoError", "host_service", "write_settings"]

START_SECONDS = 120.0
STOP_SECONDS = 20.0
WINDOW_SECONDS = 3.0


class DemoError(ClientError):
    """The demo's service did not start, or stopped by itself."""


def write_settings(
    folder: Path, port: int, features: Sequence[dict[str, Any]], *, same: bool
) -> Path:
    """Write the demo's settings: a learner and a uniform-random control (two when ``same``)."""
    policies: dict[str, dict[str, Any]] = {
        "learner": {"spec": "linear-thompson", "features": list(features)},
        "random": {"spec": "uniform"},
    }
    learner = {"policy": "random" if same else "learner", "window_seconds": WINDOW_SECONDS}
    control = {"policy": "random", "window_seconds": WINDOW_SECONDS}
    tables: dict[str, dict[str, dict[str, Any]]] = {
        "policies": policies,
        "recommenders": {"learner": learner, "control": control},
    }
    lines = [f"port = {port}", f"data_dir = {_toml(str(folder / 'data'))}"]
    for table, entries in tables.items():
        for name, fields in entries.items():
            lines.append(f"[{table}.{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in fields.items()]
    file = folder / "slatestream.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _toml(value: object) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)  # strings, numbers and booleans read alike in both


@asynccontextmanager
async def host_service(folder: Path, file: Path) -> AsyncIterator[tuple[str, int]]:
    """Run the service; yields its host and port once it is ready.

    Raises
    ------
    ConfigError
        When it refuses to start, for instance because the port is taken.
    DemoError
        When it does not become ready.
    """
    told = folder / "service.log"
    command = [sys.executable, "-P", "-c", "from api.cli import main; main()"]
    ours = {key: value for key, value in os.environ.items() if not key.startswith("SLATESTREAM_")}
    with told.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603
            [*command, "serve", "--config", str(file), "--while-stdin"],
            stdin=subprocess.PIPE,
            stdout=errors,  # ours is for the summary alone
            stderr=errors,
            env=ours,
            start_new_session=True,  # Ctrl-C is for us: the service stops after the last count
        )
    try:
        yield await _wait_ready(process, folder / "data" / STATUS_FILE, told)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()


async def _wait_ready(
    process: subprocess.Popen[bytes], status: Path, told: Path
) -> tuple[str, int]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            if process.returncode == 2:
                raise ConfigError(_tail(told, 1).removeprefix("slatestream: "))
            raise DemoError(
                f"the service ended with code {process.returncode}. It said:\n{_tail(told)}"
            )
        address = _read_address(status)
        if address and await _is_ready(address):
            return address
        await asyncio.sleep(0.05)
    raise DemoError(
        f"the service was not ready after {START_SECONDS:.0f} s. It said:\n{_tail(told)}"
    )


def _tail(told: Path, lines: int = 20) -> str:
    # The file goes with the demo's folder: what it says must be said now.
    text = told.read_text(encoding="utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[-lines:]) or "nothing"


def _read_address(status: Path) -> tuple[str, int] | None:
    try:
        told = json.loads(status.read_text(encoding="utf-8"))
        return str(told["host"]), int(told["port"])
    except (OSError, ValueError, KeyError):
        return None


async def _is_ready(address: tuple[str, int]) -> bool:
    async with Client(*address) as client:
        try:
            return (await client.get("/health/ready")).status == 200
        except ClientError:
            return False
