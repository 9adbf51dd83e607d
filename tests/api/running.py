"""A real service, started as a user would start it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

START_SECONDS = 300.0
COMMAND = [sys.executable, "-P", "-c", "from api.cli import main; main()"]
SETTINGS = """
commit_interval_ms = 100
max_body_bytes = 65536

[policies.main]
spec = "linear-thompson:ridge=1.0"
features = [
    { type = "numeric", name = "hour", center = 12.0, scale = 6.0 },
    { type = "categorical", name = "device", values = ["ios", "web"] },
]

[policies.random]
spec = "uniform"
features = [{ type = "id", name = "user_id" }, { type = "id", name = "page" }]

[policies.topical]
spec = "linear-thompson"
features = [
    { type = "clusters", name = "taste", count = 3 },
    { type = "numeric", name = "price", of = "item" },
    { type = "clusters", name = "topic", of = "item", count = 3 },
]

[recommenders.default]
policy = "main"
window_seconds = 0.5

[recommenders.topical]
policy = "topical"
window_seconds = 0.5

[recommenders.control]
policy = "random"
window_seconds = 0.5
"""


def environment() -> dict[str, str]:
    """Ours, without settings of a service."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLATESTREAM_")}
    return kept | {"PYTHONUNBUFFERED": "1"}


class Running:
    """`slatestream serve` in a process of its own, on a free port."""

    def __init__(self, folder: Path, settings: str = SETTINGS) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.file = folder / "slatestream.toml"
        self.file.write_text(f'port = 0\ndata_dir = "{self.data_dir}"\n{settings}')
        self.errors = folder / "stderr.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, seconds: float = START_SECONDS) -> None:
        self.launch(*arguments)
        try:
            self.wait_ready(seconds)
        except BaseException:
            assert self.process is not None
            self.process.kill()  # its children notice
            self.process.wait()
            raise

    def launch(self, *arguments: str) -> None:
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--config", str(self.file), *arguments],
                stderr=errors,
                env=environment(),
                cwd=self.folder,
            )

    def status(self) -> dict:
        return json.loads((self.data_dir / "service.json").read_text())

    @property
    def port(self) -> int:
        return int(self.status()["port"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pid(self, child: str) -> int:
        return int(self.status()["children"][child]["pid"])

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended: {self.errors.read_text()}")
            with contextlib.suppress(httpx.HTTPError, OSError, ValueError, KeyError):
                if self.status()["pid"] == self.process.pid:
                    return httpx.get(f"{self.url}/health/ready").status_code == 200
            return False

        wait_until(ready, seconds)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


def wait_until(true: object, seconds: float = 20.0) -> None:
    """Wait for a condition that must come about; how long is not asserted."""
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{true} did not come about in {seconds} s")
        time.sleep(0.02)


def run_cli(*arguments: str, cwd: Path | None = None, **variables: str):
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment() | variables,
        cwd=cwd,
        timeout=180,
    )
